-- What has no price, and why: calls and tokens by reason, provider and model, beside all that has one.
-- No dollar is guessed: cost_usd is that of the (priced) row alone. `llmcost prices unmatched` says what to do about models.
-- grain: one row per reason, provider and model; one for what is priced
-- reads: calls
-- group_by: feature, route, customer_id, team, org, user_id, key_id, developer, agent_name, agent_run_id, session_id, prompt_version, deployment, service_name, traffic_type, operation, service_tier
with

reasoned as (
    select
        *,
        case when cost_usd is not null then '(priced)' else coalesce(unpriced_reason, '(not told)') end as reason,
        case when cost_usd is null then provider end as unpriced_provider,
        case when cost_usd is null then model end as unpriced_model,
        coalesce(input_tokens, 0) + coalesce(output_tokens, 0) as tokens,
    from calls
)

select
    {% if by %}local_{{ by }} as {{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    reason, -- why there is no price; (priced) for all calls that have one
    unpriced_provider as provider, -- vendor as spans name it
    unpriced_model as model, -- model as spans name it; empty where no span does
    {% for name in group_by %}{{ name }}, -- dimension asked for
    {% endfor %}
    count(*) as calls, -- billable requests to a model
    sum(input_tokens)::bigint as input_tokens, -- everything sent, tokens
    sum(output_tokens)::bigint as output_tokens, -- everything generated, tokens
    round(100 * sum(tokens) / nullif(sum(sum(tokens)) over (), 0), 2) as share_of_tokens_percent, -- of the window's, percent
    sum(cost_usd) as cost_usd, -- booked cost, USD; NULL for all but the (priced) row
from reasoned
group by all
order by
    {% if by %}{{ by }}, {% endif %}bool_or(reason = '(priced)'), sum(tokens) desc, reason, provider, model
    {% for name in group_by %}, {{ name }}{% endfor %}
