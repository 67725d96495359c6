-- One row per billable model request, attributed and priced. The fact table.
-- grain: one row per model request
-- reads: requests, owners, price_keys, price_rates, price_terms, pricing
with

keyed as (
    select
        requests.*,
        price_keys.price_key,
        price_keys.priced_provider,
        price_keys.priced_model,
        price_keys.price_source,
        coalesce(requests.input_tokens, 0) + coalesce(requests.output_tokens, 0) > 0 as has_usage,
        -- a billion tokens in one request is a broken counter, and would not fit the money's digits
        least(
            coalesce(requests.input_tokens, 0), coalesce(requests.output_tokens, 0),
            coalesce(requests.cache_read_tokens, 0), coalesce(requests.cache_write_5m_tokens, 0),
            coalesce(requests.cache_write_1h_tokens, 0), coalesce(requests.audio_input_tokens, 0),
            coalesce(requests.reasoning_tokens, 0), coalesce(requests.audio_output_tokens, 0)
        ) >= 0
        and greatest(
            requests.input_tokens, requests.output_tokens, requests.cache_read_tokens,
            requests.cache_write_5m_tokens, requests.cache_write_1h_tokens, requests.audio_input_tokens,
            requests.reasoning_tokens, requests.audio_output_tokens
        ) < 1000000000 as is_plausible,
    from requests
    left join price_keys
        on requests.provider is not distinct from price_keys.provider
        and requests.response_model is not distinct from price_keys.response_model
        and requests.gateway_model is not distinct from price_keys.gateway_model
        and requests.request_model is not distinct from price_keys.request_model
        and requests.service_tier is not distinct from price_keys.service_tier
        and requests.is_batch is not distinct from price_keys.is_batch
),

matched as (
    select
        keyed.call_sid,
        price_terms.layer,
        max(price_terms.rank) as rank,
    from keyed
    inner join owners
        on keyed.call_sid = owners.call_sid
    inner join price_terms
        on coalesce(keyed.priced_provider, '') glob price_terms.provider
        and coalesce(keyed.priced_model, '') glob price_terms.model
        and coalesce(owners.customer_id, '') glob price_terms.customer_id
        and coalesce(owners.key_id, '') glob price_terms.key_id
        and keyed.day >= price_terms.since
        and keyed.day < price_terms.until
    group by keyed.call_sid, price_terms.layer
),

layered as (
    select
        call_sid,
        'list' as layer,
        price_key,
        cast(1 as decimal(10, 6)) as factor,
    from keyed

    union all

    -- a percentage is of the list price; absolute terms have rates of their own
    select
        keyed.call_sid,
        matched.layer,
        coalesce(price_terms.price_key, keyed.price_key) as price_key,
        coalesce(price_terms.factor, 1) as factor,
    from keyed
    inner join matched
        on keyed.call_sid = matched.call_sid
    inner join price_terms
        on matched.rank = price_terms.rank
),

amounts as (
    select
        keyed.call_sid,
        layered.layer,
        layered.factor,
        cast(
            round(
                rates.per_request
                + rates.input * cast(coalesce(keyed.input_tokens, 0) as decimal(10, 0))
                + rates.cache_read * cast(coalesce(keyed.cache_read_tokens, 0) as decimal(10, 0))
                + rates.cache_write_5m * cast(coalesce(keyed.cache_write_5m_tokens, 0) as decimal(10, 0))
                + rates.cache_write_1h * cast(coalesce(keyed.cache_write_1h_tokens, 0) as decimal(10, 0))
                + rates.audio_input * cast(coalesce(keyed.audio_input_tokens, 0) as decimal(10, 0))
                + rates.output * cast(coalesce(keyed.output_tokens, 0) as decimal(10, 0))
                + rates.reasoning * cast(coalesce(keyed.reasoning_tokens, 0) as decimal(10, 0))
                + rates.audio_output * cast(coalesce(keyed.audio_output_tokens, 0) as decimal(10, 0)),
                9
            ) as decimal(18, 9)
        ) as cost_usd,
        cast(
            round(
                rates.output * cast(coalesce(keyed.output_tokens, 0) as decimal(10, 0))
                + rates.reasoning * cast(coalesce(keyed.reasoning_tokens, 0) as decimal(10, 0))
                + rates.audio_output * cast(coalesce(keyed.audio_output_tokens, 0) as decimal(10, 0)),
                9
            ) as decimal(18, 9)
        ) as output_usd,
        -- a cache rate is what a token costs beyond a fresh one: negative for reads, positive for most writes
        cast(
            round(
                - rates.cache_read * cast(coalesce(keyed.cache_read_tokens, 0) as decimal(10, 0))
                - rates.cache_write_5m * cast(coalesce(keyed.cache_write_5m_tokens, 0) as decimal(10, 0))
                - rates.cache_write_1h * cast(coalesce(keyed.cache_write_1h_tokens, 0) as decimal(10, 0)),
                9
            ) as decimal(18, 9)
        ) as saved_usd,
    from keyed
    inner join layered
        on keyed.call_sid = layered.call_sid
    inner join price_rates as rates
        on layered.price_key = rates.price_key
        and keyed.started_at >= rates.valid_from
        and keyed.started_at < rates.valid_to
        and extract('hour' from keyed.started_at) * 60 + extract('minute' from keyed.started_at) >= rates.minute_from
        and extract('hour' from keyed.started_at) * 60 + extract('minute' from keyed.started_at) < rates.minute_to
        and coalesce(keyed.input_tokens, 0) > rates.input_over
        and coalesce(keyed.input_tokens, 0) <= rates.input_upto
    where keyed.has_usage and keyed.is_plausible
),

