-- Calls fail, or are made again, in quick succession.
-- What is a storm, the rollup retry-storms says; it is told while its last try is recent.
-- grain: one row per storm
-- reads: retry_storms, calls
-- window: 3h
-- severity: error
-- cool_down: 1h
-- param: recent_minutes = 60 -- how long ago its last try may be, minutes
-- param: least_calls = 10 -- tries of the storm
with

places as (
    select
        coalesce(feature, '(unattributed)') as feature,
        coalesce(agent_name, '(no agent)') as agent_name,
        coalesce(request_model, model) as model,
        arg_max(deployment, started_at) as deployment,
        arg_max(team, started_at) as team,
        max_by(trace_id, (status = 'ERROR', started_at, trace_id), 3) filter (trace_id is not null) as trace_ids,
    from calls
    group by all
)

select
    concat_ws(' / ', storms.feature, storms.agent_name, storms.model) as entity, -- feature, agent and model
    strftime(timezone(getvariable('tz'), storms.began_at), '%Y-%m-%dT%H:%M') as period, -- when the storm began
    storms.calls as observed, -- tries in the storm
    null::bigint as baseline, -- there is none
    $least_calls as threshold, -- tries from which on it is told
    storms.feature, -- feature
    places.deployment, -- deployment of the last call
    storms.model, -- model asked for
    places.team, -- team of the last call
    storms.agent_name, -- agent at the top of the run
    storms.finding, -- failing, or repeating
    storms.failed_calls, -- tries that failed
    storms.cost_usd, -- booked cost of the tries, USD
    places.trace_ids, -- the last traces with a failure
from retry_storms as storms
left join places
    on storms.feature = places.feature
    and storms.agent_name = places.agent_name
    and storms.model is not distinct from places.model
where
    storms.finding <> '(ordinary)'
    and storms.calls >= $least_calls
    and storms.last_at > getvariable('now') - $recent_minutes * interval 1 minute
order by storms.calls desc, entity
