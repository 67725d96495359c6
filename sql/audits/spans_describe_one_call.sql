-- A span describes at most one call, so no usage is billed twice.
-- grain: one row per span that several calls claim
-- reads: calls
-- next: look at one with: llmcost trace TRACE_ID; say which library sent it when you report it
with

described as (
    select
        trace_id,
        unnest(list_distinct(span_ids)) as span_id,
        cost_usd,
    from calls
)

select
    trace_id, -- trace of the span
    span_id, -- the span
    count(*) as calls, -- calls that claim it
    sum(cost_usd) as cost_usd, -- booked for all of them, USD
from described
group by trace_id, span_id
having count(*) > 1
order by trace_id, span_id
