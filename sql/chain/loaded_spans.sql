-- Spans of the day, and those of its neighbour days that share a trace or a response with it.
-- grain: one row per landed span, repeats included
-- reads: source_spans
with

of_the_day as (
    select
        trace_id,
        response_id,
    from source_spans
    where day = $day
)

select
    sid,
    day,
    trace_id,
    span_id,
    parent_span_id,
    name,
    scope_name,
    operation,
    status,
    started_at,
    ended_at,
    received_at,
    coalesce(input_tokens, 0) + coalesce(output_tokens, 0) as usage_size,
    coalesce(reported_cost_usd, 0) > 0 as has_cost,
    user_id,
    customer_id,
    team,
    org,
    key_id,
    developer,
    feature,
    route,
    agent_name,
    agent_run_id,
    session_id,
    prompt_version,
    deployment,
    traffic_type,
    tags,
from source_spans
where
    day = $day
    or trace_id in (select trace_id from of_the_day)
    or response_id in (select response_id from of_the_day where response_id is not null)
