-- What caches save: the provider's own, as discounted input, and the gateway's, as requests that were never made.
-- Nothing is guessed for models that never read from a cache. Savings are net of what cache writes cost more.
-- grain: one row per provider and model
-- reads: calls
-- group_by: feature, route, customer_id, team, org, user_id, key_id, developer, agent_name, agent_run_id, session_id, prompt_version, deployment, service_name, traffic_type, operation, service_tier
with

-- what a gateway's cache answered was not sent to the provider
counted as (
    select
        *,
        cost_basis is not distinct from 'cache_hit' as is_gateway_hit,
        case when cost_basis is distinct from 'cache_hit' then input_tokens end as sent_tokens,
        case when cost_basis is distinct from 'cache_hit' then cache_read_tokens end as read_tokens,
        case
            when
                cost_basis is distinct from 'cache_hit'
                and (cache_write_5m_tokens is not null or cache_write_1h_tokens is not null)
                then coalesce(cache_write_5m_tokens, 0) + coalesce(cache_write_1h_tokens, 0)
        end as written_tokens,
    from calls
)

select
    {% if by %}local_{{ by }} as {{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    provider, -- vendor that is paid
    model, -- model as priced
    {% for name in group_by %}{{ name }}, -- dimension asked for
    {% endfor %}
    count(*) as calls, -- billable requests to a model
    sum(sent_tokens)::bigint as input_tokens, -- sent to the provider, cached or not, tokens
    sum(read_tokens)::bigint as cache_read_tokens, -- part of it read from the provider's cache, tokens; empty where no call tells it
    sum(written_tokens)::bigint as cache_write_tokens, -- part of it written to the provider's cache, tokens; empty where no call tells it
    round(100 * sum(read_tokens) / nullif(sum(sent_tokens), 0), 2) as cache_hit_percent, -- of the input read from the provider's cache, percent
    sum(cache_savings_usd) as cache_savings_usd, -- what the same input without the provider's cache would cost more, USD; empty where no price tells it
    count(*) filter (is_gateway_hit) as gateway_hits, -- calls that the gateway's cache answered
    sum(avoided_cost_usd) as avoided_cost_usd, -- what these would have cost, USD; empty where there are none, or no price
    sum(cost_usd) as cost_usd, -- booked cost, USD; NULL when none is known
    count(*) filter (cost_usd is null) as unpriced_calls, -- calls of unknown cost, not in cost_usd
from counted
group by {% if by %}local_{{ by }}, {% endif %}{% for name in group_by %}{{ name }}, {% endfor %}provider, model
order by {% if by %}{{ by }}, {% endif %}cost_usd desc, provider, model{% for name in group_by %}, {{ name }}{% endfor %}
