-- One row per trace and UTC day: how long, how much, whose. A trace across midnight has a row on each of its days,
-- so that a day's rows sum to the day's calls; the relation `traces` holds each trace whole.
-- grain: one row per trace_id and day
-- reads: calls, tree_spans
with

of_the_day as (
    select
        trace_id,
        min(started_at) as started_at,
        max(ended_at) as ended_at,
        count(*) filter (not is_log) as spans,
    from tree_spans
    where day = $day
    group by trace_id
),

roots as (
    select
        trace_id,
        arg_min(name, (started_at, span_id)) filter (parent_sid is null and not is_log) as root_name,
        bool_or(status = 'ERROR' and parent_sid is null) as has_failed,
    from tree_spans
    group by trace_id
),

spent as (
    select
        trace_id,
        arg_min(service_name, (started_at, span_id, log_id)) as service_name,
        count(*) filter (day = $day) as calls,
        count(*) filter (day = $day and status = 'ERROR') as failed_calls,
        count(*) filter (day = $day and cost_usd is null) as unpriced_calls,
        sum(input_tokens) filter (day = $day) as input_tokens,
        sum(output_tokens) filter (day = $day) as output_tokens,
        sum(cost_usd) filter (day = $day) as cost_usd,
        arg_min(user_id, (started_at, span_id, log_id)) as user_id,
        arg_min(customer_id, (started_at, span_id, log_id)) as customer_id,
        arg_min(session_id, (started_at, span_id, log_id)) as session_id,
        arg_min(feature, (started_at, span_id, log_id)) as feature,
    from calls
    where trace_id is not null
    group by trace_id
)

select
    $day::date as day, -- UTC day
    of_the_day.trace_id, -- trace, 32 hex digits
    of_the_day.started_at, -- start of its first span of the day, UTC
    of_the_day.ended_at, -- end of its last span of the day, UTC
    (epoch_us(of_the_day.ended_at) - epoch_us(of_the_day.started_at)) / 1000.0
        as duration_ms, -- first start to last end of the day's spans, ms
    roots.root_name, -- name of the root span
    spent.service_name, -- service.name of the resource
    of_the_day.spans, -- spans of the day; 0 where only log records tell of it
    spent.calls, -- billable requests of the day
    spent.failed_calls, -- requests that failed
    spent.unpriced_calls, -- requests of unknown cost
    spent.input_tokens, -- everything sent, tokens
    spent.output_tokens, -- everything generated, tokens
    spent.cost_usd, -- booked cost of the priced calls, USD; NULL when none is priced
    coalesce(roots.has_failed, false) as has_failed, -- the root span reports an error
    spent.user_id, -- first user
    spent.customer_id, -- first customer
    spent.session_id, -- first session
    spent.feature, -- first feature
from of_the_day
inner join spent
    on of_the_day.trace_id = spent.trace_id
inner join roots
    on of_the_day.trace_id = roots.trace_id
order by of_the_day.started_at, of_the_day.trace_id
