-- What one request costs, day by day: the mean, the middle and the tail.
-- A request belongs to the day it started on. One that the grouping splits is counted in each part, with that part's cost.
-- grain: one row per day
-- reads: calls
-- group_by: feature, route, customer_id, team, org, user_id, key_id, developer, agent_name, agent_run_id, session_id, prompt_version, deployment, service_name, traffic_type, provider, model, operation, service_tier
{% set by = by or "day" %}
with

dated as (
    select
        *,
        min(local_{{ by }}) over (partition by work_id) as begun_{{ by }},
    from calls
),

requests as (
    select
        begun_{{ by }} as {{ by }},
        {% for name in group_by %}{{ name }},{% endfor %}
        work_id,
        count(*) as calls,
        sum(cost_usd) as cost_usd,
        count(*) filter (cost_usd is null) as unpriced_calls,
    from dated
    group by all
)

select
    {{ by }}, -- day on which the request started, in the time zone asked for
    {% for name in group_by %}{{ name }}, -- dimension asked for; empty where no span says it
    {% endfor %}
    count(*) as requests, -- traces with calls, sessions where there is no trace
    sum(calls)::bigint as calls, -- billable requests to a model
    round(sum(calls) / count(*), 2) as calls_per_request, -- loops and retries
    sum(cost_usd) as cost_usd, -- booked cost, USD; NULL when none is known
    cast(round(sum(cost_usd) / count(*), 9) as decimal(18, 9)) as cost_per_request_usd, -- cost over requests, USD
    cast(round(percentile_cont(0.5) within group (order by cost_usd::double), 9) as decimal(18, 9)) as p50_usd, -- median cost of a request, USD
    cast(round(percentile_cont(0.95) within group (order by cost_usd::double), 9) as decimal(18, 9)) as p95_usd, -- 95th percentile, USD
    sum(unpriced_calls)::bigint as unpriced_calls, -- calls of unknown cost, not in cost_usd
from requests
group by all
order by {{ by }}, cost_usd desc{% for name in group_by %}, {{ name }}{% endfor %}
