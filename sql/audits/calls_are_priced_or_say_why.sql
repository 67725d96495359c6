-- Every call has a price and its basis, or the reason why it has none.
-- grain: one row per call that has neither, or both
-- reads: calls
-- next: see what has no price with: llmcost prices unmatched
select
    trace_id, -- trace of the call
    span_id, -- its outermost span
    model, -- model as priced
    cost_usd, -- booked cost, USD
    cost_basis, -- what it was booked by
    unpriced_reason, -- why it was not
from calls
where
    (cost_usd is null) <> (unpriced_reason is not null)
    or (cost_usd is null) <> (cost_basis is null)
order by trace_id, span_id
