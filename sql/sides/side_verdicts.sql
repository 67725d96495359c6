-- The requests of both sides that one evaluator judged. A request passes where all that it was given passed.
-- The evaluator is bound.
-- grain: one row per work
-- reads: side_requests, trace_evals
with

judged as (
    select
        work_id,
        bool_and(passed) as has_passed,
    from trace_evals
    where evaluation_name = $evaluator and passed is not null
    group by work_id
)

select
    side_requests.side, -- baseline or candidate
    side_requests.work_id as case_id, -- the request
    judged.has_passed as succeeded, -- whether all passed
    side_requests.cost_with_judges_usd as cost_usd, -- booked cost, judges included, USD; NULL where a call has no price
from side_requests
inner join judged
    on side_requests.work_id = judged.work_id
