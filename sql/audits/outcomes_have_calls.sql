-- Every outcome that was told is about work with calls.
-- grain: one row per outcome without any
-- reads: outcomes, calls_around
-- next: check that outcomes are told with the trace id (or session, or response id) of the work, and that its spans arrive
select
    outcomes.observed_at, -- when it was told, UTC
    outcomes.outcome, -- which outcome
    outcomes.trace_id, -- trace it is told for
    outcomes.session_id, -- session it is told for
    outcomes.response_id, -- response it is told for
    outcomes.carrier, -- span, span_event, log or file
from outcomes
where
    outcomes.observed_at >= getvariable('since')
    and outcomes.observed_at < getvariable('until')
    and not exists (
        select 1
        from calls_around
        where calls_around.trace_id = outcomes.trace_id
    )
    and not exists (
        select 1
        from calls_around
        where calls_around.response_id = outcomes.response_id
    )
    and not (
        outcomes.response_id is null
        and exists (
            select 1
            from calls_around
            where calls_around.session_id = outcomes.session_id
        )
    )
order by outcomes.observed_at, outcomes.trace_id, outcomes.outcome
