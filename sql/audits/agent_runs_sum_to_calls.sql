-- The calls and the cost of each run are those of its calls. Of those that lie in the window whole.
-- grain: one row per run that differs
-- reads: calls, agent_runs
-- next: derive its day again: llmcost reprice --since DAY --apply; report it if it stays
with

told as (
    select
        agent_run_id,
        sum(calls) as calls,
        sum(cost_usd) as cost_usd,
    from agent_runs
    group by agent_run_id
    having
        min(started_at) >= getvariable('since')
        and max(ended_at) < getvariable('until')
),

summed as (
    select
        agent_run_id,
        count(*) as calls,
        sum(cost_usd) as cost_usd,
    from calls
    where agent_run_id is not null
    group by agent_run_id
)

select
    coalesce(told.agent_run_id, summed.agent_run_id) as agent_run_id, -- the run
    told.calls as told_calls, -- calls that agent_runs says; NULL where it has no row
    summed.calls as calls, -- calls that there are
    told.cost_usd as told_cost_usd, -- cost that agent_runs says, USD
    summed.cost_usd as cost_usd, -- cost of its calls, USD
from told
full outer join summed
    on told.agent_run_id = summed.agent_run_id
where
    (told.agent_run_id is not null and told.calls is distinct from summed.calls)
    or (told.agent_run_id is not null and told.cost_usd is distinct from summed.cost_usd)
    or (told.agent_run_id is null and summed.agent_run_id not in (select agent_run_id from agent_runs where agent_run_id is not null))
order by agent_run_id
