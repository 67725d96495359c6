-- An account that pays nothing costs over ten times what such accounts do.
-- Who pays nothing, the rollup free-tier-abusers says: revenue.csv where there is one, else tags. Over the last seven days.
-- grain: one row per account
-- reads: free_tier_abusers, calls
-- window: 7d
-- severity: warning
-- cool_down: 7d
-- param: recent_hours = 24 -- how long ago its last call may be, hours
-- param: at_least_usd = 1 -- least that it cost, USD
with

accounts as (
    select
        coalesce(customer_id, user_id) as account_id,
        max(started_at) as last_at,
        arg_max(feature, cost_usd) as feature,
        arg_max(deployment, cost_usd) as deployment,
        arg_max(model, cost_usd) as model,
        arg_max(team, cost_usd) as team,
        max_by(trace_id, (cost_usd, trace_id), 5) filter (trace_id is not null) as dearest,
    from calls
    group by all
)

select
    abusers.account_id as entity, -- account: the customer, else the user
    getvariable('today') as period, -- local day
    abusers.cost_usd as observed, -- its cost in the last seven days, USD
    abusers.median_account_usd as baseline, -- what the median account that pays nothing costs, USD
    10 * abusers.median_account_usd as threshold, -- ten times that, USD
    accounts.feature, -- feature of its dearest call
    accounts.deployment, -- deployment of its dearest call
    accounts.model, -- model of its dearest call
    accounts.team, -- team of its dearest call
    abusers.account_id as customer_id, -- account: the customer, else the user
    abusers.users, -- people the work was done for
    abusers.requests, -- traces with its calls
    list_distinct(accounts.dearest) as trace_ids, -- traces of its dearest calls
from free_tier_abusers as abusers
inner join accounts
    on abusers.account_id = accounts.account_id
where
    abusers.finding <> '(ordinary)'
    and accounts.last_at > getvariable('now') - $recent_hours * interval 1 hour
    and abusers.cost_usd >= $at_least_usd
order by abusers.cost_usd desc, entity
