-- One row per trace with calls: how long, how much, whose; across midnights too.
-- grain: one row per trace_id
-- reads: trace_days
select
    min(day) as day, -- UTC day of the first span
    trace_id, -- trace, 32 hex digits
    min(started_at) as started_at, -- start of the first span, UTC
    max(ended_at) as ended_at, -- end of the last span, UTC
    (epoch_us(max(ended_at)) - epoch_us(min(started_at))) / 1000.0 as duration_ms, -- first start to last end, ms
    arg_min(root_name, day) as root_name, -- name of the root span
    arg_min(service_name, day) as service_name, -- service.name of the resource
    sum(spans)::bigint as spans, -- spans in the trace; 0 where only log records tell of it
    sum(calls)::bigint as calls, -- billable requests
    sum(failed_calls)::bigint as failed_calls, -- requests that failed
    sum(unpriced_calls)::bigint as unpriced_calls, -- requests of unknown cost
    sum(input_tokens) as input_tokens, -- everything sent, tokens
    sum(output_tokens) as output_tokens, -- everything generated, tokens
    sum(cost_usd) as cost_usd, -- booked cost of the priced calls, USD; NULL when none is priced
    bool_or(has_failed) as has_failed, -- the root span reports an error
    arg_min(user_id, day) as user_id, -- first user
    arg_min(customer_id, day) as customer_id, -- first customer
    arg_min(session_id, day) as session_id, -- first session
    arg_min(feature, day) as feature, -- first feature
from trace_days
group by trace_id
having sum(calls) > 0
