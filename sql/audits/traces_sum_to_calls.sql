-- The calls and the cost of each trace are those of its calls. Of those that lie in the window whole.
-- grain: one row per trace that differs
-- reads: calls, traces
-- next: derive its day again: llmcost reprice --since DAY --apply; report it if it stays
with

told as (
    select
        trace_id,
        sum(calls) as calls,
        sum(cost_usd) as cost_usd,
    from traces
    group by trace_id
    having
        min(started_at) >= getvariable('since')
        and max(ended_at) < getvariable('until')
),

summed as (
    select
        trace_id,
        count(*) as calls,
        sum(cost_usd) as cost_usd,
    from calls
    where trace_id is not null
    group by trace_id
)

select
    coalesce(told.trace_id, summed.trace_id) as trace_id, -- the trace
    told.calls as told_calls, -- calls that traces says; NULL where it has no row
    summed.calls as calls, -- calls that there are
    told.cost_usd as told_cost_usd, -- cost that traces says, USD
    summed.cost_usd as cost_usd, -- cost of its calls, USD
from told
full outer join summed
    on told.trace_id = summed.trace_id
where
    (told.trace_id is not null and told.calls is distinct from summed.calls)
    or (told.trace_id is not null and told.cost_usd is distinct from summed.cost_usd)
    or (told.trace_id is null and summed.trace_id not in (select trace_id from traces where trace_id is not null))
order by trace_id
