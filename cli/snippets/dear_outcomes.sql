-- A success of one agent costs several times what another agent of its feature needs for one.
-- Everything that is spent on work with a verdict counts, its failures too.
-- reads: calls, trace_outcomes
-- window: 8d
-- severity: warning
-- cool_down: 24h
-- param: factor = 3 -- times the cheapest agent of the feature
-- param: least_successes = 10 -- of either agent; fewer may be chance
with

spent as (
    select
        feature,
        agent_name,
        work_id,
        max_by(trace_id, cost_usd) as trace_id,
        sum(cost_usd) as cost_usd,
    from calls
    where agent_name is not null
    group by feature, agent_name, work_id
),

verdicts as (
    select
        work_id,
        bool_or(succeeded) as has_succeeded,
    from trace_outcomes
    where succeeded is not null
    group by work_id
),

costs as (
    select
        spent.feature,
        spent.agent_name,
        sum(spent.cost_usd) / nullif(count(*) filter (verdicts.has_succeeded), 0) as cost_per_success,
        max_by(spent.trace_id, (spent.cost_usd, spent.trace_id), 3) as trace_ids,
    from spent
    inner join verdicts
        on spent.work_id = verdicts.work_id
    group by spent.feature, spent.agent_name
    having count(*) filter (verdicts.has_succeeded) >= $least_successes
),

compared as (
    select
        *,
        min(cost_per_success) over (partition by feature) as cheapest,
    from costs
)

select
    concat_ws(' / ', feature, agent_name) as entity, -- feature and agent
    getvariable('today') as period, -- local day
    cost_per_success as observed, -- cost of a success, USD
    cheapest as baseline, -- cost of a success of the cheapest agent, USD
    $factor * cheapest as threshold, -- most that is let pass, USD
    feature, -- feature
    trace_ids, -- the dearest traces
from compared
where cost_per_success > $factor * cheapest
