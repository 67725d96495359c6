-- What has no owner: for each dimension, the calls and the cost that no span gives a value of it.
-- Each row is about all calls; ledger_cost_usd tells the cost once, with the first dimension by name.
-- grain: one row per dimension
-- reads: calls
-- group_by: service_name, provider, model, operation, service_tier, feature, route, customer_id, team, org, user_id, key_id, developer, agent_name, prompt_version, deployment, traffic_type
{% set dimensions = [
    "agent_name", "agent_run_id", "customer_id", "deployment", "developer", "feature", "key_id", "org",
    "prompt_version", "route", "session_id", "team", "traffic_type", "user_id",
] %}
with

sums as (
    select
        {% if by %}local_{{ by }} as {{ by }},{% endif %}
        {% for name in group_by %}{{ name }},{% endfor %}
        count(*) as calls,
        sum(cost_usd) as cost_usd,
        count(*) filter (cost_usd is null) as unpriced_calls,
        {% for dimension in dimensions %}
        count(*) filter ({{ dimension }} is null) as calls_without_{{ dimension }},
        sum(cost_usd) filter ({{ dimension }} is null) as cost_without_{{ dimension }},
        {% endfor %}
    from calls
    group by all
    having count(*) > 0
),

told as (
    {% for dimension in dimensions %}
    select
        {% if by %}{{ by }},{% endif %}
        {% for name in group_by %}{{ name }},{% endfor %}
        '{{ dimension }}' as dimension,
        calls,
        calls_without_{{ dimension }} as unattributed_calls,
        case when calls_without_{{ dimension }} > 0 then cost_without_{{ dimension }} else 0 end as unattributed_cost_usd,
        cost_usd,
        {% if loop.first %}cost_usd{% else %}cast(0 as decimal(38, 9)){% endif %} as ledger_cost_usd,
        unpriced_calls,
    from sums
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
)

select
    {% if by %}{{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    dimension, -- what should say whose it is
    {% for name in group_by %}{{ name }}, -- dimension asked for; empty where no span says it
    {% endfor %}
    calls, -- billable requests to a model
    unattributed_calls, -- those without a value
    unattributed_cost_usd, -- their booked cost, USD; NULL when none is known
    cost_usd, -- booked cost of all, USD; NULL when none is known
    round(100 * coalesce(unattributed_cost_usd, 0) / nullif(cost_usd, 0), 2) as unattributed_percent, -- in the cost of all, percent
    unpriced_calls, -- calls of unknown cost, not in the costs
    ledger_cost_usd, -- this row's part of the ledger, USD
from told
order by
    {% if by %}{{ by }}, {% endif %}unattributed_cost_usd desc, unattributed_calls desc, dimension
    {% for name in group_by %}, {{ name }}{% endfor %}
