-- A share of a budget is spent.
-- Spend is what `llmcost budget status` says: booked costs, and a bound for calls without a price. Each mark is told once
-- in a period of the budget, and is over when the period is.
-- grain: one row per budget, entity and mark that is reached
-- reads: budget_standings, spend_of_entities
-- window: 24h
-- severity: warning
-- param: first_percent = 50 -- first mark, percent
-- param: second_percent = 80 -- second mark, percent
-- param: third_percent = 100 -- third mark, percent
with

marks as (
    select unnest([$first_percent, $second_percent, $third_percent]) as mark
),

lately as (
    select *
    from spend_of_entities(getvariable('since'), getvariable('until'))
),

reached as (
    select
        standings.*,
        marks.mark,
        row_number() over (
            partition by standings.level, standings.entity, standings.budget_period, standings.limit_usd
            order by marks.mark desc
        ) = 1 as is_highest,
    from budget_standings as standings
    cross join marks
    where standings.limit_usd > 0 and 100 * standings.spent_usd >= marks.mark * standings.limit_usd
)

select
    concat_ws(' ', reached.level, nullif(reached.entity, ''), reached.budget_period, 'of', reached.limit_usd::decimal(18, 2), 'at', reached.mark || '%') as entity, -- budget and mark
    strftime(timezone(getvariable('tz'), reached.since), '%Y-%m-%d') as period, -- first day of the budget's period
    case when reached.mark >= 100 and reached.is_hard then 'critical' when reached.mark >= 100 then 'error' when reached.mark < 80 then 'info' end
        as severity, -- the worse, the more is spent
    reached.spent_usd as observed, -- spent in the period, USD
    reached.limit_usd as baseline, -- the budget, USD
    reached.mark * reached.limit_usd / 100 as threshold, -- the mark, USD
    lately.feature, -- feature of the dearest call of the last 24 hours
    lately.deployment, -- deployment of that call
    lately.model, -- model of that call
    coalesce(case when reached.level = 'team' then reached.entity end, lately.team) as team, -- team of the budget, or of that call
    case when reached.level = 'customer' then reached.entity end as customer_id, -- customer of the budget
    case when reached.level = 'user' then reached.entity end as user_id, -- user of the budget
    case when reached.level = 'agent' then reached.entity end as agent_name, -- agent of the budget
    case when reached.is_hard then 'hard' else 'soft' end as kind, -- hard budgets block
    reached.until, -- end of the period, UTC
    nullif(reached.unpriced_calls, 0) as unpriced_calls, -- calls that count by a bound
    lately.trace_ids, -- traces of the dearest calls of the last 24 hours
from reached
left join lately
    on not reached.is_shared
    and reached.level = lately.level
    and reached.value = lately.value
order by reached.mark desc, reached.spent_usd desc, entity
