-- One row per billable model request: the rows of the mart, with the local time and the work it was made for.
-- Days and hours are in the session's time zone (variable tz), UTC where none is set.
-- grain: one row per model request
-- reads: call_rows
select
    *,
    case
        when coalesce(getvariable('tz'), 'UTC') = 'UTC' then day
        else cast(timezone(getvariable('tz'), started_at) as date)
    end as local_day, -- day on which the request started, in the session's time zone
    strftime(timezone(coalesce(getvariable('tz'), 'UTC'), started_at), '%Y-%m-%dT%H')
        as local_hour, -- hour in which it started, such as 2026-11-20T14, in the session's time zone
    -- where the files say that all have traces, the other ids need not be read
    case
        when getvariable('all_have_traces') then trace_id
        else coalesce(trace_id, 'session ' || session_id, 'log ' || log_id)
    end
        as work_id, -- what it was made for: the trace; the session, or itself, where a log record without a trace tells it
from call_rows
