-- Calls that repeat a long prompt and read none of it from the provider's cache, and what hits would have saved.
-- No text is compared: what repeats is judged by size, for each feature, prompt version, provider and model. It is what
-- the median hit of them reads; without any hit at most what nearly all of their calls send (the 5th percentile of
-- input). From 1,024 tokens on it counts, with twenty calls. A miss is a call that sends at least as much and reads
-- nothing, begun within five minutes of the one before, under a price list with a rate for cache reads; misses have rows
-- where there are ten, a fifth of the calls begun so. Where the library tells nothing of caches it may be no miss: see
-- finding. Savings are at list prices, what cache writes cost more not deducted. One row is (ordinary): all other calls.
-- grain: one row per feature, prompt version, provider and model with misses; one for all else
-- reads: calls, model_rates
-- key: finding, feature, prompt_version, provider, model
-- group_by: agent_name, customer_id, team, org, user_id, key_id, developer, route, session_id, agent_run_id, deployment, service_name, traffic_type, operation, service_tier
with

-- a broken counter is no usage (calls.sql), and nothing is cached where no request was answered
numbered as (
    select
        *,
        extract('hour' from started_at) * 60 + extract('minute' from started_at) as minute,
        coalesce(cost_basis not in ('failed', 'cache_hit'), true) and input_tokens between 1 and 999999999 as is_sent,
        coalesce(cache_read_tokens, 0) > 0 as is_hit,
        row_number() over (order by started_at, work_id, span_id, log_id) as number,
    from calls
),

rated as (
    select
        numbered.number,
        numbered.started_at,
        numbered.feature,
        numbered.prompt_version,
        numbered.provider,
        numbered.model,
        numbered.input_tokens,
        numbered.cache_read_tokens,
        numbered.is_hit,
        numbered.cache_read_tokens is not null
        or coalesce(numbered.cache_write_5m_tokens, numbered.cache_write_1h_tokens) is not null as is_told,
        - rates.cache_read as saved_per_token,
        coalesce(
            numbered.started_at <= lag(numbered.started_at) over (
                partition by numbered.feature, numbered.prompt_version, numbered.provider, numbered.model
                order by numbered.started_at, numbered.number
            ) + interval 5 minute,
            false
        ) as is_warm,
    from numbered
    inner join model_rates as rates
        on numbered.provider is not distinct from rates.provider
        and numbered.model = rates.model
        and numbered.service_tier is not distinct from rates.service_tier
        and numbered.is_batch = rates.is_batch
        and numbered.started_at >= rates.valid_from
        and numbered.started_at < rates.valid_to
        and numbered.minute >= rates.minute_from
        and numbered.minute < rates.minute_to
        and coalesce(numbered.input_tokens, 0) > rates.input_over
        and coalesce(numbered.input_tokens, 0) <= rates.input_upto
    where numbered.is_sent and rates.cache_read < 0
),

prompts as (
    select
        feature,
        prompt_version,
        provider,
        model,
        count(*) filter (is_hit) > 0 as has_hits,
        bool_or(is_told) as has_told,
        cast(
            floor(
                case
                    when count(*) filter (is_hit) > 0
                        then percentile_cont(0.5) within group (order by cache_read_tokens::double) filter (is_hit)
                    else percentile_cont(0.05) within group (order by input_tokens::double)
                end
            ) as bigint
        ) as prefix_tokens,
    from rated
    group by feature, prompt_version, provider, model
    having count(*) >= 20
),

judged as (
    select
        rated.number,
        prompts.*,
        rated.is_warm and not rated.is_hit and rated.input_tokens >= prompts.prefix_tokens as is_miss,
        cast(round(rated.saved_per_token * cast(prompts.prefix_tokens as decimal(10, 0)), 9) as decimal(18, 9))
            as saved_usd,
        count(*) filter (rated.is_warm) over (
            partition by rated.feature, rated.prompt_version, rated.provider, rated.model
        ) as warm_calls,
        count(*) filter (rated.is_warm and not rated.is_hit and rated.input_tokens >= prompts.prefix_tokens) over (
            partition by rated.feature, rated.prompt_version, rated.provider, rated.model
        ) as misses,
    from rated
    inner join prompts
        on rated.feature is not distinct from prompts.feature
        and rated.prompt_version is not distinct from prompts.prompt_version
        and rated.provider is not distinct from prompts.provider
        and rated.model = prompts.model
    where prompts.prefix_tokens >= 1024
),

suspects as (
    select
        *,
        case when has_hits then 'beside hits' when has_told then 'never hit' else 'not told' end as evidence,
        100 * misses / nullif(warm_calls, 0) as missed_percent,
    from judged
    where is_miss and misses >= 10 and 5 * misses >= warm_calls
),

marked as (
    select
        numbered.*,
        coalesce(suspects.evidence, '(ordinary)') as what_is_found,
        suspects.prefix_tokens,
        suspects.missed_percent,
        suspects.saved_usd,
        case when suspects.evidence is null then '(all else)' else coalesce(numbered.feature, '(unattributed)') end
            as missed_feature,
        case when suspects.evidence is null then '(all else)' else coalesce(numbered.prompt_version, '(unattributed)') end
            as missed_version,
        case when suspects.evidence is not null then numbered.provider end as missed_provider,
        case when suspects.evidence is not null then numbered.model end as missed_model,
    from numbered
    left join suspects
        on numbered.number = suspects.number
)

select
    {% if by %}local_{{ by }} as {{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    what_is_found as finding, -- beside hits where other calls hit; never hit where none did; not told where no call tells of caches; (ordinary) for all else
    missed_feature as feature, -- feature; (unattributed) where no span says it
    missed_version as prompt_version, -- version of the prompt; (unattributed) where no span says it
    missed_provider as provider, -- vendor that is paid
    missed_model as model, -- model as priced
    {% for name in group_by %}{{ name }}, -- dimension asked for
    {% endfor %}
    case when what_is_found <> '(ordinary)' then arg_max(trace_id, (input_tokens, trace_id)) end as trace_id, -- trace of the largest of these calls, for llmcost trace
    count(*) as calls, -- billable requests to a model: the misses
    any_value(prefix_tokens) as prefix_tokens, -- what repeats, at most, tokens
    round(any_value(missed_percent), 2) as missed_percent, -- misses in the calls begun within five minutes of another, percent
    sum(saved_usd) as missed_savings_usd, -- what hits would have saved, USD
    sum(cost_usd) as cost_usd, -- booked cost, USD; NULL when none is known
    count(*) filter (cost_usd is null) as unpriced_calls, -- calls of unknown cost, not in cost_usd
from marked
group by
    {% if by %}local_{{ by }},{% endif %}
    {% for name in group_by %}{{ name }},{% endfor %}
    what_is_found, missed_feature, missed_version, missed_provider, missed_model
order by
    {% if by %}local_{{ by }}, {% endif %}what_is_found = '(ordinary)', sum(saved_usd) desc nulls last, missed_feature,
    missed_version, missed_provider, missed_model{% for name in group_by %}, {{ name }}{% endfor %}
