-- Log records that tell one model request each, as a span would (the conventions' usage_logs), in the columns of spans.
-- A record is written when its request ends: it started `duration_ms` before. It has no id of its own, and exporters
-- send it again: of records with one log_id, session and response id, else every figure, the last stands (copy 1).
-- Its outcome and evaluation columns are empty here: those are read from the events themselves.
-- grain: one row per landed record, repeats included
-- reads: landed_logs, convention_usage_logs
with

bearing as (
    select *
    from landed_logs
    where
        carrier = 'log'
        and (coalesce(input_tokens, 0) + coalesce(output_tokens, 0) > 0 or reported_cost_usd > 0)
),

ruled as (
    select
        bearing.sid,
        min(rules.rank) as rank,
    from bearing
    inner join convention_usage_logs as rules
        on coalesce(bearing.scope_name, '') glob rules.scope
        and (
            coalesce(bearing.name, '') glob rules.event
            or coalesce(bearing.attributes['event.name'], '') glob rules.event
        )
        and (rules.attribute is null or bearing.attributes[rules.attribute] = rules.value)
    group by bearing.sid
),

read as (
    select
        bearing.* replace (
            coalesce(bearing.response_id, nullif(bearing.attributes[rules.request_id], '')) as response_id,
            coalesce(bearing.response_model, case when rules.model = 'response' then bearing.request_model end)
                as response_model,
            case when rules.model = 'request' then bearing.request_model end as request_model,
            coalesce(
                bearing.reported_cost_usd, try_cast(bearing.attributes[rules.cost_micros] as double) / 1000000
            ) as reported_cost_usd,
        ),
        rules.agent as log_agent_name,
        case when rules.agent is not null then coalesce(bearing.attributes[rules.run], bearing.session_id) end
            as log_run_id,
        -- at most a day: an absurd duration must not move a request to a day whose files are not read
        bearing.occurred_at - to_microseconds(
            cast(
                least(greatest(coalesce(try_cast(bearing.attributes['duration_ms'] as double), 0), 0), 86400000) * 1000
                as bigint
            )
        ) as started_at,
    from bearing
    inner join ruled
        on bearing.sid = ruled.sid
    inner join convention_usage_logs as rules
        on ruled.rank = rules.rank
),

identified as (
    select
        *,
        md5(
            concat_ws(
                '|',
                coalesce(scope_name, '-'),
                case
                    when response_id is not null and coalesce(session_id, trace_id) is not null
                        then coalesce(session_id, trace_id) || '|' || response_id
                    else concat_ws(
                        '|',
                        coalesce(session_id, '-'), coalesce(trace_id, '-'), coalesce(span_id, '-'),
                        coalesce(response_id, '-'), epoch_us(occurred_at),
                        coalesce(attributes['event.sequence'], '-'), coalesce(response_model, request_model, '-'),
                        coalesce(input_tokens, -1), coalesce(output_tokens, -1), coalesce(cache_read_tokens, -1),
                        coalesce(cache_write_tokens, -1), coalesce(cache_write_5m_tokens, -1),
                        coalesce(cache_write_1h_tokens, -1), coalesce(reasoning_tokens, -1),
                        coalesce(reported_cost_usd, -1)
                    )
                end
            )
        ) as log_id,
    from read
)

select
    * exclude (sid, day, carrier, occurred_at, severity, span_id)
        replace (
            null as outcome_attributes,
            null as evaluation_name,
            null as evaluation_score,
            null as evaluation_label,
            null as evaluation_passed,
            null as evaluation_id,
            null as evaluation_scores
        ),
    -1 - sid as sid, -- no span's
    cast(started_at as date) as day,
    cast(null as varchar) as span_id,
    span_id as parent_span_id,
    occurred_at as ended_at,
    'UNSET' as status,
    true as is_log,
    row_number() over (
        partition by log_id
        order by
            occurred_at desc,
            coalesce(input_tokens, 0) + coalesce(output_tokens, 0) desc,
            received_at,
            sid
    ) as copy,
from identified
