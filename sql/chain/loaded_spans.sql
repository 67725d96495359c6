-- Spans and usage-telling log records of the day, and those of its neighbour days that share a trace or a response
-- with it, or a session that log records tell of.
-- grain: one row per landed span, repeats included, and per standing log record
-- reads: source_spans, usage_logs
with

of_the_day as (
    select
        trace_id,
        response_id,
        session_id,
    from source_spans
    where day = $day
),

logged_sessions as (
    select distinct of_the_day.session_id
    from of_the_day
    semi join usage_logs
        on of_the_day.session_id = usage_logs.session_id
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
    is_log,
    log_id,
    log_agent_name,
    log_run_id,
from source_spans
where
    day = $day
    or trace_id in (select trace_id from of_the_day)
    or response_id in (select response_id from of_the_day where response_id is not null)
    or session_id in (select session_id from logged_sessions)
