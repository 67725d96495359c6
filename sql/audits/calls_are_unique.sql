-- Each model request is one call, never two.
-- grain: one row per call that is there more than once
-- reads: calls
-- next: look at one with: llmcost trace TRACE_ID; then derive its day again: llmcost reprice --since DAY --apply
select
    trace_id, -- trace of the calls
    span_id, -- outermost span of the calls
    log_id, -- log record that tells them, where no span does
    count(*) as calls, -- how often it is there
from calls
group by trace_id, span_id, log_id
having count(*) > 1
order by trace_id, span_id, log_id
