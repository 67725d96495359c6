-- One row per trace with calls: how long, how much, whose.
-- grain: one row per trace_id, on the day its first span started
-- reads: calls, tree_spans
with

shapes as (
    select
        trace_id,
        min(day) as day,
        min(started_at) as started_at,
        max(ended_at) as ended_at,
        count(*) filter (not is_log) as spans,
        arg_min(name, started_at) filter (parent_sid is null and not is_log) as root_name,
        bool_or(status = 'ERROR' and parent_sid is null) as has_failed,
    from tree_spans
    group by trace_id
)

select
    shapes.day, -- UTC day of the first span
    shapes.trace_id, -- trace, 32 hex digits
    shapes.started_at, -- start of the first span, UTC
    shapes.ended_at, -- end of the last span, UTC
    (epoch_us(shapes.ended_at) - epoch_us(shapes.started_at)) / 1000.0 as duration_ms, -- first start to last end, ms
    shapes.root_name, -- name of the root span
    any_value(calls.service_name) as service_name, -- service.name of the resource
    any_value(shapes.spans) as spans, -- spans in the trace; 0 where only log records tell of it
    count(*) as calls, -- billable requests
    count(*) filter (calls.status = 'ERROR') as failed_calls, -- requests that failed
    count(*) filter (calls.cost_usd is null) as unpriced_calls, -- requests of unknown cost
    sum(calls.input_tokens) as input_tokens, -- everything sent, tokens
    sum(calls.output_tokens) as output_tokens, -- everything generated, tokens
    sum(calls.cost_usd) as cost_usd, -- booked cost of the priced calls, USD; NULL when none is priced
    coalesce(any_value(shapes.has_failed), false) as has_failed, -- the root span reports an error
    arg_min(calls.user_id, calls.started_at) as user_id, -- first user
    arg_min(calls.customer_id, calls.started_at) as customer_id, -- first customer
    arg_min(calls.session_id, calls.started_at) as session_id, -- first session
    arg_min(calls.feature, calls.started_at) as feature, -- first feature
from calls
inner join shapes
    on calls.trace_id = shapes.trace_id
group by shapes.day, shapes.trace_id, shapes.started_at, shapes.ended_at, shapes.root_name
order by shapes.started_at, shapes.trace_id
