-- The latest word on each outcome, for every trace with calls that it is about.
-- An outcome is told by trace; or, from a trace without calls, by response or by session: a session's outcome
-- is about all its traces, and counts once (case_id).
-- grain: one row per (trace, outcome)
-- reads: calls, outcomes
with

traces as (
    select distinct
        trace_id,
        session_id,
    from calls
),

by_trace as (
    select
        traces.trace_id,
        traces.trace_id as case_id,
        outcomes.outcome,
        outcomes.succeeded,
        outcomes.value_usd,
        outcomes.observed_at,
        outcomes.received_at,
    from outcomes
    inner join (select distinct trace_id from traces) as traces
        on outcomes.trace_id = traces.trace_id
),

elsewhere as (
    select outcomes.*
    from outcomes
    anti join traces
        on outcomes.trace_id = traces.trace_id
),

by_response as (
    select
        calls.trace_id,
        calls.trace_id as case_id,
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
        traces.trace_id,
        'session ' || elsewhere.session_id as case_id,
        elsewhere.outcome,
        elsewhere.succeeded,
        elsewhere.value_usd,
        elsewhere.observed_at,
        elsewhere.received_at,
    from elsewhere
    inner join traces
        on elsewhere.session_id = traces.session_id
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
            partition by trace_id, outcome
            order by observed_at desc, received_at desc, succeeded desc nulls last, value_usd desc nulls last
        ) = 1
)

select
    trace_id, -- trace with calls
    case_id, -- what is counted once: the trace, or the session the outcome was told for
    outcome, -- which outcome
    succeeded, -- whether it was reached; NULL while pending
    value_usd, -- what it is worth, USD
    observed_at, -- when it was told, UTC
    row_number() over (partition by trace_id order by outcome) as number_in_trace, -- 1 for the trace's first outcome
    count(*) over (partition by trace_id) as outcomes_of_trace, -- outcomes of the trace
    row_number() over (partition by case_id, outcome order by trace_id) as number_in_case, -- 1 for the case's first trace
from latest
