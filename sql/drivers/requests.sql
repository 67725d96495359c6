-- Every request of the two windows, and whether it counts as a success of one outcome.
-- A request is a work with inference calls of known cost. A case told for a session counts once in each window.
-- grain: one row per (side, work)
-- reads: work_cells, told_outcomes
with

served as (
    select
        side,
        work_id,
        max(trace_id) as trace_id,
    from work_cells
    where not is_eval and calls > 0
    group by side, work_id
),

judged as (
    select
        served.*,
        told_outcomes.case_id,
        told_outcomes.succeeded,
    from served
    left join told_outcomes
        on served.work_id = told_outcomes.work_id
        and told_outcomes.outcome = $outcome
)

select
    side, -- before or after: the window
    work_id, -- the request
    trace_id, -- its trace, 32 hex digits
    succeeded, -- whether it reached the outcome; NULL while nobody said
    coalesce(succeeded, false)
    and row_number() over (partition by side, case_id, succeeded order by work_id) = 1
        as is_success, -- whether it counts: the first request of a case that reached it
from judged
