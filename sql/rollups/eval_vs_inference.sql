-- What is spent on judging answers beside what is spent on giving them.
-- grain: one row per day
-- reads: calls
-- group_by: feature, customer_id, team, org, model, provider, deployment, service_name, route, user_id, key_id, developer, agent_name, agent_run_id, session_id, prompt_version, operation, service_tier
{% set by = by or "day" %}
select
    local_{{ by }} as {{ by }}, -- day in the time zone asked for
    {% for name in group_by %}{{ name }}, -- dimension asked for
    {% endfor %}
    count(*) filter (traffic_type <> 'eval') as inference_calls, -- calls for the product
    count(*) filter (traffic_type = 'eval') as eval_calls, -- calls of judges and eval runs
    case when count(*) filter (traffic_type <> 'eval') > 0 then sum(cost_usd) filter (traffic_type <> 'eval') else 0 end
        as inference_cost_usd, -- booked cost of the product's calls, USD
    case when count(*) filter (traffic_type = 'eval') > 0 then sum(cost_usd) filter (traffic_type = 'eval') else 0 end
        as eval_cost_usd, -- booked cost of eval traffic, USD
    sum(cost_usd) as cost_usd, -- both, USD; NULL when none is known
    round(100 * coalesce(sum(cost_usd) filter (traffic_type = 'eval'), 0) / nullif(sum(cost_usd), 0), 2)
        as eval_share_percent, -- eval in both, percent
    round(
        coalesce(sum(cost_usd) filter (traffic_type = 'eval'), 0)
        / nullif(sum(cost_usd) filter (traffic_type <> 'eval'), 0),
        4
    ) as eval_per_inference, -- eval dollars for each inference dollar
    count(*) filter (cost_usd is null) as unpriced_calls, -- calls of unknown cost, not in the costs
from calls
group by local_{{ by }}{% for name in group_by %}, {{ name }}{% endfor %}
order by {{ by }}, cost_usd desc{% for name in group_by %}, {{ name }}{% endfor %}
