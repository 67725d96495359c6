-- What the same calls would cost on each other model that was used in the window, at list prices.
-- Every call is priced again by its own tokens, at its own time, tier and batch, as the price book knows the other model;
-- whether that model would have answered as well, or with as many tokens, is not judged: a difference is no saving yet.
-- Models that generate text are compared with such models only. The first row of a model is itself, at its list price.
-- Models to compare with are those of all calls in the window, whatever --where keeps.
-- grain: one row per model and other model
-- reads: calls, model_rates
-- group_by: feature, route, customer_id, team, org, user_id, key_id, developer, agent_name, agent_run_id, session_id, prompt_version, deployment, service_name, traffic_type, operation
with

-- a broken counter is no usage (calls.sql), and nothing is paid anywhere where no request was made
used as (
    select
        *,
        extract('hour' from started_at) * 60 + extract('minute' from started_at) as minute,
        coalesce(cost_basis in ('failed', 'cache_hit'), false) as is_free,
        coalesce(input_tokens, 0) + coalesce(output_tokens, 0) > 0
        and coalesce(unpriced_reason, '-') not in ('usage_estimated_by_library', 'usage_implausible')
        and least(
            coalesce(input_tokens, 0), coalesce(output_tokens, 0), coalesce(cache_read_tokens, 0),
            coalesce(cache_write_5m_tokens, 0), coalesce(cache_write_1h_tokens, 0), coalesce(audio_input_tokens, 0),
            coalesce(reasoning_tokens, 0), coalesce(audio_output_tokens, 0)
        ) >= 0
        and greatest(
            input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
            audio_input_tokens, reasoning_tokens, audio_output_tokens
        ) < 1000000000 as has_usage,
    from calls
),

own as (
    select
        provider,
        model,
        coalesce(bool_or(output_tokens > 0), false) as generates,
    from calls
    group by provider, model
),

others as (
    select distinct
        provider,
        model,
        generates,
    from model_rates
),

pairs as (
    select
        own.provider,
        own.model,
        others.provider as other_provider,
        others.model as other_model,
    from own
    inner join others
        on own.generates = others.generates

    union

    select
        provider,
        model,
        provider as other_provider,
        model as other_model,
    from own
),

repriced as (
    select
        {% if by %}used.local_{{ by }} as {{ by }},{% endif %}
        {% for name in group_by %}used.{{ name }},{% endfor %}
        pairs.*,
        pairs.provider is not distinct from pairs.other_provider
        and pairs.model is not distinct from pairs.other_model as is_itself,
        used.cost_usd,
        case
            when used.is_free then 0
            when used.has_usage
                then round(
                    rates.per_request
                    + rates.input * cast(coalesce(used.input_tokens, 0) as decimal(10, 0))
                    + rates.cache_read * cast(coalesce(used.cache_read_tokens, 0) as decimal(10, 0))
                    + rates.cache_write_5m * cast(coalesce(used.cache_write_5m_tokens, 0) as decimal(10, 0))
                    + rates.cache_write_1h * cast(coalesce(used.cache_write_1h_tokens, 0) as decimal(10, 0))
                    + rates.audio_input * cast(coalesce(used.audio_input_tokens, 0) as decimal(10, 0))
                    + rates.output * cast(coalesce(used.output_tokens, 0) as decimal(10, 0))
                    + rates.reasoning * cast(coalesce(used.reasoning_tokens, 0) as decimal(10, 0))
                    + rates.audio_output * cast(coalesce(used.audio_output_tokens, 0) as decimal(10, 0)),
                    9
                )
        end::decimal(18, 9) as other_cost_usd,
    from used
    inner join pairs
        on used.provider is not distinct from pairs.provider
        and used.model is not distinct from pairs.model
    left join model_rates as rates
        on pairs.other_provider is not distinct from rates.provider
        and pairs.other_model = rates.model
        and used.service_tier is not distinct from rates.service_tier
        and used.is_batch = rates.is_batch
        and used.started_at >= rates.valid_from
        and used.started_at < rates.valid_to
        and used.minute >= rates.minute_from
        and used.minute < rates.minute_to
        and coalesce(used.input_tokens, 0) > rates.input_over
        and coalesce(used.input_tokens, 0) <= rates.input_upto
)

select
    {% if by %}{{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    provider, -- vendor that is paid
    model, -- model that answered
    other_provider, -- vendor of the other model
    other_model, -- model whose prices are put in
    {% for name in group_by %}{{ name }}, -- dimension asked for
    {% endfor %}
    count(*) as calls, -- billable requests to the model that answered
    sum(cost_usd) as cost_usd, -- booked cost of them, USD; NULL when none is known
    sum(other_cost_usd) as other_cost_usd, -- what they would cost on the other model, USD; NULL when that is known of none
    count(*) filter (other_cost_usd is null) as unknown_calls, -- calls that the other model has no price for, not in other_cost_usd
    sum(cost_usd - other_cost_usd) as difference_usd, -- booked minus other, over the calls that have both; above 0 the other is cheaper, USD
    round(
        100 * sum(cost_usd - other_cost_usd) / nullif(sum(cost_usd) filter (other_cost_usd is not null), 0), 2
    ) as difference_percent, -- the same in the booked cost of these calls, percent
    count(*) filter (cost_usd is null) as unpriced_calls, -- calls of unknown cost, not in cost_usd
    case when bool_and(is_itself) then sum(cost_usd) else 0 end as ledger_cost_usd, -- this row's part of the ledger: all of it with the model itself, USD
from repriced
group by all
order by
    {% if by %}{{ by }}, {% endif %}cost_usd desc, provider, model{% for name in group_by %}, {{ name }}{% endfor %},
    bool_and(is_itself) desc, other_cost_usd, other_provider, other_model
