-- What one trace costs: the middle, the tail, and the dearest one, in all or by route, feature or root span.
-- A trace belongs to the day it started on. One that the grouping splits is counted in each part, with that part's cost.
-- grain: one row, or one per dimension asked for
-- reads: calls, traces
-- group_by: root_name, route, feature, customer_id, team, org, user_id, key_id, developer, agent_name, agent_run_id, session_id, prompt_version, deployment, service_name, traffic_type, provider, model, operation, service_tier
with

rooted as (
    select
        calls.*,
        traces.root_name,
        {% if by %}min(calls.local_{{ by }}) over (partition by calls.work_id) as begun_{{ by }},{% endif %}
    from calls
    left join traces
        on calls.trace_id = traces.trace_id
),

spent as (
    select
        {% if by %}begun_{{ by }} as {{ by }},{% endif %}
        {% for name in group_by %}{{ name }},{% endfor %}
        work_id,
        any_value(trace_id) as trace_id,
        count(*) as calls,
        sum(cost_usd) as cost_usd,
        count(*) filter (cost_usd is null) as unpriced_calls,
    from rooted
    group by all
)

select
    {% if by %}{{ by }}, -- {{ by }} on which the trace started, in the time zone asked for
    {% endif %}
    {% for name in group_by %}{{ name }}, -- dimension asked for; empty where no span says it
    {% endfor %}
    count(*) as traces, -- traces with calls; sessions of log records without a trace
    sum(calls)::bigint as calls, -- billable requests to a model
    round(sum(calls) / count(*), 2) as calls_per_trace, -- loops and retries
    sum(cost_usd) as cost_usd, -- booked cost, USD; NULL when none is known
    cast(round(sum(cost_usd) / count(cost_usd), 9) as decimal(18, 9)) as mean_usd, -- mean of the traces of known cost, USD
    cast(round(percentile_cont(0.5) within group (order by cost_usd::double), 9) as decimal(18, 9)) as p50_usd, -- median cost of a trace, USD
    cast(round(percentile_cont(0.95) within group (order by cost_usd::double), 9) as decimal(18, 9)) as p95_usd, -- 95th percentile, USD
    cast(round(percentile_cont(0.99) within group (order by cost_usd::double), 9) as decimal(18, 9)) as p99_usd, -- 99th percentile, USD
    max(cost_usd) as max_usd, -- dearest trace, USD
    arg_max(trace_id, (cost_usd, trace_id)) filter (cost_usd is not null) as dearest_trace_id, -- for llmcost trace
    sum(unpriced_calls)::bigint as unpriced_calls, -- calls of unknown cost, not in cost_usd
from spent
group by all
having count(*) > 0
order by {% if by %}{{ by }}, {% endif %}cost_usd desc{% for name in group_by %}, {{ name }}{% endfor %}
