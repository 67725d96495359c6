-- Spans and log records that carry usage or cost, or stand around a request, and were not billed: why, and what stands for them.
-- grain: one row per unbilled span or log record
-- reads: model_spans, members, pairs, aggregate_candidates, wrappers, log_spans, repeated_spans, loaded_spans, usage_logs
with

primaries as (
    select
        members.call_sid,
        arg_min(model_spans.span_id, members.outer_rank) as span_id,
        arg_min(model_spans.trace_id, members.outer_rank) as trace_id,
        case when bool_and(model_spans.is_log) then arg_min(model_spans.log_id, members.outer_rank) end as log_id,
    from members
    inner join model_spans
        on members.sid = model_spans.sid
    group by members.call_sid
),

twins as (
    select
        members.sid,
        coalesce(min(pairs.reason), 'same_request') as reason,
        any_value(members.call_sid) as call_sid,
    from members
    left join pairs
        on members.sid = pairs.sid or members.sid = pairs.other_sid
    where members.outer_rank > 1
    group by members.sid
),

wrapped as (
    select
        wrappers.sid,
        members.call_sid,
    from wrappers
    left join members
        on wrappers.inner_sid = members.sid
),

reasons as (
    select sid, reason, call_sid,
    from twins

    union all

    select sid, 'sum_of_calls_below' as reason, first_group_sid as call_sid,
    from aggregate_candidates

    union all

    select sid, 'wrapper_without_usage' as reason, call_sid,
    from wrapped

    union all

    -- the span holds the library's own estimate, and so does its record
    select log_spans.sid, min(log_spans.reason) as reason, min(members.call_sid) as call_sid,
    from log_spans
    left join members
        on log_spans.span_sid = members.sid
    where log_spans.is_estimated
    group by log_spans.sid

    union all

    select model_spans.sid, 'aggregate_' || model_spans.class as reason, null as call_sid,
    from model_spans
    anti join candidates
        on model_spans.sid = candidates.sid
    where model_spans.class <> 'model_call' and (model_spans.has_usage or model_spans.reported_cost_usd > 0)
)

select
    model_spans.day, -- UTC day of the span's start
    model_spans.trace_id, -- trace, 32 hex digits
    model_spans.span_id, -- the unbilled span, 16 hex digits; NULL for a log record
    model_spans.log_id, -- the unbilled log record, 32 hex digits; NULL for a span
    model_spans.name, -- name of the span or event
    model_spans.scope_name, -- instrumentation scope
    model_spans.started_at, -- start, UTC
    reasons.reason, -- why it was not billed
    primaries.trace_id as call_trace_id, -- trace of the call that stands for it
    primaries.span_id as call_span_id, -- span_id of the call that stands for it; NULL for an aggregate
    primaries.log_id as call_log_id, -- log_id of that call, where no span tells it
    model_spans.input_tokens, -- input it reports, tokens
    model_spans.output_tokens, -- output it reports, tokens
    model_spans.reported_usd as reported_cost_usd, -- cost it reports, USD
from reasons
inner join model_spans
    on reasons.sid = model_spans.sid
left join primaries
    on reasons.call_sid = primaries.call_sid

union all by name

select
    loaded_spans.day,
    loaded_spans.trace_id,
    loaded_spans.span_id,
    loaded_spans.name,
    loaded_spans.scope_name,
    loaded_spans.started_at,
    'sent_again' as reason,
    loaded_spans.trace_id as call_trace_id,
    loaded_spans.span_id as call_span_id,
from repeated_spans
inner join loaded_spans
    on repeated_spans.sid = loaded_spans.sid
where loaded_spans.usage_size > 0 or loaded_spans.has_cost

union all by name

select
    day,
    trace_id,
    log_id,
    name,
    scope_name,
    started_at,
    'sent_again' as reason,
    trace_id as call_trace_id,
    log_id as call_log_id,
from usage_logs
where copy > 1
order by trace_id, span_id, log_id, reason
