-- What one run of an agent costs: the middle, the tail, and the run that went away with the money.
-- A runaway is a run that cost more than ten times its agent's median.
-- grain: one row per agent
-- reads: calls, agent_run_days
-- group_by: feature, customer_id, team, org, prompt_version, deployment, service_name, traffic_type, route, user_id, key_id, developer, session_id, provider, model, operation, service_tier
with

claims as (
    select
        agent_run_id,
        sum(unexplained_usd) as unexplained_usd,
    from agent_run_days
    where unexplained_usd is not null
    group by agent_run_id
),

runs as (
    select
        {% if by %}min(local_{{ by }}) as {{ by }},{% endif %}
        coalesce(agent_name, case when agent_run_id is null then '(no agent)' else '(unnamed)' end) as agent_name,
        {% for name in group_by %}{{ name }},{% endfor %}
        agent_run_id,
        case when agent_run_id is null then null else agent_run_id end as run_id,
        count(*) as calls,
        count(*) filter (cost_usd is null) as unpriced_calls,
        sum(cost_usd) as cost_usd,
    from calls
    group by
        coalesce(agent_name, case when agent_run_id is null then '(no agent)' else '(unnamed)' end),
        {% for name in group_by %}{{ name }},{% endfor %}
        {% if by %}case when agent_run_id is null then local_{{ by }} end,{% endif %}
        agent_run_id
),

-- a run that the grouping splits says it once, where most of it was spent
stated as (
    select
        runs.*,
        claims.unexplained_usd,
    from runs
    inner join claims
        on runs.agent_run_id = claims.agent_run_id
    qualify
        row_number() over (
            partition by runs.agent_run_id
            order by runs.cost_usd desc nulls last, runs.calls desc{% for name in group_by %}, runs.{{ name }}{% endfor %}
        ) = 1
),

unexplained as (
    select
        {% if by %}{{ by }},{% endif %}
        agent_name,
        {% for name in group_by %}{{ name }},{% endfor %}
        sum(unexplained_usd) as unexplained_usd,
    from stated
    group by all
),

spread as (
    select
        {% if by %}{{ by }},{% endif %}
        agent_name,
        {% for name in group_by %}{{ name }},{% endfor %}
        count(run_id) as runs,
        sum(calls)::bigint as calls,
        percentile_cont(0.5) within group (order by cost_usd::double) filter (run_id is not null) as p50_usd,
        percentile_cont(0.95) within group (order by cost_usd::double) filter (run_id is not null) as p95_usd,
        percentile_cont(0.99) within group (order by cost_usd::double) filter (run_id is not null) as p99_usd,
        max(cost_usd) filter (run_id is not null) as max_usd,
        sum(cost_usd) as cost_usd,
        sum(unpriced_calls)::bigint as unpriced_calls,
    from runs
    group by all
),

dear as (
    select
        {% if by %}spread.{{ by }},{% endif %}
        spread.agent_name,
        {% for name in group_by %}spread.{{ name }},{% endfor %}
        max(runs.run_id) filter (runs.cost_usd = spread.max_usd) as dearest_run_id,
        count(*) filter (runs.cost_usd > 10 * spread.p50_usd) as runaway_runs,
    from spread
    inner join runs
        on spread.agent_name = runs.agent_name
        {% if by %}and spread.{{ by }} = runs.{{ by }}{% endif %}
        {% for name in group_by %}and spread.{{ name }} is not distinct from runs.{{ name }}
        {% endfor %}
    where runs.run_id is not null and (runs.cost_usd > 10 * spread.p50_usd or runs.cost_usd = spread.max_usd)
    group by all
)

select
    {% if by %}spread.{{ by }}, -- {{ by }} on which the run started, in the time zone asked for
    {% endif %}
    spread.agent_name, -- agent at the top of the run; (no agent) for calls outside any run
    {% for name in group_by %}spread.{{ name }}, -- dimension asked for
    {% endfor %}
    spread.runs, -- runs of the agent
    round(spread.calls / nullif(spread.runs, 0), 2) as calls_per_run, -- loops show here
    cast(round(spread.p50_usd, 9) as decimal(18, 9)) as p50_usd, -- median cost of a run, USD
    cast(round(spread.p95_usd, 9) as decimal(18, 9)) as p95_usd, -- 95th percentile, USD
    cast(round(spread.p99_usd, 9) as decimal(18, 9)) as p99_usd, -- 99th percentile, USD
    spread.max_usd, -- dearest run, USD
    dear.dearest_run_id, -- agent_run_id of the dearest run
    coalesce(dear.runaway_runs, 0) as runaway_runs, -- runs over ten times the median
    spread.cost_usd, -- booked cost of all runs, USD; NULL when none is known
    spread.unpriced_calls, -- calls of unknown cost, not in cost_usd
    unexplained.unexplained_usd, -- what the agents report beyond these calls, not in cost_usd, USD; empty when they report nothing
from spread
left join dear
    on spread.agent_name = dear.agent_name
    {% if by %}and spread.{{ by }} = dear.{{ by }}{% endif %}
    {% for name in group_by %}and spread.{{ name }} is not distinct from dear.{{ name }}
    {% endfor %}
left join unexplained
    on spread.agent_name = unexplained.agent_name
    {% if by %}and spread.{{ by }} = unexplained.{{ by }}{% endif %}
    {% for name in group_by %}and spread.{{ name }} is not distinct from unexplained.{{ name }}
    {% endfor %}
order by {% if by %}spread.{{ by }}, {% endif %}spread.cost_usd desc, spread.agent_name{% for name in group_by %}, spread.{{ name }}{% endfor %}
