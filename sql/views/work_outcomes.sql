-- The latest word on each outcome, by the work it is about: that of rollups, which join it to calls by work_id. A trace
-- is among it whether it has calls or not (trace_outcomes holds those that do), for it costs much to know.
-- An outcome is told by trace; or, from a trace without calls, by response or by session: a session's outcome
-- is about all its traces, and counts once (case_id). Calls that log records without a trace tell are their session's
-- (work_id).
-- grain: one row per (work, outcome)
-- reads: calls, outcomes
with

by_trace as (
    select
        outcomes.trace_id as work_id,
        outcomes.trace_id,
        outcomes.trace_id as case_id,
        outcomes.outcome,
        outcomes.succeeded,
        outcomes.value_usd,
        outcomes.observed_at,
        outcomes.received_at,
    from outcomes
    where outcomes.trace_id is not null
),

elsewhere as (
    select outcomes.*
    from outcomes
    anti join calls
        on outcomes.trace_id = calls.trace_id
    where outcomes.response_id is not null or outcomes.session_id is not null
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
    from calls
    inner join elsewhere
        on calls.response_id = elsewhere.response_id
),

sessions as (
    select distinct
        work_id,
        trace_id,
        session_id,
    from calls
    where session_id in (select session_id from elsewhere where response_id is null)
),

by_session as (
    select
        sessions.work_id,
        sessions.trace_id,
        'session ' || elsewhere.session_id as case_id,
        elsewhere.outcome,
        elsewhere.succeeded,
        elsewhere.value_usd,
        elsewhere.observed_at,
        elsewhere.received_at,
    from elsewhere
    inner join sessions
        on elsewhere.session_id = sessions.session_id
    where elsewhere.response_id is null
),

told as (
    from by_trace
    union all
    from by_response
    union all
    from by_session
),

-- what needs an order: work that was told more than once, or for its session; as a rule there is little of it
crowded as (
    select work_id
    from told
    group by work_id
    having count(*) > 1 or bool_or(case_id <> work_id)
),

latest as (
    select told.*
    from told
    semi join crowded
        on told.work_id = crowded.work_id
    qualify
        row_number() over (
            partition by told.work_id, told.outcome
            order by
                told.observed_at desc, told.received_at desc, told.succeeded desc nulls last,
                told.value_usd desc nulls last
        ) = 1
),

counted as (
    select
        *,
        row_number() over (partition by work_id order by outcome) as number_in_trace,
        count(*) over (partition by work_id) as outcomes_of_trace,
        row_number() over (partition by case_id, outcome order by work_id) as number_in_case,
    from latest

    union all by name

    select
        told.*,
        1 as number_in_trace,
        1 as outcomes_of_trace,
        1 as number_in_case,
    from told
    anti join crowded
        on told.work_id = crowded.work_id
)

select
    work_id, -- the trace, or `session …` where log records without a trace tell the calls
    trace_id, -- the trace; NULL where there is none
    case_id, -- what is counted once: the work, or the session the outcome was told for
    outcome, -- which outcome
    succeeded, -- whether it was reached; NULL while pending
    value_usd, -- what it is worth, USD
    observed_at, -- when it was told, UTC
    number_in_trace, -- 1 for the work's first outcome
    outcomes_of_trace, -- outcomes of the work
    number_in_case, -- 1 for the case's first work
from counted
