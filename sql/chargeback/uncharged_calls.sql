-- Calls that no charge can say: those of unknown cost, and those that made no request and so cost nothing.
-- grain: one row per (provider, model, reason)
-- reads: calls
select
    provider, -- vendor that is paid
    model, -- model as priced
    coalesce(unpriced_reason, cost_basis) as reason, -- why the cost is unknown, or cache_hit or failed where it is 0
    cost_usd is null as is_unpriced, -- whether the cost is unknown
    count(*) as calls, -- requests to a model
    coalesce(sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)), 0)::bigint as tokens, -- of these calls, tokens
from calls
where cost_usd is null or cost_basis in ('cache_hit', 'failed')
group by all
order by is_unpriced desc, tokens desc, calls desc, provider, model, reason