priced as (
    select
        call_sid,
        max(cost_usd) filter (layer = 'list') as list_cost_usd,
        max(cast(round(cost_usd * factor, 9) as decimal(18, 9))) filter (layer = 'contract') as contract_cost_usd,
        max(cost_usd) filter (layer = 'override') as override_cost_usd,
        max(output_usd) filter (layer = 'list') as list_output_usd,
        max(cast(round(output_usd * factor, 9) as decimal(18, 9))) filter (layer = 'contract') as contract_output_usd,
        max(output_usd) filter (layer = 'override') as override_output_usd,
        max(saved_usd) filter (layer = 'list') as list_saved_usd,
        max(cast(round(saved_usd * factor, 9) as decimal(18, 9))) filter (layer = 'contract') as contract_saved_usd,
        max(saved_usd) filter (layer = 'override') as override_saved_usd,
    from amounts
    group by call_sid
),

costed as (
    select
        keyed.*,
        priced.list_cost_usd,
        priced.contract_cost_usd,
        priced.override_cost_usd,
        priced.list_output_usd,
        priced.contract_output_usd,
        priced.override_output_usd,
        priced.list_saved_usd,
        priced.contract_saved_usd,
        priced.override_saved_usd,
    from keyed
    left join priced
        on keyed.call_sid = priced.call_sid
),

booked as (
    select
        costed.*,
        case
            when costed.cache_hit then 'cache_hit'
            when not costed.has_usage and costed.reported_cost_usd is null and costed.status = 'ERROR' then 'failed'
            when costed.override_cost_usd is not null then 'override'
            when costed.contract_cost_usd is not null then 'contract'
            when costed.list_cost_usd is not null and pricing.prefer = 'list' then 'list'
            when
                costed.reported_cost_usd is not null
                and not (
                    coalesce(costed.cost_ignores_cache, false)
                    and costed.list_cost_usd is not null
                    and coalesce(costed.cache_read_tokens, 0)
                    + coalesce(costed.cache_write_5m_tokens, 0)
                    + coalesce(costed.cache_write_1h_tokens, 0) > 0
                )
                then 'reported'
            when costed.list_cost_usd is not null then 'list'
        end as cost_basis,
        pricing.price_book,
    from costed
    cross join pricing
)

