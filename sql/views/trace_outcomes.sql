-- The latest word on each outcome, for every trace with calls that it is about.
-- An outcome is told by trace; or, from a trace without calls, by response or by session: a session's outcome
-- is about all its traces, and counts once (case_id). Calls that log records without a trace tell are their session's
-- (work_id).
-- grain: one row per (work, outcome)
-- reads: calls, outcomes
with

works as (
    select distinct
        work_id,
        trace_id,
        session_id,
    from calls
),

by_trace as (
    select
        works.work_id,
        works.trace_id,
        works.work_id as case_id,
        outcomes.outcome,
        outcomes.succeeded,
        outcomes.value_usd,
        outcomes.observed_at,
        outcomes.received_at,
    from outcomes
    inner join (select distinct work_id, trace_id from works) as works
        on outcomes.trace_id = works.trace_id
),

elsewhere as (
    select outcomes.*
    from outcomes
    anti join works
        on outcomes.trace_id = works.trace_id
),

by_response as (
    select
        calls.work_id,
        calls.trace_id,
        calls.work_id as case_id,
        elsewhere.outcome,
        elsewhere.succeeded,
        elsewhere.value_usd,
        elsewhere.observed_at,
        elsewhere.received_at,
    from elsewhere
    inner join calls
        on elsewhere.response_id = calls.response_id
),

by_session as (
    select
        works.work_id,
        works.trace_id,
        'session ' || elsewhere.session_id as case_id,
        elsewhere.outcome,
        elsewhere.succeeded,
        elsewhere.value_usd,
        elsewhere.observed_at,
        elsewhere.received_at,
    from elsewhere
    inner join works
        on elsewhere.session_id = works.session_id
    where elsewhere.response_id is null
),

told as (
    from by_trace
    union all
    from by_response
    union all
    from by_session
),

latest as (
    select *
    from told
    qualify
        row_number() over (
            partition by work_id, outcome
            order by observed_at desc, received_at desc, succeeded desc nulls last, value_usd desc nulls last
        ) = 1
)

select
    work_id, -- the trace, or `session …` where log records without a trace tell the calls
    trace_id, -- trace with calls; NULL where there is none
    case_id, -- what is counted once: the work, or the session the outcome was told for
    outcome, -- which outcome
    succeeded, -- whether it was reached; NULL while pending
    value_usd, -- what it is worth, USD
    observed_at, -- when it was told, UTC
    row_number() over (partition by work_id order by outcome) as number_in_trace, -- 1 for the work's first outcome
    count(*) over (partition by work_id) as outcomes_of_trace, -- outcomes of the work
    row_number() over (partition by case_id, outcome order by work_id) as number_in_case, -- 1 for the case's first work
from latest
