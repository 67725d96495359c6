-- One row per model request: its spans merged, not yet owned or priced.
-- Where and when from the outermost span (a log record only where no span tells the request); vendor, model, tier from the innermost that says so; tokens from
-- the span with the most detail, and what that one leaves out from the others.
-- arg_min passes over NULL: the first of the ranking that says anything.
-- grain: one row per call
-- reads: members, model_spans
with

merged as (
    select
        members.call_sid,
        arg_min(model_spans.day, members.outer_rank) as day,
        arg_min(model_spans.trace_id, members.outer_rank) as trace_id,
        arg_min(model_spans.span_id, members.outer_rank) as span_id,
        coalesce(min(model_spans.started_at) filter (not model_spans.is_log), min(model_spans.started_at)) as started_at,
        coalesce(max(model_spans.ended_at) filter (not model_spans.is_log), max(model_spans.ended_at)) as ended_at,
        arg_min(model_spans.operation, members.inner_rank) as operation,
        arg_min(model_spans.status, members.outer_rank) as status,
        arg_min(model_spans.provider, members.inner_rank) as provider,
        arg_min(model_spans.request_model, members.inner_rank) as request_model,
        arg_min(model_spans.response_model, members.inner_rank) as response_model,
        arg_min(model_spans.gateway_model, members.inner_rank) as gateway_model,
        arg_min(model_spans.response_id, members.inner_rank) as response_id,
        arg_min(model_spans.service_tier, members.inner_rank) as service_tier,
        arg_min(model_spans.is_batch, members.inner_rank) as is_batch,
        arg_min(model_spans.is_streaming, members.inner_rank) as is_streaming,
        arg_min(model_spans.error_type, members.inner_rank) as error_type,
        arg_min(model_spans.input_tokens, members.usage_rank) as input_tokens,
        arg_min(model_spans.output_tokens, members.usage_rank) as output_tokens,
        arg_min(model_spans.cache_read_tokens, members.usage_rank) as cache_read_tokens,
        arg_min(model_spans.cache_write_5m_tokens, members.usage_rank) as cache_write_5m_tokens,
        arg_min(model_spans.cache_write_1h_tokens, members.usage_rank) as cache_write_1h_tokens,
        arg_min(model_spans.knows_cache_ttl, members.usage_rank) as knows_cache_ttl,
        arg_min(model_spans.reasoning_tokens, members.usage_rank) as reasoning_tokens,
        arg_min(model_spans.audio_input_tokens, members.usage_rank) as audio_input_tokens,
        arg_min(model_spans.audio_output_tokens, members.usage_rank) as audio_output_tokens,
        arg_min(model_spans.reported_usd, members.inner_rank) as reported_cost_usd,
        arg_min(model_spans.cost_source, members.inner_rank) filter (model_spans.reported_usd is not null) as cost_source,
        arg_min(model_spans.cost_ignores_cache, members.inner_rank) filter (model_spans.reported_usd is not null)
            as cost_ignores_cache,
        bool_or(model_spans.cache_hit) as cache_hit,
        bool_and(model_spans.is_estimated) as is_estimated,
        coalesce(list(model_spans.span_id order by members.outer_rank) filter (not model_spans.is_log), []) as span_ids,
        case when bool_and(model_spans.is_log) then arg_min(model_spans.log_id, members.outer_rank) end as log_id,
    from members
    inner join model_spans
        on members.sid = model_spans.sid
    where members.is_grouped
    group by members.call_sid
),

single as (
    select
        members.call_sid,
        model_spans.day,
        model_spans.trace_id,
        model_spans.span_id,
        model_spans.started_at,
        model_spans.ended_at,
        model_spans.operation,
        model_spans.status,
        model_spans.provider,
        model_spans.request_model,
        model_spans.response_model,
        model_spans.gateway_model,
        model_spans.response_id,
        model_spans.service_tier,
        model_spans.is_batch,
        model_spans.is_streaming,
        model_spans.error_type,
        model_spans.input_tokens,
        model_spans.output_tokens,
        model_spans.cache_read_tokens,
        model_spans.cache_write_5m_tokens,
        model_spans.cache_write_1h_tokens,
        model_spans.knows_cache_ttl,
        model_spans.reasoning_tokens,
        model_spans.audio_input_tokens,
        model_spans.audio_output_tokens,
        model_spans.reported_usd as reported_cost_usd,
        model_spans.cost_source,
        model_spans.cost_ignores_cache,
        model_spans.cache_hit,
        model_spans.is_estimated,
        case when model_spans.is_log then [] else [model_spans.span_id] end as span_ids,
        model_spans.log_id,
    from members
    inner join model_spans
        on members.sid = model_spans.sid
    where not members.is_grouped
)

from merged
union all by name
from single
