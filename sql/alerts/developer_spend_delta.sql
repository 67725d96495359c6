-- A developer spends several times what is usual for the weekday.
-- The last 24 hours are compared with what the 28 days before say such hours cost; see baselines/daily_baselines.sql.
-- grain: one row per developer
-- reads: daily_baselines
-- window: 30d
-- severity: warning
-- cool_down: 24h
-- param: factor = 5 -- how many times the usual
-- param: sigmas = 3 -- and how many standard deviations above the usual
-- param: at_least_usd = 1 -- least spend beyond the usual, USD
-- param: quiet_share = 0.25 -- share of an average day that the usual of a quiet weekday counts as at least
with

measured as (
    select
        *,
        greatest(expected_usd, $quiet_share * average_usd) as usual_usd,
    from daily_baselines('developer')
),

judged as (
    select
        *,
        greatest($factor * usual_usd, usual_usd + $sigmas * coalesce(sigma_usd, 0)) as threshold_usd,
    from measured
)

select
    value as entity, -- developer
    getvariable('today') as period, -- local day
    observed_usd as observed, -- spent in the last 24 hours, USD
    usual_usd as baseline, -- usual for these 24 hours, USD
    threshold_usd as threshold, -- most that is let pass, USD
    value as developer, -- developer
    feature, -- feature of most of it
    deployment, -- deployment of most of it
    model, -- model of most of it
    team, -- team of most of it
    trace_ids, -- its dearest traces
from judged
where observed_usd > threshold_usd and observed_usd - usual_usd >= $at_least_usd
order by observed_usd - usual_usd desc, value
