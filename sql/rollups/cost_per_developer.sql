-- What each developer's tools cost: the leaderboard of coding agents and other work with a developer's name.
-- grain: one row per developer
-- reads: calls
-- group_by: team, org, customer_id, user_id, key_id, feature, route, agent_name, agent_run_id, session_id, prompt_version, deployment, service_name, traffic_type, provider, model, operation, service_tier
select
    {% if by %}local_{{ by }} as {{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    case
        when calls.developer is not null
            then rank() over (
                partition by calls.developer is null{% if by %}, local_{{ by }}{% endif %} order by sum(cost_usd) desc nulls last
            )
    end as rank, -- 1 is the dearest, of its day or hour where these are asked for; empty for (unattributed)
    coalesce(calls.developer, '(unattributed)') as developer, -- developer; (unattributed) where no span says it
    {% for name in group_by %}{{ name }}, -- dimension asked for
    {% endfor %}
    count(distinct work_id) as requests, -- traces with calls, sessions where there is no trace
    count(*) as calls, -- billable requests to a model
    sum(input_tokens)::bigint as input_tokens, -- everything sent, tokens
    sum(output_tokens)::bigint as output_tokens, -- everything generated, tokens
    sum(cost_usd) as cost_usd, -- booked cost, USD; NULL when none is known
    round(100 * sum(cost_usd) / nullif(sum(sum(cost_usd)) over (), 0), 2) as share_percent, -- of the window's cost, percent
    cast(round(sum(cost_usd) / count(distinct work_id), 9) as decimal(18, 9)) as cost_per_request_usd, -- cost over requests, USD
    count(*) filter (cost_usd is null) as unpriced_calls, -- calls of unknown cost, not in cost_usd
from calls
group by {% if by %}local_{{ by }}, {% endif %}{% for name in group_by %}{{ name }}, {% endfor %}calls.developer
order by {% if by %}{{ by }}, {% endif %}cost_usd desc, developer{% for name in group_by %}, {{ name }}{% endfor %}
