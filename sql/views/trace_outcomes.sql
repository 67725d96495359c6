-- The latest word on each outcome, for every trace with calls that it is about.
-- An outcome is told by trace; or, from a trace without calls, by response or by session: a session's outcome
-- is about all its traces, and counts once (case_id). Calls that log records without a trace tell are their session's
-- (work_id).
-- grain: one row per (work, outcome)
-- reads: calls, work_outcomes
select
    work_id, -- the trace, or `session …` where log records without a trace tell the calls
    trace_id, -- trace with calls; NULL where there is none
    case_id, -- what is counted once: the work, or the session the outcome was told for
    outcome, -- which outcome
    succeeded, -- whether it was reached; NULL while pending
    value_usd, -- what it is worth, USD
    observed_at, -- when it was told, UTC
    number_in_trace, -- 1 for the work's first outcome
    outcomes_of_trace, -- outcomes of the work
    number_in_case, -- 1 for the case's first work
from work_outcomes
semi join calls
    on work_outcomes.work_id = calls.work_id
