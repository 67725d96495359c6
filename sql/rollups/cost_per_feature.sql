-- What each product feature costs, in all and per request.
-- grain: one row per feature
-- reads: calls
-- group_by: customer_id, team, org, user_id, model, provider, agent_name, prompt_version, route, deployment, service_name, traffic_type, key_id, developer, agent_run_id, session_id, operation, service_tier
select
    {% if by %}local_{{ by }} as {{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    coalesce(feature, '(unattributed)') as feature, -- feature; (unattributed) where no span says it
    {% for name in group_by %}{{ name }}, -- dimension asked for
    {% endfor %}
    count(distinct work_id) as requests, -- traces with calls, sessions where there is no trace
    count(*) as calls, -- billable requests to a model
    round(count(*) / count(distinct work_id), 2) as calls_per_request, -- loops and retries
    sum(input_tokens)::bigint as input_tokens, -- everything sent, tokens
    sum(output_tokens)::bigint as output_tokens, -- everything generated, tokens
    sum(cost_usd) as cost_usd, -- booked cost, USD; NULL when none is known
    cast(round(sum(cost_usd) / count(distinct work_id), 9) as decimal(18, 9)) as cost_per_request_usd, -- cost over requests, USD
    count(*) filter (cost_usd is null) as unpriced_calls, -- calls of unknown cost, not in cost_usd
from calls
group by {% if by %}local_{{ by }}, {% endif %}{% for name in group_by %}{{ name }}, {% endfor %}calls.feature
order by {% if by %}{{ by }}, {% endif %}cost_usd desc, feature{% for name in group_by %}, {{ name }}{% endfor %}
