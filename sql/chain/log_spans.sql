-- Model-call spans that tell no usage, and the log records that tell of the same request: by the response's id, or
-- because the span's own library wrote the record inside it. Where the span holds an estimate, so does the record: the
-- span stands and its usage is unknown. Otherwise the record's usage is the span's.
-- grain: one row per (record, span)
-- reads: model_spans
with

records as (
    select *
    from model_spans
    where is_log
),

bare as (
    select *
    from model_spans
    where class = 'model_call' and not is_log and not has_usage and coalesce(reported_cost_usd, 0) <= 0
)

select
    records.sid,
    bare.sid as span_sid,
    bare.is_estimated,
    'same_response_id' as reason,
from records
inner join bare
    on records.response_id = bare.response_id
where
    records.trace_id = bare.trace_id
    or (
        records.started_at <= bare.ended_at + interval 100 milliseconds
        and bare.started_at <= records.ended_at + interval 100 milliseconds
    )

union

select
    records.sid,
    bare.sid as span_sid,
    bare.is_estimated,
    'log_of_span' as reason,
from records
inner join bare
    on records.parent_sid = bare.sid and records.scope_name = bare.scope_name
where not coalesce(records.response_id <> bare.response_id, false)
