-- What each agent spends on each model, hour by hour.
-- grain: one row per hour, agent and model
-- reads: calls
-- group_by: feature, customer_id, team, org, user_id, key_id, developer, route, agent_run_id, session_id, prompt_version, deployment, service_name, traffic_type, operation, service_tier
{% set by = by or "hour" %}
select
    local_{{ by }} as {{ by }}, -- hour in the time zone asked for, such as 2024-03-15T14
    coalesce(calls.agent_name, '(no agent)') as agent_name, -- agent at the top of the run; (no agent) where no span says it
    provider, -- vendor that is paid
    model, -- model as priced
    {% for name in group_by %}{{ name }}, -- dimension asked for
    {% endfor %}
    count(distinct agent_run_id) as runs, -- runs with calls in the hour
    count(distinct work_id) as requests, -- traces with calls, sessions where there is no trace
    count(*) as calls, -- billable requests to a model
    sum(input_tokens)::bigint as input_tokens, -- everything sent, tokens
    sum(output_tokens)::bigint as output_tokens, -- everything generated, tokens
    sum(cost_usd) as cost_usd, -- booked cost, USD; NULL when none is known
    count(*) filter (cost_usd is null) as unpriced_calls, -- calls of unknown cost, not in cost_usd
from calls
group by local_{{ by }}, calls.agent_name, provider, model{% for name in group_by %}, {{ name }}{% endfor %}
order by {{ by }}, cost_usd desc, agent_name, provider, model{% for name in group_by %}, {{ name }}{% endfor %}
