-- Judging answers costs more than giving them.
-- Over the last 24 hours, so that evals of the night stand beside the work of the day.
-- grain: one row, or none
-- reads: calls
-- window: 24h
-- severity: warning
-- cool_down: 24h
-- param: ratio = 1 -- eval dollars for each inference dollar
-- param: at_least_usd = 1 -- least eval spend, USD
with

spent as (
    select
        coalesce(sum(cost_usd) filter (traffic_type = 'eval'), 0) as eval_usd,
        coalesce(sum(cost_usd) filter (traffic_type is distinct from 'eval'), 0) as inference_usd,
    from calls
),

dearest as (
    select
        trace_id,
        any_value(feature) as feature,
        any_value(deployment) as deployment,
        any_value(model) as model,
        any_value(team) as team,
        sum(cost_usd) as cost_usd,
    from calls
    where traffic_type = 'eval' and trace_id is not null and cost_usd is not null
    group by trace_id
)

select
    'evals' as entity, -- all eval traffic
    getvariable('today') as period, -- local day
    spent.eval_usd as observed, -- eval spend in the last 24 hours, USD
    spent.inference_usd as baseline, -- inference spend in the same hours, USD
    $ratio * spent.inference_usd as threshold, -- most that is let pass, USD
    max_by(dearest.feature, dearest.cost_usd) as feature, -- feature of the dearest eval
    max_by(dearest.deployment, dearest.cost_usd) as deployment, -- deployment of the dearest eval
    max_by(dearest.model, dearest.cost_usd) as model, -- model of the dearest eval
    max_by(dearest.team, dearest.cost_usd) as team, -- team of the dearest eval
    max_by(dearest.trace_id, (dearest.cost_usd, dearest.trace_id), 3) as trace_ids, -- the dearest eval traces
from spent
left join dearest
    on true
where spent.eval_usd > $ratio * spent.inference_usd and spent.eval_usd >= $at_least_usd
group by spent.eval_usd, spent.inference_usd
