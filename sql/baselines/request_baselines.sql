-- What a request costs by feature, deployment and model in the last hours, beside the 14 days before: request_baselines(6).
-- A day before counts with five requests. The usual is the median of the days, the spread is sigma from the median absolute
-- deviation: so one bad day is no baseline. A request is a trace, or a session where there is none. Evals are left out.
-- grain: one row per feature, deployment and model with requests in the last hours and on three days before
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
        where age = 0 and trace_id is not null
        group by feature, deployment, model, trace_id
    )
    group by feature, deployment, model
)

select
    days.feature, -- feature; (unattributed) where no span says it
    days.deployment, -- deployment; (unattributed) where no span says it
    days.model, -- model as priced
    days.requests, -- requests in the last hours
    days.cost_usd, -- booked cost in the last hours, USD
    cast(round(days.cost_usd / days.requests, 9) as decimal(18, 9)) as cost_per_request_usd, -- cost over requests, USD
    cast(round(usual.cost, 9) as decimal(18, 9)) as expected_usd, -- usual cost of a request, USD
    cast(round(spreads.sigma, 9) as decimal(18, 9)) as sigma_usd, -- spread of the days about it, one standard deviation, USD
    traces.team, -- team of the dearest
    traces.trace_ids, -- the dearest traces
from days
inner join usual
    on days.feature = usual.feature
    and days.deployment = usual.deployment
    and days.model = usual.model
left join spreads
    on days.feature = spreads.feature
    and days.deployment = spreads.deployment
    and days.model = spreads.model
left join traces
    on days.feature = traces.feature
    and days.deployment = traces.deployment
    and days.model = traces.model
where days.age = 0 and days.cost_usd is not null
