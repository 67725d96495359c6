-- A span that was billed is not among the unbilled ones, unless it was sent again.
-- grain: one row per span that is both
-- reads: calls, unbilled_spans
-- next: look at one with: llmcost trace TRACE_ID
select
    calls.trace_id, -- trace of the span
    calls.span_id, -- the span
    unbilled_spans.reason, -- why it is said to be unbilled
    calls.cost_usd, -- what was booked for it, USD
from calls
inner join unbilled_spans
    on calls.trace_id = unbilled_spans.trace_id
    and calls.span_id = unbilled_spans.span_id
where unbilled_spans.reason <> 'sent_again'
order by calls.trace_id, calls.span_id
