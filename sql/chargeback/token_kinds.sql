-- What each charged call used of each kind of token, and what one token of the kind costs by the list.
-- grain: one row per (call, kind) that was used; request is one where the list has a price for it
-- reads: charged_calls, model_rates
with

kinds as (
    select *
    from (
        values
        (1, 'request', false),
        (2, 'input', false),
        (3, 'cache_read', false),
        (4, 'cache_write_5m', false),
        (5, 'cache_write_1h', false),
        (6, 'audio_input', false),
        (7, 'output', true),
        (8, 'reasoning', true),
        (9, 'audio_output', true)
    ) as listed (place, kind, is_output)
),

rated as (
    select
        charged_calls.*,
        rates.per_request as request_rate,
        rates.input as input_rate,
        rates.input + rates.cache_read as cache_read_rate,
        rates.input + rates.cache_write_5m as cache_write_5m_rate,
        rates.input + rates.cache_write_1h as cache_write_1h_rate,
        rates.input + rates.audio_input as audio_input_rate,
        rates.output as output_rate,
        rates.output + rates.reasoning as reasoning_rate,
        rates.output + rates.audio_output as audio_output_rate,
        greatest(rates.input_over, 0) as input_over,
        coalesce(
            charged_calls.list_cost_usd = round(
                rates.per_request
                + rates.input * cast(charged_calls.sent_quantity as decimal(10, 0))
                + rates.cache_read * cast(charged_calls.cache_read_quantity as decimal(10, 0))
                + rates.cache_write_5m * cast(charged_calls.cache_write_5m_quantity as decimal(10, 0))
                + rates.cache_write_1h * cast(charged_calls.cache_write_1h_quantity as decimal(10, 0))
                + rates.audio_input * cast(charged_calls.audio_input_quantity as decimal(10, 0))
                + rates.output * cast(charged_calls.generated_quantity as decimal(10, 0))
                + rates.reasoning * cast(charged_calls.reasoning_quantity as decimal(10, 0))
                + rates.audio_output * cast(charged_calls.audio_output_quantity as decimal(10, 0)),
                9
            ),
            false
        ) as is_listed,
    from charged_calls
    left join model_rates as rates
        on charged_calls.provider is not distinct from rates.provider
        and charged_calls.model = rates.model
        and charged_calls.service_tier is not distinct from rates.service_tier
        and charged_calls.is_batch = rates.is_batch
        and charged_calls.started_at >= rates.valid_from
        and charged_calls.started_at < rates.valid_to
        and extract('hour' from charged_calls.started_at) * 60 + extract('minute' from charged_calls.started_at)
        >= rates.minute_from
        and extract('hour' from charged_calls.started_at) * 60 + extract('minute' from charged_calls.started_at)
        < rates.minute_to
        and charged_calls.sent_quantity > rates.input_over
        and charged_calls.sent_quantity <= rates.input_upto
),

used as (
    select
        rated.*,
        kinds.place,
        kinds.kind,
        kinds.is_output,
        case kinds.kind
            when 'request' then 1
            when 'input' then rated.input_quantity
            when 'cache_read' then rated.cache_read_quantity
            when 'cache_write_5m' then rated.cache_write_5m_quantity
            when 'cache_write_1h' then rated.cache_write_1h_quantity
            when 'audio_input' then rated.audio_input_quantity
            when 'output' then rated.output_quantity
            when 'reasoning' then rated.reasoning_quantity
            when 'audio_output' then rated.audio_output_quantity
        end as quantity,
        case kinds.kind
            when 'request' then rated.request_rate
            when 'input' then rated.input_rate
            when 'cache_read' then rated.cache_read_rate
            when 'cache_write_5m' then rated.cache_write_5m_rate
            when 'cache_write_1h' then rated.cache_write_1h_rate
            when 'audio_input' then rated.audio_input_rate
            when 'output' then rated.output_rate
            when 'reasoning' then rated.reasoning_rate
            when 'audio_output' then rated.audio_output_rate
        end as rate,
    from rated
    cross join kinds
    where
        case kinds.kind
            when 'request' then rated.request_rate > 0
            when 'input' then rated.input_quantity > 0
            when 'cache_read' then rated.cache_read_quantity > 0
            when 'cache_write_5m' then rated.cache_write_5m_quantity > 0
            when 'cache_write_1h' then rated.cache_write_1h_quantity > 0
            when 'audio_input' then rated.audio_input_quantity > 0
            when 'output' then rated.output_quantity > 0
            when 'reasoning' then rated.reasoning_quantity > 0
            when 'audio_output' then rated.audio_output_quantity > 0
        end
)

select
    call, -- number of the call
    place, -- place of the kind among the kinds
    kind, -- request (what a call costs beside its tokens), input, cache_read, …
    is_output, -- whether the kind was generated
    quantity, -- used of it, tokens; of a request 1
    rate, -- list price of one, USD; NULL where the book has none
    input_over, -- the rate holds for calls that send more than this, tokens
    is_listed, -- whether the rates of the call are those that its list cost was booked under
    -- in pico-dollars, as a whole number: so that parts of a cost are cut exactly
    coalesce(
        cast(
            cast(round(rate * cast(quantity as decimal(10, 0)), 12) as decimal(25, 12))
            * cast(1000000000000 as decimal(13, 0)) as hugeint
        ), 0
    ) as weight, -- list cost of it, pico-dollars; 0 where unknown
from used
