-- What telemetry tells of each hour, to be set beside reports. What no provider served costs nothing and is left out:
-- a gateway's cache hits, and requests that failed. Of calls with one response id all but the first are repeated.
-- grain: one row per hour, vendor, model, tier, project, key, and whether the calls have a cost
-- reads: calls
with

numbered as (
    select
        *,
        coalesce(response_id, '') <> '' and row_number() over (
            partition by provider, response_id order by started_at, trace_id, span_id, log_id
        ) > 1 as is_repeated,
    from calls
    where coalesce(cost_basis, '') not in ('cache_hit', 'failed')
)

select
    date_trunc('hour', started_at) as hour, -- hour in which the calls started, UTC
    provider, -- vendor that is paid
    model, -- model as priced
    service_tier, -- tier that served, in the library's words
    is_batch, -- through a batch API
    case getvariable('project')
        when 'team' then team
        when 'org' then org
        when 'customer_id' then customer_id
        when 'feature' then feature
        when 'deployment' then deployment
        when 'service_name' then service_name
        when 'agent_name' then agent_name
        when 'key_id' then key_id
    end as project_id, -- dimension that stands for the report's project
    case when getvariable('by_key') then key_id end as key_id, -- API key, where it is asked for
    cost_usd is not null as is_priced, -- whether their cost is known
    count(*) as calls, -- model requests
    count(*) filter (
        coalesce(unpriced_reason, '') in ('usage_missing', 'usage_estimated_by_library')
    ) as untold_calls, -- requests whose usage the library did not tell
    sum(coalesce(input_tokens, 0)) as input_tokens, -- tokens
    sum(coalesce(output_tokens, 0)) as output_tokens, -- tokens
    sum(coalesce(cache_read_tokens, 0)) as cache_read_tokens, -- part of input, tokens
    sum(coalesce(cache_write_5m_tokens, 0)) as cache_write_5m_tokens, -- part of input, tokens
    sum(coalesce(cache_write_1h_tokens, 0)) as cache_write_1h_tokens, -- part of input, tokens
    sum(coalesce(audio_input_tokens, 0)) as audio_input_tokens, -- part of input, tokens
    sum(coalesce(reasoning_tokens, 0)) as reasoning_tokens, -- part of output, tokens
    sum(coalesce(audio_output_tokens, 0)) as audio_output_tokens, -- part of output, tokens
    sum(cost_usd) as cost_usd, -- booked cost, USD; NULL where it is unknown
    coalesce(sum(input_tokens) filter (is_repeated), 0) as repeated_input_tokens, -- of repeated calls, tokens
    coalesce(sum(output_tokens) filter (is_repeated), 0) as repeated_output_tokens, -- of repeated calls, tokens
from numbered
group by all
order by all
