-- What each route costs, and what it cost in seven days: those that end with the row's day or hour, else with the window.
-- Seven days that the window does not hold whole are empty, so ask for seven days more than you want to see.
-- grain: one row per route
-- reads: calls
-- group_by: feature, customer_id, team, org, user_id, key_id, developer, agent_name, agent_run_id, session_id, prompt_version, deployment, service_name, traffic_type, provider, model, operation, service_tier
with

spent as (
    select
        {% if by %}local_{{ by }} as {{ by }},
        date_trunc('{{ by }}', timezone(getvariable('tz'), started_at)) as begins_at,{% endif %}
        route,
        {% for name in group_by %}{{ name }},{% endfor %}
        count(distinct work_id) as requests,
        count(*) as calls,
        sum(cost_usd) as cost_usd,
        count(*) filter (cost_usd is null) as unpriced_calls,
    from calls
    group by all
),

{% if by %}
parts as (
    select
        date_trunc('{{ by }}', timezone(getvariable('tz'), started_at)) as begins_at,
        route,
        {% for name in group_by %}{{ name }},{% endfor %}
        work_id,
        sum(cost_usd) as cost_usd,
    from calls
    group by all
),

-- by the clock on the wall, so that a day of 23 or 25 hours is a day
rolling as (
    select
        spent.begins_at,
        spent.route,
        {% for name in group_by %}spent.{{ name }},{% endfor %}
        count(distinct parts.work_id) as requests,
        sum(parts.cost_usd) as cost_usd,
    from spent
    inner join parts
        on spent.route is not distinct from parts.route
        {% for name in group_by %}and spent.{{ name }} is not distinct from parts.{{ name }}
        {% endfor %}
        and parts.begins_at <= spent.begins_at
        and parts.begins_at >= spent.begins_at + interval 1 {{ by }} - interval 7 day
    where spent.begins_at + interval 1 {{ by }} - interval 7 day >= timezone(getvariable('tz'), getvariable('since'))
    group by all
)
{% else %}
rolling as (
    select
        route,
        {% for name in group_by %}{{ name }},{% endfor %}
        count(distinct work_id) as requests,
        sum(cost_usd) as cost_usd,
    from calls
    where
        started_at >= getvariable('until') - interval 7 day
        and getvariable('until') - interval 7 day >= getvariable('since')
    group by all
)
{% endif %}

select
    {% if by %}spent.{{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    coalesce(spent.route, '(unattributed)') as route, -- HTTP route or entry point; (unattributed) where no span says it
    {% for name in group_by %}spent.{{ name }}, -- dimension asked for
    {% endfor %}
    spent.requests, -- traces with calls, sessions where there is no trace
    spent.calls, -- billable requests to a model
    spent.cost_usd, -- booked cost, USD; NULL when none is known
    cast(round(spent.cost_usd / spent.requests, 9) as decimal(18, 9)) as cost_per_request_usd, -- cost over requests, USD
    rolling.requests as seven_day_requests, -- requests of the seven days
    rolling.cost_usd as seven_day_usd, -- booked cost of the seven days, USD
    cast(round(rolling.cost_usd / nullif(rolling.requests, 0), 9) as decimal(18, 9))
        as seven_day_cost_per_request_usd, -- cost over requests of the seven days, USD
    spent.unpriced_calls, -- calls of unknown cost, not in cost_usd
from spent
left join rolling
    on spent.route is not distinct from rolling.route
    {% if by %}and spent.begins_at = rolling.begins_at{% endif %}
    {% for name in group_by %}and spent.{{ name }} is not distinct from rolling.{{ name }}
    {% endfor %}
order by {% if by %}spent.{{ by }}, {% endif %}spent.cost_usd desc, route{% for name in group_by %}, spent.{{ name }}{% endfor %}
