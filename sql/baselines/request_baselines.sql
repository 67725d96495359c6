-- What a request costs by feature, deployment and model in the last hours, beside the 14 days before: request_baselines(6).
-- Where these hours have fewer than twenty requests, as at night, the last 24 hours stand for them. A day before counts with
-- five requests. The usual is the median of the days, the spread is sigma from the median absolute deviation: so one bad
-- day is no baseline. A request is a trace, or a session where there is none. Evals are left out.
-- grain: one row per feature, deployment and model with requests in the last 24 hours and on three days before
-- reads: calls
-- argument: hours
with

told as (
    select
        coalesce(feature, '(unattributed)') as feature,
        coalesce(deployment, '(unattributed)') as deployment,
        coalesce(model, '(unknown)') as model,
        case
            when started_at > getvariable('now') - hours * interval 1 hour then 0
            else
                1 + (epoch_us(getvariable('now') - hours * interval 1 hour) - epoch_us(started_at)) // 86400000000
        end as age,
        started_at > getvariable('now') - interval 24 hour as is_of_day,
        work_id,
        trace_id,
        team,
        cost_usd,
    from calls
    where
        started_at > getvariable('now') - interval 14 day - hours * interval 1 hour
        and started_at <= getvariable('now')
        and traffic_type is distinct from 'eval'
),

lately as (
    select
        feature,
        deployment,
        model,
        count(distinct work_id) as requests_of_day,
        count(distinct work_id) filter (age = 0) as requests_of_hours,
        sum(cost_usd) as cost_of_day,
        sum(cost_usd) filter (age = 0) as cost_of_hours,
    from told
    where is_of_day or age = 0
    group by feature, deployment, model
),

chosen as (
    select
        feature,
        deployment,
        model,
        case when requests_of_hours >= 20 then requests_of_hours else requests_of_day end as requests,
        case when requests_of_hours >= 20 then cost_of_hours else cost_of_day end as cost_usd,
    from lately
),

days as (
    select
        feature,
        deployment,
        model,
        age,
        count(distinct work_id) as requests,
        sum(cost_usd) as cost_usd,
    from told
    group by feature, deployment, model, age
),

usual as (
    select
        feature,
        deployment,
        model,
        percentile_cont(0.5) within group (order by cost_usd::double / requests) as cost,
    from days
    where age > 0 and requests >= 5 and cost_usd is not null
    group by feature, deployment, model
    having count(*) >= 3
),

spreads as (
    select
        days.feature,
        days.deployment,
        days.model,
        1.4826 * percentile_cont(0.5) within group (order by abs(days.cost_usd::double / days.requests - usual.cost)) as sigma,
    from days
    inner join usual
        on days.feature = usual.feature
        and days.deployment = usual.deployment
        and days.model = usual.model
    where days.age > 0 and days.requests >= 5
    group by days.feature, days.deployment, days.model
),

traces as (
    select
        feature,
        deployment,
        model,
        max_by(trace_id, (cost_usd, trace_id), 3) as trace_ids,
        max_by(team, cost_usd) as team,
    from (
        select
            feature,
            deployment,
            model,
            trace_id,
            any_value(team) as team,
            coalesce(sum(cost_usd), 0) as cost_usd,
        from told
        where is_of_day and trace_id is not null
        group by feature, deployment, model, trace_id
    )
    group by feature, deployment, model
)

select
    chosen.feature, -- feature; (unattributed) where no span says it
    chosen.deployment, -- deployment; (unattributed) where no span says it
    chosen.model, -- model as priced
    chosen.requests, -- requests of late
    chosen.cost_usd, -- booked cost of late, USD
    cast(round(chosen.cost_usd / nullif(chosen.requests, 0), 9) as decimal(18, 9)) as cost_per_request_usd, -- cost over requests, USD
    cast(round(usual.cost, 9) as decimal(18, 9)) as expected_usd, -- usual cost of a request, USD
    cast(round(spreads.sigma, 9) as decimal(18, 9)) as sigma_usd, -- spread of the days about it, one standard deviation, USD
    traces.team, -- team of the dearest
    traces.trace_ids, -- the dearest traces
from chosen
inner join usual
    on chosen.feature = usual.feature
    and chosen.deployment = usual.deployment
    and chosen.model = usual.model
left join spreads
    on chosen.feature = spreads.feature
    and chosen.deployment = spreads.deployment
    and chosen.model = spreads.model
left join traces
    on chosen.feature = traces.feature
    and chosen.deployment = traces.deployment
    and chosen.model = traces.model
where chosen.cost_usd is not null
