-- Prompts that have grown: days on which a request of a feature sends half as much again as it used to.
-- A prompt version that was there when the window began is measured against its own first days, until they hold twenty
-- requests; one that came later against the first days of the version before it. A day counts with ten requests. Input
-- is of inference calls; a request belongs to the day it started on. One row a day is (ordinary): all other calls.
-- grain: one row per day, feature and prompt version that has grown; one a day for all else
-- reads: calls
-- key: day, hour, finding, feature, prompt_version
-- group_by: agent_name, model, provider, customer_id, team, org, user_id, key_id, developer, route, session_id, agent_run_id, deployment, service_name, traffic_type, operation, service_tier
{% set by = by or "day" %}
with

dated as (
    select
        *,
        min(local_{{ by }}) over (partition by work_id) as begun,
        traffic_type is distinct from 'eval' as is_inference,
    from calls
),

measured as (
    select
        feature,
        prompt_version,
        begun,
        count(distinct work_id) as requests,
        sum(input_tokens)::double as sent,
    from dated
    where is_inference and input_tokens is not null
    group by feature, prompt_version, begun
),

running as (
    select
        *,
        coalesce(
            sum(requests) over (
                partition by feature, prompt_version
                order by begun
                rows between unbounded preceding and 1 preceding
            ),
            0
        ) < 20 as is_early,
    from measured
),

versions as (
    select
        feature,
        prompt_version,
        min(begun) as first_begun,
        sum(requests) filter (is_early) as early_requests,
        sum(sent) filter (is_early) / sum(requests) filter (is_early) as early_size,
    from running
    group by feature, prompt_version
),

in_order as (
    select
        *,
        first_begun > min(first_begun) over (partition by feature, prompt_version is null) as is_new,
        lag(prompt_version) over (
            partition by feature, prompt_version is null order by first_begun, prompt_version
        ) as version_before,
        lag(early_requests) over (
            partition by feature, prompt_version is null order by first_begun, prompt_version
        ) as early_requests_before,
        lag(early_size) over (
            partition by feature, prompt_version is null order by first_begun, prompt_version
        ) as early_size_before,
    from versions
),

compared as (
    select
        running.feature,
        running.prompt_version,
        running.begun,
        running.requests,
        running.sent / running.requests as size,
        in_order.is_new,
        case when in_order.is_new then in_order.version_before else running.prompt_version end as against_version,
        case when in_order.is_new then in_order.early_requests_before else in_order.early_requests end
            as usual_requests,
        case when in_order.is_new then in_order.early_size_before else in_order.early_size end as usual_size,
        in_order.is_new or not running.is_early as is_later,
    from running
    inner join in_order
        on running.feature is not distinct from in_order.feature
        and running.prompt_version is not distinct from in_order.prompt_version
),

suspects as (
    select *
    from compared
    where is_later and requests >= 10 and usual_requests >= 20 and size > 1.5 * usual_size
)

select
    dated.begun as {{ by }}, -- {{ by }} on which the request started, in the time zone asked for
    case
        when suspects.begun is null then '(ordinary)'
        when suspects.is_new then 'new version'
        else 'grown'
    end as finding, -- grown against its own beginning, or new version against the one before; (ordinary) for all else
    case when suspects.begun is null then '(all else)' else coalesce(suspects.feature, '(unattributed)') end as feature, -- feature; (unattributed) where no span says it
    case when suspects.begun is null then '(all else)' else coalesce(suspects.prompt_version, '(unattributed)') end as prompt_version, -- version of the prompt; (unattributed) where no span says it
    {% for name in group_by %}dated.{{ name }}, -- dimension asked for
    {% endfor %}
    any_value(suspects.against_version) as against_version, -- version whose first days it is measured against
    case when suspects.begun is not null then arg_max(dated.trace_id, (dated.input_tokens, dated.trace_id)) end as trace_id, -- trace of the call that sent most, for llmcost trace
    count(distinct dated.work_id) as requests, -- traces with calls, sessions where there is no trace
    count(*) as calls, -- billable requests to a model
    round(any_value(suspects.size), 1) as input_tokens_per_request, -- sent for a request of the feature and version on this {{ by }}, tokens
    round(any_value(suspects.usual_size), 1) as usual_input_tokens_per_request, -- sent for one in the first days, tokens
    round(any_value(suspects.size / nullif(suspects.usual_size, 0)), 2) as times_usual, -- the first over the second
    sum(dated.cost_usd) as cost_usd, -- booked cost, USD; NULL when none is known
    cast(
        round(
            sum(
                (dated.cost_usd - dated.output_cost_usd)::double
                * (1 - suspects.usual_size / nullif(suspects.size, 0))
            ),
            9
        ) as decimal(18, 9)
    ) as growth_usd, -- about what the growth cost: its share of the input's cost, USD; empty where no price tells that
    count(*) filter (dated.cost_usd is null) as unpriced_calls, -- calls of unknown cost, not in cost_usd
from dated
left join suspects
    on dated.is_inference
    and dated.begun = suspects.begun
    and dated.feature is not distinct from suspects.feature
    and dated.prompt_version is not distinct from suspects.prompt_version
group by
    dated.begun,
    {% for name in group_by %}dated.{{ name }},{% endfor %}
    suspects.begun, suspects.is_new, suspects.feature, suspects.prompt_version
order by
    dated.begun, suspects.begun is null, any_value(suspects.size / nullif(suspects.usual_size, 0)) desc nulls last,
    suspects.feature, suspects.prompt_version{% for name in group_by %}, dated.{{ name }}{% endfor %}
