-- A prompt has grown: a request sends half as much again as it used to.
-- What has grown, the rollup context-bloat says of the last 14 days; it is told of today and yesterday.
-- grain: one row per feature and prompt version
-- reads: context_bloat, calls
-- window: 14d
-- severity: warning
-- cool_down: 7d
-- param: at_least_usd = 1 -- least that the growth cost on the day, USD; where no price tells, it is told
with

places as (
    select
        coalesce(feature, '(unattributed)') as feature,
        coalesce(prompt_version, '(unattributed)') as prompt_version,
        arg_max(deployment, started_at) as deployment,
        arg_max(model, started_at) as model,
        arg_max(team, started_at) as team,
        max_by(trace_id, (input_tokens, trace_id), 3) filter (trace_id is not null) as trace_ids,
    from calls
    where started_at > getvariable('now') - interval 24 hour
    group by all
)

select
    concat_ws(' / ', bloat.feature, bloat.prompt_version) as entity, -- feature and prompt version
    cast(bloat.day as varchar) as period, -- local day
    bloat.input_tokens_per_request as observed, -- sent for a request on that day, tokens
    bloat.usual_input_tokens_per_request as baseline, -- sent for one before, tokens
    1.5 * bloat.usual_input_tokens_per_request as threshold, -- half as much again, tokens
    bloat.feature, -- feature
    places.deployment, -- deployment of the last call
    places.model, -- model of the last call
    places.team, -- team of the last call
    bloat.prompt_version, -- version of the prompt
    bloat.finding, -- grown against its own beginning, or new version against the one before
    bloat.against_version, -- version whose first days it is measured against
    bloat.growth_usd, -- about what the growth cost on that day, USD
    coalesce(places.trace_ids, [bloat.trace_id]) as trace_ids, -- traces of the calls that sent most
from context_bloat as bloat
left join places
    on bloat.feature = places.feature
    and bloat.prompt_version = places.prompt_version
where
    bloat.finding <> '(ordinary)'
    and cast(bloat.day as date) >= cast(getvariable('today') as date) - 1
    and coalesce(bloat.growth_usd >= $at_least_usd, true)
qualify row_number() over (partition by bloat.feature, bloat.prompt_version order by bloat.day desc) = 1
order by bloat.growth_usd desc nulls last, entity
