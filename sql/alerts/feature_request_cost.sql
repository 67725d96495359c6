-- A request of a feature costs more than it used to, on the same deployment and model.
-- The last hours, or 24 where requests are few, are compared with the 14 days before; see baselines/request_baselines.sql.
-- grain: one row per feature, deployment and model
-- reads: request_baselines
-- window: 16d
-- severity: warning
-- cool_down: 12h
-- param: hours = 6 -- length of what is looked at, hours
-- param: factor = 1.5 -- how many times the usual
-- param: sigmas = 3 -- and how many standard deviations of the days above it
-- param: least_requests = 20 -- requests there must be in these hours
-- param: at_least_usd = 1 -- least that these requests cost beyond the usual, USD
select
    concat_ws(' / ', feature, deployment, model) as entity, -- feature, deployment and model
    getvariable('today') as period, -- local day
    cost_per_request_usd as observed, -- cost of a request of late, USD
    expected_usd as baseline, -- usual cost of a request, USD
    greatest($factor * expected_usd, expected_usd + $sigmas * sigma_usd) as threshold, -- most that is let pass, USD
    feature, -- feature
    deployment, -- deployment
    model, -- model
    team, -- team of the dearest
    requests, -- requests of late
    trace_ids, -- the dearest traces
from request_baselines($hours)
where
    requests >= $least_requests
    and cost_per_request_usd > greatest($factor * expected_usd, expected_usd + $sigmas * sigma_usd)
    and cost_usd - requests * expected_usd >= $at_least_usd
order by cost_usd - requests * expected_usd desc, entity
