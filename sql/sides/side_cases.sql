-- The cases of both sides that one outcome was told of: a request, or all requests of the session it was told for.
-- The outcome is bound.
-- grain: one row per (side, case)
-- reads: side_requests, trace_outcomes
select
    side_requests.side, -- baseline or candidate
    trace_outcomes.case_id, -- what is counted once: the request, or the session
    bool_or(trace_outcomes.succeeded) as succeeded, -- whether it was reached
    case when count(*) = count(side_requests.cost_usd) then sum(side_requests.cost_usd) end
        as cost_usd, -- booked cost of its requests without judges, USD; NULL where a call has no price
from side_requests
inner join trace_outcomes
    on side_requests.work_id = trace_outcomes.work_id
where trace_outcomes.outcome = $outcome and trace_outcomes.succeeded is not null
group by side_requests.side, trace_outcomes.case_id
