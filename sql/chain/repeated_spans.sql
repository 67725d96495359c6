-- Spans that exporters sent more than once: all copies but the one that stands.
-- For one (trace_id, span_id) the last end time, then the larger usage, then the first received wins.
-- grain: one row per superseded copy
-- reads: loaded_spans
with

repeated as (
    select
        trace_id,
        span_id,
    from loaded_spans
    group by trace_id, span_id
    having count(*) > 1
)

select
    loaded_spans.sid,
    first_value(loaded_spans.sid) over winner as stands_sid,
from loaded_spans
inner join repeated
    on loaded_spans.trace_id = repeated.trace_id and loaded_spans.span_id = repeated.span_id
window
    winner as (
        partition by loaded_spans.trace_id, loaded_spans.span_id
        order by loaded_spans.ended_at desc, loaded_spans.usage_size desc, loaded_spans.received_at, loaded_spans.sid
    )
qualify row_number() over winner > 1
