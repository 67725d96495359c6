-- An hour's spend is above what the daily budget has for an hour.
-- The last hour beside the budget over the hours of the day. Where days have busy hours, raise the factor. Booked costs count.
-- grain: one row per daily budget and entity
-- reads: budget_standings, spend_of_entities
-- window: 25h
-- severity: warning
-- cool_down: 6h
-- param: factor = 1 -- how many times the hour's part of the budget
-- param: at_least_usd = 1 -- least spend, USD
with

daily as (
    select
        *,
        extract(epoch from until - since) / 3600 as hours,
    from budget_standings
    where budget_period = 'daily' and limit_usd > 0
),

spent as (
    select *
    from spend_of_entities(
        getvariable('now') - interval 1 hour,
        getvariable('now')
    )
),

measured as (
    select
        daily.level,
        daily.entity,
        daily.since,
        daily.is_hard,
        daily.limit_usd,
        daily.hours,
        sum(spent.cost_usd) as cost_usd,
        arg_max(spent.feature, spent.cost_usd) as feature,
        arg_max(spent.deployment, spent.cost_usd) as deployment,
        arg_max(spent.model, spent.cost_usd) as model,
        arg_max(spent.team, spent.cost_usd) as team,
        arg_max(spent.trace_ids, spent.cost_usd) as trace_ids,
    from daily
    inner join spent
        on daily.level = spent.level
        and case when daily.is_shared then spent.value glob daily.value else spent.value = daily.value end
    group by all
)

select
    concat_ws(' ', level, nullif(entity, ''), 'daily of', limit_usd::decimal(18, 2)) as entity, -- daily budget
    strftime(timezone(getvariable('tz'), since), '%Y-%m-%d') as period, -- day of the budget
    cost_usd as observed, -- spent in the last hour, USD
    limit_usd as baseline, -- the budget of the day, USD
    cast(round($factor * limit_usd / hours, 9) as decimal(18, 9)) as threshold, -- the hour's part of the budget, USD
    feature, -- feature of the dearest call
    deployment, -- deployment of the dearest call
    model, -- model of the dearest call
    coalesce(case when level = 'team' then entity end, team) as team, -- team of the budget, or of the dearest call
    case when level = 'customer' then entity end as customer_id, -- customer of the budget
    case when level = 'user' then entity end as user_id, -- user of the budget
    case when level = 'agent' then entity end as agent_name, -- agent of the budget
    case when is_hard then 'hard' else 'soft' end as kind, -- hard budgets block
    trace_ids, -- traces of the dearest calls
from measured
where cost_usd > cast(round($factor * limit_usd / hours, 9) as decimal(18, 9)) and cost_usd >= $at_least_usd
order by cost_usd desc, entity
