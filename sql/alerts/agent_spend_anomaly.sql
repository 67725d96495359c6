-- An agent spends more than three standard deviations above its 14-day moving average.
-- The average is of whole days with their weekdays evened out, times today's weekday's share: an ordinary Monday after a
-- quiet weekend is no anomaly; see baselines/daily_baselines.sql. A spread below a tenth of the usual counts as a tenth.
-- grain: one row per agent
-- reads: daily_baselines
-- window: 30d
-- severity: warning
-- cool_down: 24h
-- param: sigmas = 3 -- standard deviations above the usual
-- param: least_spread = 0.1 -- spread, as a share of the usual, that it counts as at least
-- param: at_least_usd = 1 -- least spend beyond the usual, USD
-- param: quiet_share = 0.25 -- share of an average day that the usual of a quiet weekday counts as at least
-- param: least_days = 14 -- days an agent must be known before
with

measured as (
    select
        *,
        greatest(expected_usd, $quiet_share * average_usd) as usual_usd,
    from daily_baselines('agent_name')
    where days >= $least_days
),

judged as (
    select
        *,
        usual_usd + $sigmas * greatest(coalesce(sigma_usd, 0), $least_spread * usual_usd) as threshold_usd,
    from measured
)

select
    value as entity, -- agent
    getvariable('today') as period, -- local day
    observed_usd as observed, -- spent in the last 24 hours, USD
    usual_usd as baseline, -- usual for these 24 hours, USD
    threshold_usd as threshold, -- most that is let pass, USD
    value as agent_name, -- agent
    feature, -- feature of most of it
    deployment, -- deployment of most of it
    model, -- model of most of it
    team, -- team of most of it
    trace_ids, -- its dearest traces
from judged
where observed_usd > threshold_usd and observed_usd - usual_usd >= $at_least_usd
order by observed_usd - usual_usd desc, value
