-- A model is used whose calls have no price, so its cost is in no total.
-- Of one reason at a time, over the last 24 hours. What `llmcost prices unmatched` lists can be priced.
-- grain: one row per provider, model and reason
-- reads: calls
-- window: 24h
-- severity: warning
-- cool_down: 24h
-- param: least_calls = 10 -- calls without a price
-- param: share_percent = 5 -- and their share of the model's calls, percent
with

told as (
    select
        coalesce(provider, '(unknown)') as provider,
        coalesce(model, '(unknown)') as model,
        case when cost_usd is null then unpriced_reason end as reason,
        coalesce(input_tokens, 0) + coalesce(output_tokens, 0) as tokens,
        feature,
        deployment,
        team,
        trace_id,
    from calls
),

used as (
    select
        provider,
        model,
        count(*) as calls,
    from told
    group by provider, model
),

unpriced as (
    select
        provider,
        model,
        reason,
        count(*) as calls,
        sum(tokens)::bigint as tokens,
        max_by({'feature': feature, 'deployment': deployment, 'team': team}, tokens) as part,
        max_by(trace_id, (tokens, trace_id), 3) filter (trace_id is not null) as trace_ids,
    from told
    where reason is not null
    group by provider, model, reason
)

select
    concat_ws(' / ', unpriced.provider, unpriced.model, unpriced.reason) as entity, -- provider, model and reason
    getvariable('today') as period, -- local day
    unpriced.calls as observed, -- calls without a price in the last 24 hours
    used.calls as baseline, -- calls of the model in the same hours
    greatest($least_calls, ceil($share_percent * used.calls / 100)) as threshold, -- calls from which on it is told
    unpriced.part.feature as feature, -- feature of the largest
    unpriced.part.deployment as deployment, -- deployment of the largest
    unpriced.model, -- model as spans name it
    unpriced.provider, -- vendor as spans name it
    unpriced.part.team as team, -- team of the largest
    unpriced.reason, -- why there is no price
    unpriced.tokens, -- tokens without a price
    unpriced.trace_ids, -- the largest traces
from unpriced
inner join used
    on unpriced.provider = used.provider
    and unpriced.model = used.model
where unpriced.calls >= $least_calls and 100 * unpriced.calls >= $share_percent * used.calls
order by unpriced.tokens desc, entity
