-- Accounts that pay nothing and cost over ten times what the median of those that pay nothing costs.
-- An account is the customer, else the user where no customer is told. It pays nothing when the file revenue.csv beside
-- your own rollups (see customer-margin) has no revenue of it for a time within the window. Without that file, when a
-- tag of its calls says so: free, free-tier, plan:free, plan=free, tier:free or tier=free. There must be at least five
-- such accounts. One row is (ordinary): all other calls.
-- grain: one row per suspect account; one for all else
-- reads: calls, revenue
-- key: finding, account_id
-- group_by: feature, team, org, key_id, developer, route, agent_name, agent_run_id, session_id, prompt_version, deployment, service_name, traffic_type, provider, model, operation, service_tier
with

paying as (
    select customer_id
    from revenue
    where
        cast(since as timestamp) < timezone(getvariable('tz'), getvariable('until'))
        and cast(until as timestamp) > timezone(getvariable('tz'), getvariable('since'))
    group by customer_id
    having sum(revenue_usd) > 0
),

accounts as (
    select
        coalesce(customer_id, user_id) as account,
        sum(cost_usd) as spent_usd,
        arg_max(trace_id, (cost_usd, trace_id)) filter (cost_usd is not null) as dearest_trace_id,
        bool_or(
            coalesce(
                list_has_any(
                    tags, ['free', 'free-tier', 'plan:free', 'plan=free', 'tier:free', 'tier=free']
                ),
                false
            )
        ) as is_tagged_free,
    from calls
    where customer_id is not null or user_id is not null
    group by coalesce(customer_id, user_id)
),

free as (
    select *
    from accounts
    where
        case
            when (select count(*) from revenue) > 0 then account not in (select customer_id from paying)
            else is_tagged_free
        end
),

typical as (
    select
        count(spent_usd) as known_accounts,
        percentile_cont(0.5) within group (order by spent_usd::double) as median_spent,
    from free
),

suspects as (
    select
        free.account,
        free.dearest_trace_id,
        typical.median_spent,
        free.spent_usd::double / nullif(typical.median_spent, 0) as times_median,
    from free
    cross join typical
    where typical.known_accounts >= 5 and free.spent_usd > 10 * typical.median_spent
)

select
    {% if by %}calls.local_{{ by }} as {{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    case when suspects.account is null then '(ordinary)' else 'over the median' end as finding, -- over the median; (ordinary) for all else
    coalesce(suspects.account, '(all else)') as account_id, -- customer, or the user where no customer is told
    {% for name in group_by %}calls.{{ name }}, -- dimension asked for
    {% endfor %}
    suspects.dearest_trace_id as trace_id, -- trace of its dearest call, for llmcost trace
    count(distinct calls.user_id) as users, -- people the work was done for
    count(distinct calls.work_id) as requests, -- traces with calls, sessions where there is no trace
    count(*) as calls, -- billable requests to a model
    sum(calls.cost_usd) as cost_usd, -- booked cost, USD; NULL when none is known
    cast(round(any_value(suspects.median_spent), 9) as decimal(18, 9)) as median_account_usd, -- what the median account that pays nothing costs, USD
    round(any_value(suspects.times_median), 1) as times_median, -- cost of the account in the window over that
    count(*) filter (calls.cost_usd is null) as unpriced_calls, -- calls of unknown cost, not in cost_usd
from calls
left join suspects
    on coalesce(calls.customer_id, calls.user_id) = suspects.account
group by
    {% if by %}calls.local_{{ by }},{% endif %}
    {% for name in group_by %}calls.{{ name }},{% endfor %}
    suspects.account, suspects.dearest_trace_id
order by
    {% if by %}calls.local_{{ by }}, {% endif %}suspects.account is null, sum(calls.cost_usd) desc nulls last, suspects.account
    {% for name in group_by %}, calls.{{ name }}{% endfor %}
