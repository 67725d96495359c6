-- What each user costs a day, beside the middle and the top of that day's users.
-- grain: one row per user and day
-- reads: calls
-- group_by: customer_id, team, org, feature, model, provider, deployment, traffic_type, route, key_id, developer, agent_name, agent_run_id, session_id, prompt_version, service_name, operation, service_tier
{% set by = by or "day" %}
with

spent as (
    select
        local_{{ by }} as {{ by }},
        user_id,
        {% for name in group_by %}{{ name }},{% endfor %}
        count(distinct work_id) as requests,
        count(*) as calls,
        count(*) filter (cost_usd is null) as unpriced_calls,
        sum(input_tokens)::bigint as input_tokens,
        sum(output_tokens)::bigint as output_tokens,
        sum(cost_usd) as cost_usd,
    from calls
    group by all
),

users as (
    select
        {{ by }},
        user_id,
        sum(cost_usd) as cost_usd,
    from spent
    where user_id is not null
    group by {{ by }}, user_id
),

spread as (
    select
        {{ by }},
        percentile_cont(0.5) within group (order by cost_usd::double) as median_usd,
        percentile_cont(0.99) within group (order by cost_usd::double) as p99_usd,
    from users
    group by {{ by }}
)

select
    spent.{{ by }}, -- day in the time zone asked for
    coalesce(spent.user_id, '(unattributed)') as user_id, -- user; (unattributed) where no span says it
    {% for name in group_by %}spent.{{ name }}, -- dimension asked for
    {% endfor %}
    spent.requests, -- traces with calls, sessions where there is no trace
    spent.calls, -- billable requests to a model
    spent.input_tokens, -- everything sent, tokens
    spent.output_tokens, -- everything generated, tokens
    spent.cost_usd, -- booked cost, USD; NULL when none is known
    cast(round(spread.median_usd, 9) as decimal(18, 9)) as median_user_usd, -- median of that day's users, USD
    cast(round(spread.p99_usd, 9) as decimal(18, 9)) as p99_user_usd, -- 99th percentile of that day's users, USD
    spent.unpriced_calls, -- calls of unknown cost, not in cost_usd
from spent
left join spread
    on spent.{{ by }} = spread.{{ by }}
order by spent.{{ by }}, spent.cost_usd desc, user_id{% for name in group_by %}, spent.{{ name }}{% endfor %}
