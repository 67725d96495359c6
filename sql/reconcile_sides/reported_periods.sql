-- What reports tell of each period. Shorter ones are summed to their UTC day.
-- grain: one row per source, period, vendor, model, tier, project, key and line item
-- reads: provider_usage
select
    source, -- kind of report
    case
        when epoch(period_end) - epoch(period_start) < 79200 then cast(day as timestamptz) else period_start
    end as since, -- start of the period; a local day has 23 hours at least
    case
        when epoch(period_end) - epoch(period_start) < 79200 then cast(day as timestamptz) + interval 24 hour
        else period_end
    end as until, -- end of the period, not itself in it
    provider, -- vendor that is paid
    model, -- model as the report names it
    project_id, -- project or workspace
    key_id, -- API key
    service_tier, -- tier
    line_item, -- what is billed, in the report's words
    sum(requests) as requests, -- requests; NULL where not told
    sum(input_tokens) as input_tokens, -- tokens; NULL where not told
    sum(output_tokens) as output_tokens, -- tokens; NULL where not told
    sum(cache_read_tokens) as cache_read_tokens, -- part of input, tokens; NULL where not told
    sum(cache_write_5m_tokens) as cache_write_5m_tokens, -- part of input, tokens; NULL where not told
    sum(cache_write_1h_tokens) as cache_write_1h_tokens, -- part of input, tokens; NULL where not told
    sum(audio_input_tokens) as audio_input_tokens, -- part of input, tokens; NULL where not told
    sum(reasoning_tokens) as reasoning_tokens, -- part of output, tokens; NULL where not told
    sum(audio_output_tokens) as audio_output_tokens, -- part of output, tokens; NULL where not told
    sum(billed_cost_usd) as billed_cost_usd, -- bill, USD; NULL where none is told
    sum(estimated_cost_usd) as estimated_cost_usd, -- a tool's own estimate, USD; NULL where none is told
    min(imported_at) filter (is_partial) as partial_at, -- when it was imported before its end; NULL for a whole period
from provider_usage
group by all
order by all
