-- Older prompt versions that still get traffic after a newer one took over, and their cost against the newer one's.
-- The current version of a feature is the last that had more than half of the requests of a day; it took over on the
-- first day that it had. Stale are requests, on later days, of versions first seen on an earlier day than it. Which of
-- two versions is older is known where the window begins before the newer one. Eval traffic is no matter. One row is
-- (ordinary): all other calls.
-- grain: one row per feature and stale prompt version; one for all else
-- reads: calls
-- key: finding, feature, prompt_version
-- group_by: agent_name, model, provider, customer_id, team, org, user_id, key_id, developer, route, session_id, agent_run_id, deployment, service_name, traffic_type, operation, service_tier
with

days as (
    select
        feature,
        prompt_version,
        local_day,
        count(distinct work_id) as requests,
    from calls
    where prompt_version is not null and traffic_type is distinct from 'eval'
    group by feature, prompt_version, local_day
),

-- at most one version has more than half of a day
most_asked as (
    select *
    from days
    qualify 2 * requests > sum(requests) over (partition by feature, local_day)
),

currents as (
    select
        feature,
        arg_max(prompt_version, local_day) as version,
    from most_asked
    group by feature
),

takeovers as (
    select
        currents.feature,
        currents.version,
        min(most_asked.local_day) as took_over_on,
    from currents
    inner join most_asked
        on currents.feature is not distinct from most_asked.feature
        and currents.version = most_asked.prompt_version
    group by currents.feature, currents.version
),

first_days as (
    select
        feature,
        prompt_version,
        min(local_day) as first_day,
    from days
    group by feature, prompt_version
),

older as (
    select
        takeovers.feature,
        takeovers.version,
        takeovers.took_over_on,
        old.prompt_version as old_version,
    from takeovers
    inner join first_days as newer
        on takeovers.feature is not distinct from newer.feature
        and takeovers.version = newer.prompt_version
    inner join first_days as old
        on takeovers.feature is not distinct from old.feature
        and old.first_day < newer.first_day
),

current_costs as (
    select
        takeovers.feature,
        sum(calls.cost_usd)::double / count(distinct calls.work_id) as cost_per_request,
    from takeovers
    inner join calls
        on takeovers.feature is not distinct from calls.feature
        and takeovers.version = calls.prompt_version
        and calls.local_day >= takeovers.took_over_on
        and calls.traffic_type is distinct from 'eval'
    group by takeovers.feature
),

suspects as (
    select
        older.*,
        true as is_stale,
        current_costs.cost_per_request as current_cost,
    from older
    left join current_costs
        on older.feature is not distinct from current_costs.feature
),

marked as (
    select
        calls.*,
        coalesce(suspects.is_stale, false) as is_stale,
        suspects.version as current_version,
        suspects.took_over_on,
        suspects.current_cost,
        case when suspects.is_stale then coalesce(calls.feature, '(unattributed)') else '(all else)' end as stale_feature,
        case when suspects.is_stale then calls.prompt_version else '(all else)' end as stale_version,
    from calls
    left join suspects
        on calls.traffic_type is distinct from 'eval'
        and calls.feature is not distinct from suspects.feature
        and calls.prompt_version = suspects.old_version
        and calls.local_day > suspects.took_over_on
)

select
    {% if by %}local_{{ by }} as {{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    case when is_stale then 'stale' else '(ordinary)' end as finding, -- stale; (ordinary) for all else
    stale_feature as feature, -- feature; (unattributed) where no span says it
    stale_version as prompt_version, -- version that still gets traffic
    current_version, -- version that took over
    took_over_on, -- first day on which that one had more than half of the requests
    {% for name in group_by %}{{ name }}, -- dimension asked for
    {% endfor %}
    case when is_stale then max(started_at) end as last_seen_at, -- start of the last stale call, UTC
    case when is_stale then arg_max(trace_id, started_at) end as trace_id, -- its trace, for llmcost trace
    count(distinct work_id) as requests, -- traces with calls, sessions where there is no trace
    count(*) as calls, -- billable requests to a model
    sum(cost_usd) as cost_usd, -- booked cost, USD; NULL when none is known
    case when is_stale then cast(round(sum(cost_usd) / count(distinct work_id), 9) as decimal(18, 9)) end as cost_per_request_usd, -- cost over requests, USD
    cast(round(any_value(current_cost), 9) as decimal(18, 9)) as current_cost_per_request_usd, -- what a request costs under the current version since it took over, USD
    cast(round(sum(cost_usd)::double - count(distinct work_id) * any_value(current_cost), 9) as decimal(18, 9))
        as difference_usd, -- cost less what as many requests cost under the current one; above 0 the stale one is dearer, USD
    count(*) filter (cost_usd is null) as unpriced_calls, -- calls of unknown cost, not in cost_usd
from marked
group by
    {% if by %}local_{{ by }},{% endif %}
    {% for name in group_by %}{{ name }},{% endfor %}
    is_stale, stale_feature, stale_version, current_version, took_over_on
order by
    {% if by %}local_{{ by }}, {% endif %}is_stale desc, sum(cost_usd) desc nulls last, stale_feature, stale_version
    {% for name in group_by %}, {{ name }}{% endfor %}
