-- What each customer costs, in all, per user and per request.
-- grain: one row per customer
-- reads: calls
-- group_by: feature, team, org, model, provider, agent_name, deployment, service_name, traffic_type, key_id, route, user_id, developer, agent_run_id, session_id, prompt_version, operation, service_tier
select
    {% if by %}local_{{ by }} as {{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    coalesce(customer_id, '(unattributed)') as customer_id, -- customer; (unattributed) where no span says it
    {% for name in group_by %}{{ name }}, -- dimension asked for
    {% endfor %}
    count(distinct user_id) as users, -- users seen
    count(distinct work_id) as requests, -- traces with calls, sessions where there is no trace
    count(*) as calls, -- billable requests to a model
    sum(cost_usd) as cost_usd, -- booked cost, USD; NULL when none is known
    round(100 * sum(cost_usd) / nullif(sum(sum(cost_usd)) over (), 0), 2) as share_percent, -- of the window's cost, percent
    cast(round(sum(cost_usd) / nullif(count(distinct user_id), 0), 9) as decimal(18, 9)) as cost_per_user_usd, -- cost over users, USD
    cast(round(sum(cost_usd) / count(distinct work_id), 9) as decimal(18, 9)) as cost_per_request_usd, -- cost over requests, USD
    count(*) filter (cost_usd is null) as unpriced_calls, -- calls of unknown cost, not in cost_usd
from calls
group by {% if by %}local_{{ by }}, {% endif %}{% for name in group_by %}{{ name }}, {% endfor %}calls.customer_id
order by {% if by %}{{ by }}, {% endif %}cost_usd desc, customer_id{% for name in group_by %}, {{ name }}{% endfor %}
