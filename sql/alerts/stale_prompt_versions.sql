-- An older version of a prompt still gets traffic after a newer one took over.
-- What is stale, the rollup stale-prompt-versions says of the last 14 days; the days of a rollout are let pass.
-- grain: one row per feature and prompt version
-- reads: stale_prompt_versions, calls
-- window: 14d
-- severity: info
-- cool_down: 7d
-- param: grace_days = 2 -- days that a rollout may take after the newer version took over
-- param: least_requests = 10 -- requests of the stale version in the last 24 hours
with

recent as (
    select
        coalesce(feature, '(unattributed)') as feature,
        coalesce(prompt_version, '(unattributed)') as prompt_version,
        arg_max(deployment, started_at) as deployment,
        arg_max(model, started_at) as model,
        arg_max(team, started_at) as team,
        count(distinct work_id) as requests,
        max_by(trace_id, (started_at, trace_id), 3) filter (trace_id is not null) as trace_ids,
    from calls
    where started_at > getvariable('now') - interval 24 hour and traffic_type is distinct from 'eval'
    group by all
)

select
    concat_ws(' / ', stale.feature, stale.prompt_version) as entity, -- feature and prompt version
    cast(stale.took_over_on as varchar) as period, -- day on which the newer version took over
    recent.requests as observed, -- requests of the stale version in the last 24 hours
    null::bigint as baseline, -- there is none
    $least_requests as threshold, -- requests from which on it is told
    stale.feature, -- feature
    recent.deployment, -- deployment of the last call
    recent.model, -- model of the last call
    recent.team, -- team of the last call
    stale.prompt_version, -- version that still gets traffic
    stale.current_version, -- version that took over
    stale.cost_per_request_usd, -- what a request of the stale version costs, USD
    stale.current_cost_per_request_usd, -- what one of the current version costs, USD
    recent.trace_ids, -- the last traces
from stale_prompt_versions as stale
inner join recent
    on stale.feature = recent.feature
    and stale.prompt_version = recent.prompt_version
where
    stale.finding <> '(ordinary)'
    and recent.requests >= $least_requests
    and cast(stale.took_over_on as date) + cast($grace_days as integer) < cast(getvariable('today') as date)
order by recent.requests desc, entity
