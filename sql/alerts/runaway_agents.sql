-- A run of an agent went away with the money.
-- What is a runaway, the rollup runaway-agents says of the last seven days; it is told once for each run.
-- grain: one row per run
-- reads: runaway_agents, calls
-- window: 7d
-- severity: error
-- param: recent_hours = 24 -- how long ago its last call may be, hours
-- param: at_least_usd = 1 -- least that the run cost, USD; one of unknown cost is told too
with

runs as (
    select
        agent_run_id,
        max(started_at) as last_at,
        arg_max(feature, cost_usd) as feature,
        arg_max(deployment, cost_usd) as deployment,
        arg_max(model, cost_usd) as model,
        arg_max(team, cost_usd) as team,
        max_by(trace_id, (cost_usd, trace_id), 5) filter (trace_id is not null) as dearest,
    from calls
    where agent_run_id is not null
    group by agent_run_id
)

select
    runaways.agent_run_id as entity, -- run
    'run' as period, -- once for the run
    runaways.cost_usd as observed, -- cost of the run, USD
    runaways.median_run_usd as baseline, -- what the agent's median run costs, USD
    10 * runaways.median_run_usd as threshold, -- ten times that, USD
    runs.feature, -- feature of its dearest call
    runs.deployment, -- deployment of its dearest call
    runs.model, -- model of its dearest call
    runs.team, -- team of its dearest call
    runaways.agent_name, -- agent at the top of the run
    runaways.finding, -- what was over ten times the median: cost, tokens, calls
    runaways.calls, -- billable requests to a model
    list_distinct(runs.dearest) as trace_ids, -- traces of its dearest calls
from runaway_agents as runaways
inner join runs
    on runaways.agent_run_id = runs.agent_run_id
where
    runaways.finding <> '(ordinary)'
    and runs.last_at > getvariable('now') - $recent_hours * interval 1 hour
    and coalesce(runaways.cost_usd >= $at_least_usd, true)
order by runaways.cost_usd desc nulls first, entity
