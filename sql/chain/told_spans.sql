-- Spans that tell of a model request in their attributes, or repeat its usage; token counts brought to one meaning:
-- input is everything sent, output everything generated, the rest are parts of them.
-- What a count included is the conventions' accounting rule for its scope and source; a count smaller
-- than its own cache tokens cannot have included them, whatever the rule says.
-- grain: one row per span or log record with usage, cost or a model call's operation
-- reads: source_spans, tree_spans, convention_accounting, convention_providers, convention_estimating, convention_cost_sources
with

usage_spans as (
    select
        tree_spans.class,
        tree_spans.parent_sid,
        source_spans.*,
    from source_spans
    inner join tree_spans
        on source_spans.sid = tree_spans.sid
    where tree_spans.class = 'model_call' or tree_spans.usage_size > 0 or tree_spans.has_cost
),

spellings as (
    select distinct
        scope_name,
        name,
        usage_source,
    from usage_spans
),

accounting as (
    select
        spellings.scope_name,
        spellings.name,
        spellings.usage_source,
        arg_min(rules.input_rule, rules.rank) as input_rule,
        arg_min(rules.output_rule, rules.rank) as output_rule,
    from spellings
    inner join convention_accounting as rules
        on coalesce(spellings.scope_name, '') glob rules.scope
        and coalesce(spellings.name, '') glob rules.name
        and coalesce(spellings.usage_source, '') glob rules.source
    group by spellings.scope_name, spellings.name, spellings.usage_source
),

vendors as (
    select
        spelled.provider,
        arg_min(convention_providers.vendor, convention_providers.rank) as vendor,
        count(convention_providers.rank) > 0 as is_known,
    from (select distinct lower(provider) as provider from usage_spans) as spelled
    left join convention_providers
        on spelled.provider glob convention_providers.provider
    group by spelled.provider
),

written as (
    select
        usage_spans.*,
        case
            when coalesce(cache_write_tokens, cache_write_5m_tokens, cache_write_1h_tokens) is not null
                then greatest(
                    coalesce(cache_write_tokens, 0),
                    coalesce(cache_write_5m_tokens, 0) + coalesce(cache_write_1h_tokens, 0)
                )
        end as cache_write_total,
        coalesce(accounting.input_rule, 'inclusive') as input_rule,
        coalesce(accounting.output_rule, 'inclusive') as output_rule,
        coalesce(usage_spans.is_streaming, false)
        and usage_spans.cache_read_tokens is null
        and exists (
            select 1
            from convention_estimating
            where usage_spans.scope_name glob convention_estimating.scope
        ) as is_estimated,
        case when vendors.is_known then vendors.vendor else lower(usage_spans.provider) end as vendor,
    from usage_spans
    left join accounting
        on usage_spans.scope_name is not distinct from accounting.scope_name
        and usage_spans.name is not distinct from accounting.name
        and usage_spans.usage_source is not distinct from accounting.usage_source
    left join vendors
        on lower(usage_spans.provider) = vendors.provider
)

select
    sid,
    parent_sid,
    day,
    trace_id,
    span_id,
    is_log,
    log_id,
    session_id,
    name,
    scope_name,
    class,
    started_at,
    ended_at,
    status,
    operation,
    vendor as provider,
    request_model,
    response_model,
    gateway_model,
    response_id,
    regexp_extract(response_id, '^[A-Za-z]+[-_]') as response_id_family,
    nullif(lower(service_tier), 'auto') as service_tier, -- "auto" asks, it does not say what was served
    is_batch,
    is_streaming,
    error_type,
    case when not is_estimated then input_tokens end
    + coalesce(tool_input_tokens, 0)
    + case
        when
            input_rule <> 'inclusive'
            or coalesce(cache_read_tokens, 0) + coalesce(cache_write_total, 0) > input_tokens
            then coalesce(cache_read_tokens, 0) + coalesce(cache_write_total, 0)
        else 0
    end
    + case when input_rule = 'excludes_cache_and_audio' then coalesce(audio_input_tokens, 0) else 0 end
        as input_tokens,
    case when not is_estimated then output_tokens end
    + case when output_rule <> 'inclusive' then coalesce(reasoning_tokens, 0) else 0 end
    + case when output_rule = 'excludes_reasoning_and_audio' then coalesce(audio_output_tokens, 0) else 0 end
        as output_tokens,
    cache_read_tokens,
    cache_write_total - coalesce(cache_write_1h_tokens, 0) as cache_write_5m_tokens,
    case when cache_write_total is not null then coalesce(cache_write_1h_tokens, 0) end as cache_write_1h_tokens,
    cache_write_5m_tokens is not null or cache_write_1h_tokens is not null as knows_cache_ttl,
    reasoning_tokens,
    audio_input_tokens,
    audio_output_tokens,
    case when not is_estimated then reported_cost_usd end as reported_cost_usd,
    -- as money; a hundred million dollars for one span is a broken figure, and would not fit the digits
    case
        when not is_estimated and reported_cost_usd > 0 and reported_cost_usd < 1e8
            then cast(round(cast(reported_cost_usd as decimal(38, 18)), 9) as decimal(18, 9))
    end as reported_usd,
    is_estimated,
    cost_source,
    cost_source in (select source from convention_cost_sources) as cost_ignores_cache,
    cache_hit,
    not is_estimated and coalesce(input_tokens, 0) + coalesce(output_tokens, 0) > 0 as has_usage,
    (cache_read_tokens is not null)::int
    + (cache_write_total is not null)::int
    + (cache_write_5m_tokens is not null or cache_write_1h_tokens is not null)::int
    + (reasoning_tokens is not null)::int
        as detail,
from written
