-- Requests that only a dump of the provider's answer tells. LiteLLM's SDK below an application's own span writes each
-- call's usage onto that span, over the last one's, and keeps the answer on a child span (`llm.<provider>.usage`, a
-- Python dictionary). Of several dumps below one span, the one it stands for (by response id, else by usage, else the
-- last) is told already; the others are requests of their own. A lone dump never is.
-- grain: one row per dumped request that no other span tells
-- reads: source_spans, tree_spans, told_spans
with

dumps as (
    select
        source_spans.sid,
        tree_spans.parent_sid,
        source_spans.day,
        source_spans.trace_id,
        source_spans.span_id,
        source_spans.name,
        source_spans.scope_name,
        source_spans.started_at,
        source_spans.ended_at,
        source_spans.status,
        source_spans.attributes,
        list_filter(
            map_keys(source_spans.attributes),
            lambda key: key glob 'llm.*.usage' or key glob 'llm.*.usageMetadata'
        )[1] as usage_key,
    from source_spans
    inner join tree_spans
        on source_spans.sid = tree_spans.sid
    where
        source_spans.scope_name = 'litellm'
        and source_spans.operation is null
        and tree_spans.parent_sid is not null
),

opened as (
    select
        *,
        split_part(usage_key, '.', 2) as dumped_by,
        -- a dictionary of numbers: its quotes and constants are all that JSON writes otherwise
        try_cast(
            replace(replace(replace(replace(attributes[usage_key], '''', '"'), 'None', 'null'), 'True', 'true'), 'False', 'false')
            as json
        ) as usage,
    from dumps
    where usage_key is not null
),

-- counts as the answer has them; text that is no number is no count
told as (
    select
        sid,
        try_cast(coalesce(usage ->> '$.prompt_tokens', usage ->> '$.promptTokenCount') as bigint) as prompt,
        try_cast(usage ->> '$.input_tokens' as bigint) as input,
        try_cast(usage ->> '$.toolUsePromptTokenCount' as bigint) as tool_prompt,
        try_cast(
            coalesce(
                usage ->> '$.prompt_tokens_details.cached_tokens',
                usage ->> '$.input_tokens_details.cached_tokens',
                usage ->> '$.cachedContentTokenCount',
                usage ->> '$.cache_read_input_tokens'
            ) as bigint
        ) as cache_read,
        try_cast(usage ->> '$.cache_creation_input_tokens' as bigint) as cache_write,
        try_cast(usage ->> '$.cache_creation.ephemeral_1h_input_tokens' as bigint) as cache_write_1h,
        try_cast(
            coalesce(usage ->> '$.completion_tokens', usage ->> '$.output_tokens', usage ->> '$.candidatesTokenCount')
            as bigint
        ) as output,
        try_cast(usage ->> '$.thoughtsTokenCount' as bigint) as thoughts,
        try_cast(
            coalesce(
                usage ->> '$.completion_tokens_details.reasoning_tokens',
                usage ->> '$.output_tokens_details.reasoning_tokens',
                usage ->> '$.thoughtsTokenCount'
            ) as bigint
        ) as reasoning,
        usage ->> '$.input_tokens_details.cached_tokens' is not null as input_includes_cache,
    from opened
    where usage is not null
),

-- a broken counter must not overflow a sum; calls.sql prices no such call
counts as (
    select
        sid,
        input_includes_cache,
        if(prompt > 1000000000000000, 1000000000000000, prompt) as prompt,
        if(input > 1000000000000000, 1000000000000000, input) as input,
        if(tool_prompt > 1000000000000000, 1000000000000000, tool_prompt) as tool_prompt,
        if(cache_read > 1000000000000000, 1000000000000000, cache_read) as cache_read,
        if(cache_write > 1000000000000000, 1000000000000000, cache_write) as cache_write,
        if(cache_write_1h > 1000000000000000, 1000000000000000, cache_write_1h) as cache_write_1h,
        if(output > 1000000000000000, 1000000000000000, output) as output,
        if(thoughts > 1000000000000000, 1000000000000000, thoughts) as thoughts,
        if(reasoning > 1000000000000000, 1000000000000000, reasoning) as reasoning,
    from told
),

sized as (
    select
        opened.*,
        attributes['llm.' || dumped_by || '.id'] as response_id,
        attributes['llm.' || dumped_by || '.model'] as response_model,
        coalesce(
            counts.prompt + coalesce(counts.tool_prompt, 0),
            -- Anthropic's own count leaves the cache out; OpenAI's Responses API, which shares the name, does not
            counts.input
            + case
                when counts.input_includes_cache then 0
                else coalesce(counts.cache_read, 0) + coalesce(counts.cache_write, 0)
            end
        ) as input_tokens,
        counts.output + coalesce(counts.thoughts, 0) as output_tokens,
        counts.cache_read,
        counts.cache_write,
        counts.cache_write_1h,
        counts.reasoning,
    from opened
    inner join counts
        on opened.sid = counts.sid
),

ranked as (
    select
        sized.*,
        told_spans.provider as told_provider,
        count(*) over (partition by sized.parent_sid) as dumps_of_parent,
        row_number() over (
            partition by sized.parent_sid
            order by
                coalesce(sized.response_id = told_spans.response_id, false) desc,
                (
                    sized.input_tokens is not distinct from told_spans.input_tokens
                    and coalesce(sized.output_tokens, 0) = coalesce(told_spans.output_tokens, 0)
                ) desc,
                sized.started_at desc,
                sized.span_id desc
        ) as likeness,
    from sized
    inner join told_spans
        on sized.parent_sid = told_spans.sid
    where coalesce(sized.input_tokens, 0) + coalesce(sized.output_tokens, 0) > 0 and told_spans.class = 'model_call'
)

select
    sid,
    parent_sid,
    day,
    trace_id,
    span_id,
    false as is_log,
    name,
    scope_name,
    'model_call' as class,
    started_at,
    ended_at,
    status,
    case when dumped_by <> 'None' then dumped_by else told_provider end as provider,
    response_model,
    response_id,
    regexp_extract(response_id, '^[A-Za-z]+[-_]') as response_id_family,
    input_tokens,
    output_tokens,
    cache_read as cache_read_tokens,
    case when cache_write is not null then greatest(cache_write - coalesce(cache_write_1h, 0), 0) end
        as cache_write_5m_tokens,
    cache_write_1h as cache_write_1h_tokens,
    cache_write_1h is not null as knows_cache_ttl,
    reasoning as reasoning_tokens,
    false as is_estimated,
    false as cost_ignores_cache,
    true as has_usage,
    (cache_read is not null)::int + (cache_write is not null)::int + (reasoning is not null)::int as detail,
from ranked
where dumps_of_parent > 1 and likeness > 1