select
    booked.day, -- UTC day on which the request started
    booked.trace_id, -- trace the request belongs to, 32 hex digits; NULL where a log record without a trace tells it
    booked.span_id, -- outermost span of the request, 16 hex digits; NULL where log records alone tell it
    booked.started_at, -- when the request started, UTC
    booked.ended_at, -- when the response was complete, UTC
    (epoch_us(booked.ended_at) - epoch_us(booked.started_at)) / 1000.0 as duration_ms, -- from start to end, ms
    booked.operation, -- as the instrumentation names it: chat, embeddings, …
    coalesce(booked.priced_provider, booked.provider) as provider, -- vendor that is paid
    coalesce(booked.priced_model, booked.response_model, booked.gateway_model, booked.request_model)
        as model, -- model as priced
    booked.request_model, -- model asked for
    booked.response_id, -- the provider's id of the response
    booked.status, -- OK, ERROR or UNSET
    booked.error_type, -- class or code of the error
    booked.service_tier, -- tier that served the request
    coalesce(booked.is_batch, false) as is_batch, -- through a batch API
    coalesce(booked.is_streaming, false) as is_streaming, -- streamed response
    booked.input_tokens, -- everything sent, cached or not, tokens; NULL when not told
    booked.output_tokens, -- everything generated, reasoning included, tokens; NULL when not told
    booked.cache_read_tokens, -- part of input read from cache, tokens
    booked.cache_write_5m_tokens, -- part of input written to the cache for 5 minutes, or for an unknown time, tokens
    booked.cache_write_1h_tokens, -- part of input written to the cache for 1 hour, tokens
    booked.audio_input_tokens, -- part of input that is audio, tokens
    booked.reasoning_tokens, -- part of output spent on reasoning, tokens
    booked.audio_output_tokens, -- part of output that is audio, tokens
    coalesce(booked.cache_write_5m_tokens, 0) > 0 and not booked.knows_cache_ttl
        as is_cache_ttl_assumed, -- cache writes came without a time to live; priced at 5 minutes
    booked.reported_cost_usd, -- as a gateway or SDK reports it, USD
    booked.list_cost_usd, -- by the price book at the call's time, USD
    booked.contract_cost_usd, -- by the user's contract: a percentage of the list price, or its own prices, USD
    case booked.cost_basis
        when 'cache_hit' then 0
        when 'failed' then 0
        when 'override' then booked.override_cost_usd
        when 'contract' then booked.contract_cost_usd
        when 'reported' then booked.reported_cost_usd
        when 'list' then booked.list_cost_usd
    end::decimal(18, 9) as cost_usd, -- the booked cost, USD; NULL when unknown
    case
        when booked.cache_hit
            then coalesce(
                booked.override_cost_usd, booked.contract_cost_usd, booked.list_cost_usd, booked.reported_cost_usd
            )
    end
        as avoided_cost_usd, -- what a gateway's cache hit would have cost, USD
    case booked.cost_basis
        when 'cache_hit' then 0
        when 'failed' then 0
        when 'override' then booked.override_output_usd
        when 'contract' then booked.contract_output_usd
        when 'reported'
            then round(booked.list_output_usd * (booked.reported_cost_usd / nullif(booked.list_cost_usd, 0)), 9)
        when 'list' then booked.list_output_usd
    end::decimal(18, 9)
        as output_cost_usd, -- part of cost_usd for what was generated, USD; NULL where no price tells the parts
    case booked.cost_basis
        when 'cache_hit' then 0
        when 'failed' then 0
        when 'override' then booked.override_saved_usd
        when 'contract' then booked.contract_saved_usd
        when 'reported'
            then round(booked.list_saved_usd * (booked.reported_cost_usd / nullif(booked.list_cost_usd, 0)), 9)
        when 'list' then booked.list_saved_usd
    end::decimal(18, 9)
        as cache_savings_usd, -- what the same input without the provider's cache would cost more, USD; below 0 where writes cost more than reads saved
    booked.cost_basis, -- override, contract, reported, list, cache_hit or failed; NULL when unpriced
    case
        when booked.cost_basis is not null then null
        when booked.is_estimated then 'usage_estimated_by_library'
        when not booked.has_usage then 'usage_missing'
        when not booked.is_plausible then 'usage_implausible'
        when coalesce(booked.response_model, booked.gateway_model, booked.request_model) is null then 'model_missing'
        when booked.price_source = 'own' then 'before_first_own_price'
        when booked.price_source = 'list' then 'not_priced_by_tokens'
        else 'model_not_in_price_book'
    end as unpriced_reason, -- why cost_usd is NULL
    booked.price_book, -- list and layers that priced it
    owners.user_id, -- person the work was done for
    owners.customer_id, -- customer or tenant
    owners.team, -- team that owns the work
    owners.org, -- organisation
    owners.key_id, -- virtual or API key
    owners.developer, -- developer whose tool called
    owners.feature, -- product feature
    owners.route, -- HTTP route or entry point
    owners.agent_name, -- agent at the top of the run
    owners.agent_run_id, -- the run: a given id, else the outermost agent span, else a coding agent's prompt or session
    owners.session_id, -- session or conversation
    owners.prompt_version, -- version of the prompt template
    owners.deployment, -- deployment environment
    owners.traffic_type, -- inference or eval
    owners.service_name, -- service.name of the resource
    owners.tags, -- free tags
    booked.span_ids, -- every span that describes the request, outermost first
    booked.log_id, -- the log record that tells the request where no span does, 32 hex digits; else NULL
from booked
inner join owners
    on booked.call_sid = owners.call_sid
order by booked.started_at, booked.trace_id, booked.span_id, booked.log_id
