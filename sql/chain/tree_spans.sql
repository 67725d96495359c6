-- Every span once, with its class and its parent's key; and every usage-telling log record, as a span below its own.
-- grain: one row per (trace_id, span_id), or log_id
-- reads: loaded_spans, repeated_spans, span_classes
with

standing as (
    select loaded_spans.*
    from loaded_spans
    anti join repeated_spans
        on loaded_spans.sid = repeated_spans.sid
)

select
    standing.*,
    parents.sid as parent_sid,
    case when standing.is_log and span_classes.class = 'unmarked' then 'model_call' else span_classes.class end as class,
    span_classes.is_evaluator_scope,
from standing
left join standing as parents
    on standing.trace_id = parents.trace_id
    and standing.parent_span_id = parents.span_id
    and standing.span_id is distinct from parents.span_id
left join span_classes
    on standing.scope_name is not distinct from span_classes.scope_name
    and standing.name is not distinct from span_classes.name
    and standing.operation is not distinct from span_classes.operation
