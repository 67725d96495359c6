-- A long prompt repeats, and is not read from the provider's cache.
-- What is missed, the rollup cache-misses says of the last 24 hours; where nothing tells of caches it is no finding here.
-- grain: one row per feature, prompt version, provider and model
-- reads: cache_misses, calls
-- window: 24h
-- severity: info
-- cool_down: 3d
-- param: at_least_usd = 1 -- least that hits would have saved, USD
with

places as (
    select
        coalesce(feature, '(unattributed)') as feature,
        coalesce(prompt_version, '(unattributed)') as prompt_version,
        arg_max(deployment, started_at) as deployment,
        arg_max(team, started_at) as team,
    from calls
    group by all
)

select
    concat_ws(' / ', misses.feature, misses.prompt_version, misses.provider, misses.model) as entity, -- feature, prompt version, provider and model
    getvariable('today') as period, -- local day
    misses.missed_savings_usd as observed, -- what hits would have saved in the last 24 hours, USD
    misses.cost_usd as baseline, -- cost of these calls, USD
    $at_least_usd as threshold, -- savings from which on it is told, USD
    misses.feature, -- feature
    places.deployment, -- deployment of the last call
    misses.model, -- model as priced
    places.team, -- team of the last call
    misses.prompt_version, -- version of the prompt
    misses.provider, -- vendor that is paid
    misses.finding, -- beside hits where other calls hit, never hit where none did
    misses.calls, -- the misses
    misses.prefix_tokens, -- what repeats, at most, tokens
    [misses.trace_id] as trace_ids, -- trace of the largest of these calls
from cache_misses as misses
left join places
    on misses.feature = places.feature
    and misses.prompt_version = places.prompt_version
where misses.finding in ('beside hits', 'never hit') and misses.missed_savings_usd >= $at_least_usd
order by misses.missed_savings_usd desc, entity
