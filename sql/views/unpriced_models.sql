-- Models whose calls have usage and no price, the most tokens first.
-- grain: one row per (provider, model, reason)
-- reads: calls
select
    provider, -- vendor as spans name it
    model, -- model as spans name it; NULL where no span does
    unpriced_reason as reason, -- why there is no price
    count(*) as calls, -- calls of unknown cost
    sum(input_tokens)::bigint as input_tokens, -- sent in them, tokens
    sum(output_tokens)::bigint as output_tokens, -- generated in them, tokens
    min(started_at) as first_seen_at, -- the first of them, UTC
    max(started_at) as last_seen_at, -- the last of them, UTC
from calls
where unpriced_reason in ('model_not_in_price_book', 'before_first_own_price', 'not_priced_by_tokens', 'model_missing')
group by provider, model, unpriced_reason
order by coalesce(sum(input_tokens), 0) + coalesce(sum(output_tokens), 0) desc, provider, model, reason
