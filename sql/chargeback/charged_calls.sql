-- Calls that cost money of a known amount, numbered, with their tokens by kind: a token is of one kind only.
-- What made no request (a gateway's cache hit, a failed request) and what has no known price is not among them.
-- grain: one row per charged model request
-- reads: calls
with

counted as (
    select
        *,
        row_number() over () as call,
        coalesce(input_tokens, 0) as sent,
        coalesce(output_tokens, 0) as generated,
        coalesce(cache_read_tokens, 0) as cache_read,
        coalesce(cache_write_5m_tokens, 0) as cache_write_5m,
        coalesce(cache_write_1h_tokens, 0) as cache_write_1h,
        coalesce(audio_input_tokens, 0) as audio_input,
        coalesce(reasoning_tokens, 0) as reasoning,
        coalesce(audio_output_tokens, 0) as audio_output,
    from calls
    where cost_usd is not null and cost_basis not in ('cache_hit', 'failed')
),

judged as (
    select
        *,
        -- as in calls: another count is a broken counter, and prices nothing
        least(
            sent, generated, cache_read, cache_write_5m, cache_write_1h, audio_input, reasoning, audio_output
        ) >= 0
        and greatest(
            sent, generated, cache_read, cache_write_5m, cache_write_1h, audio_input, reasoning, audio_output
        ) < 1000000000 as is_plausible,
    from counted
)

select
    * exclude (
        sent, generated, cache_read, cache_write_5m, cache_write_1h, audio_input, reasoning, audio_output, is_plausible
    ),
    case when is_plausible then sent else 0 end as sent_quantity, -- everything sent, tokens; 0 where no count can be
    case when is_plausible then generated else 0 end as generated_quantity, -- everything generated, tokens
    case when is_plausible then sent - cache_read - cache_write_5m - cache_write_1h - audio_input else 0 end
        as input_quantity, -- text sent and not cached, tokens; below 0 where the parts do not fit their total
    case when is_plausible then cache_read else 0 end as cache_read_quantity, -- read from the cache, tokens
    case when is_plausible then cache_write_5m else 0 end
        as cache_write_5m_quantity, -- written to it for 5 minutes, tokens
    case when is_plausible then cache_write_1h else 0 end
        as cache_write_1h_quantity, -- written to it for 1 hour, tokens
    case when is_plausible then audio_input else 0 end as audio_input_quantity, -- audio sent, tokens
    case when is_plausible then generated - reasoning - audio_output else 0 end
        as output_quantity, -- text generated, tokens; below 0 where the parts do not fit their total
    case when is_plausible then reasoning else 0 end as reasoning_quantity, -- spent on reasoning, tokens
    case when is_plausible then audio_output else 0 end as audio_output_quantity, -- audio generated, tokens
    cast(cast(cost_usd as decimal(28, 9)) * cast(1000000000 as decimal(10, 0)) as hugeint)
        as cost_nano, -- booked cost, nano-dollars
    cast(
        cast(least(greatest(output_cost_usd, 0), cost_usd) as decimal(28, 9)) * cast(1000000000 as decimal(10, 0))
        as hugeint
    ) as output_nano, -- part of it for what was generated, nano-dollars
    output_cost_usd is not null as is_divided, -- whether a price tells the parts of the cost
    cast(cast(coalesce(list_cost_usd, cost_usd) as decimal(28, 9)) * cast(1000000000 as decimal(10, 0)) as hugeint)
        as list_nano, -- by the price book, nano-dollars; as booked where the book has no price
from judged
