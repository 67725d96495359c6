-- What each version of a feature's prompt costs per request, how often its work succeeds, and what changed since the version before.
-- The version before is the one of the same feature that was first seen before it in the window; the change is against
-- what a request cost under it over the whole window, also where rows are by day or hour.
-- grain: one row per feature and prompt version
-- reads: calls, work_outcomes
-- group_by: agent_name, model, provider, customer_id, team, org, user_id, key_id, developer, route, session_id, agent_run_id, deployment, service_name, traffic_type, operation, service_tier
with

versions as (
    select
        feature,
        {% for name in group_by %}{{ name }},{% endfor %}
        prompt_version,
        min(started_at) as first_seen_at,
        cast(round(sum(cost_usd) / count(distinct work_id), 9) as decimal(18, 9)) as cost_per_request_usd,
    from calls
    where prompt_version is not null
    group by all
),

in_order as (
    select
        *,
        lag(prompt_version) over (
            partition by feature{% for name in group_by %}, {{ name }}{% endfor %} order by first_seen_at, prompt_version
        ) as previous_version,
        lag(cost_per_request_usd) over (
            partition by feature{% for name in group_by %}, {{ name }}{% endfor %} order by first_seen_at, prompt_version
        ) as previous_cost_per_request_usd,
    from versions
),

spent as (
    select
        {% if by %}local_{{ by }} as {{ by }},{% endif %}
        feature,
        {% for name in group_by %}{{ name }},{% endfor %}
        prompt_version,
        count(distinct work_id) as requests,
        count(*) as calls,
        sum(input_tokens) / nullif(count(input_tokens), 0) as input_per_call,
        sum(output_tokens) / nullif(count(output_tokens), 0) as output_per_call,
        sum(cost_usd) as cost_usd,
        cast(round(sum(cost_usd) / count(distinct work_id), 9) as decimal(18, 9)) as cost_per_request_usd,
        count(*) filter (cost_usd is null) as unpriced_calls,
    from calls
    group by all
),

work as (
    select distinct
        {% if by %}local_{{ by }} as {{ by }},{% endif %}
        feature,
        {% for name in group_by %}{{ name }},{% endfor %}
        prompt_version,
        work_id,
    from calls
),

judged as (
    select
        {% if by %}work.{{ by }},{% endif %}
        work.feature,
        {% for name in group_by %}work.{{ name }},{% endfor %}
        work.prompt_version,
        count(distinct work_outcomes.outcome || ' ' || work_outcomes.case_id) as verdicts,
        count(distinct work_outcomes.outcome || ' ' || work_outcomes.case_id) filter (work_outcomes.succeeded)
            as successes,
    from work
    inner join work_outcomes
        on work.work_id = work_outcomes.work_id
    where work_outcomes.succeeded is not null
    group by all
)

select
    {% if by %}spent.{{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    coalesce(spent.feature, '(unattributed)') as feature, -- feature; (unattributed) where no span says it
    coalesce(spent.prompt_version, '(unattributed)') as prompt_version, -- version of the prompt; (unattributed) where no span says it
    {% for name in group_by %}spent.{{ name }}, -- dimension asked for
    {% endfor %}
    in_order.first_seen_at, -- first call of the version in the window, UTC
    spent.requests, -- traces with calls, sessions where there is no trace
    spent.calls, -- billable requests to a model
    round(spent.input_per_call, 1) as input_tokens_per_call, -- mean of what was sent, tokens
    round(spent.output_per_call, 1) as output_tokens_per_call, -- mean of what was generated, tokens
    coalesce(judged.verdicts, 0) as verdicts, -- outcomes told of its work, one for each case
    round(100 * judged.successes / nullif(judged.verdicts, 0), 2) as success_percent, -- of these verdicts, percent; empty where none was told
    spent.cost_usd, -- booked cost, USD; NULL when none is known
    spent.cost_per_request_usd, -- cost over requests, USD
    in_order.previous_version, -- the version before; empty for the first
    cast(spent.cost_per_request_usd - in_order.previous_cost_per_request_usd as decimal(18, 9))
        as change_per_request_usd, -- against the version before, USD
    round(
        100 * (spent.cost_per_request_usd - in_order.previous_cost_per_request_usd)
        / nullif(in_order.previous_cost_per_request_usd, 0),
        2
    ) as change_percent, -- the same in percent of the version before, percent
    spent.unpriced_calls, -- calls of unknown cost, not in cost_usd
from spent
left join in_order
    on spent.feature is not distinct from in_order.feature
    and spent.prompt_version = in_order.prompt_version
    {% for name in group_by %}and spent.{{ name }} is not distinct from in_order.{{ name }}
    {% endfor %}
left join judged
    on spent.feature is not distinct from judged.feature
    and spent.prompt_version is not distinct from judged.prompt_version
    {% if by %}and spent.{{ by }} = judged.{{ by }}{% endif %}
    {% for name in group_by %}and spent.{{ name }} is not distinct from judged.{{ name }}
    {% endfor %}
order by
    {% if by %}spent.{{ by }}, {% endif %}feature{% for name in group_by %}, spent.{{ name }}{% endfor %},
    in_order.first_seen_at, prompt_version
