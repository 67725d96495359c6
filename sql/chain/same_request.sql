-- Pairs of candidates that describe one and the same model request, by its id or by nesting.
-- Conflicting ids are two ids of one family (chatcmpl-…, msg_…): libraries that make up their own id
-- use a family of their own, and do not contradict the provider's.
-- A log record that the library of a request's span writes inside that span is about that request, whatever it counts.
-- grain: one row per (span, other span, reason)
-- reads: candidates, ancestry
with

shared_ids as (
    select
        response_id,
        sid,
        trace_id,
        started_at,
        lag(sid) over earlier as earlier_sid,
        lag(trace_id) over earlier as earlier_trace_id,
        max(ended_at) over (earlier rows between unbounded preceding and 1 preceding) as earlier_ended_at,
        count(*) over (partition by response_id) as spans,
    from candidates
    where response_id is not null
    window earlier as (partition by response_id order by started_at, trace_id, span_id, sid)
),

-- Two spans of one id are one request if they share the trace or the time; 100 ms allow for the clocks
-- of two hosts. An id on more spans than any stack of wrappers has identifies nothing.
by_id as (
    select
        earlier_sid as sid,
        sid as other_sid,
        'same_response_id' as reason,
    from shared_ids
    where
        spans between 2 and 64
        and (trace_id = earlier_trace_id or started_at <= earlier_ended_at + interval 100 milliseconds)
),

nested as (
    select
        outers.sid,
        inners.sid as other_sid,
        'nested_same_usage' as reason,
    from ancestry
    inner join candidates as inners
        on ancestry.sid = inners.sid
    inner join candidates as outers
        on ancestry.ancestor_sid = outers.sid
    where
        not ancestry.crosses_work
        and (
            (outers.input_size = inners.input_size and outers.output_size = inners.output_size)
            or (
                outers.scope_name is distinct from inners.scope_name
                and (
                    (outers.input_size = inners.input_size and inners.input_size > 0)
                    or (outers.output_size = inners.output_size and inners.output_size > 0)
                )
            )
        )
        and not (
            outers.response_id is not null
            and inners.response_id is not null
            and outers.response_id <> inners.response_id
            and outers.response_id_family = inners.response_id_family
        )
    -- an outer span stands for one inner span of a scope: the likest, then the nearest, then the first
    qualify
        row_number() over (
            partition by outers.sid, inners.scope_name
            order by
                (outers.input_size = inners.input_size)::int + (outers.output_size = inners.output_size)::int desc,
                ancestry.distance,
                inners.started_at,
                inners.span_id
        ) = 1
),

recorded as (
    select
        spans.sid,
        records.sid as other_sid,
        'log_of_span' as reason,
    from candidates as records
    inner join candidates as spans
        on records.parent_sid = spans.sid and records.scope_name = spans.scope_name
    where
        records.is_log
        and not (
            records.response_id is not null
            and spans.response_id is not null
            and records.response_id <> spans.response_id
            and records.response_id_family = spans.response_id_family
        )
)

from by_id
union all
from nested
union all
from recorded
