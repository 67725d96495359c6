-- What each value of a dimension spent in the last 24 hours, beside what is usual for such hours: daily_baselines('team').
-- The usual is seasonal. The 28 days before, counted back from now in whole days, give each weekday its usual spend (the
-- median of its up to four days). Days freed of their weekday's share have an average, the median of the last 14, and a
-- spread, that of the changes from week to week without the largest; both times today's weekday's share are what
-- to expect. Medians and what is left out, because the incident of last week must neither hide the next one nor make every
-- quiet day look like one. The spread is that of a forecast: larger, the fewer weeks are known. Who spends on fewer than
-- half of the days has no weekdays: the largest of those days is what to expect then.
-- grain: one row per value with spend in the last 24 hours and at least a week before
-- reads: calls
-- argument: dimension
with

told as (
    select
        case dimension
            when 'user_id' then user_id
            when 'customer_id' then customer_id
            when 'team' then team
            when 'org' then org
            when 'key_id' then key_id
            when 'developer' then developer
            when 'feature' then feature
            when 'route' then route
            when 'agent_name' then agent_name
            when 'prompt_version' then prompt_version
            when 'deployment' then deployment
            when 'service_name' then service_name
            when 'provider' then provider
            when 'model' then model
        end as value,
        (epoch_us(getvariable('now')) - epoch_us(started_at)) // 86400000000 as age,
        trace_id,
        feature,
        deployment,
        model,
        team,
        cost_usd,
    from calls
    where
        started_at > getvariable('now') - interval 29 day
        and started_at <= getvariable('now')
),

spent as (
    select
        value,
        age,
        sum(cost_usd) as cost_usd,
    from told
    where value is not null
    group by value, age
),

-- the day of the first call is no whole day, unless there were others before the window
known as (
    select
        value,
        case when max(age) = 28 then 28 else max(age) - 1 end as days,
    from spent
    group by value
    having max(age) >= 8 and min(age) = 0
),

earlier as (
    select
        value,
        days,
        unnest(range(1, days + 1)) as age,
    from known
),

filled as (
    select
        earlier.value,
        earlier.days,
        earlier.age,
        coalesce(spent.cost_usd, 0)::double as cost,
    from earlier
    left join spent
        on earlier.value = spent.value
        and earlier.age = spent.age
),

weekdays as (
    select
        value,
        age % 7 as weekday,
        percentile_cont(0.5) within group (order by cost) as usual,
        count(*) as weeks,
    from filled
    group by value, age % 7
),

averages as (
    select
        value,
        avg(usual) as average,
        max(usual) filter (weekday = 0) as usual_today,
        max(weeks) filter (weekday = 0) as weeks,
    from weekdays
    group by value
),

adjusted as (
    select
        filled.value,
        filled.age,
        filled.cost * averages.average / weekdays.usual as cost,
    from filled
    inner join weekdays
        on filled.value = weekdays.value
        and filled.age % 7 = weekdays.weekday
    inner join averages
        on filled.value = averages.value
    where weekdays.usual > 0
),

levels as (
    select
        value,
        percentile_cont(0.5) within group (order by cost) as level,
    from adjusted
    where age <= 14
    group by value
),

-- from one week to the next, because the days of one weekday lie closer to their own median than to that of other days
changes as (
    select
        later.value,
        later.cost - sooner.cost as change,
    from adjusted as later
    inner join adjusted as sooner
        on later.value = sooner.value
        and later.age + 7 = sooner.age
),

-- 1.4826 median deviations are a standard deviation where nothing is wrong
deviations as (
    select
        value,
        4 * 1.4826 * percentile_cont(0.5) within group (order by abs(change)) as farthest,
    from changes
    group by value
),

-- a change is of two days, so its variance is twice theirs
spreads as (
    select
        changes.value,
        sqrt(avg(changes.change ** 2) / 2) as sigma,
    from changes
    inner join deviations
        on changes.value = deviations.value
    where abs(changes.change) <= deviations.farthest
    group by changes.value
),

history as (
    select
        value,
        any_value(days) as days,
        2 * count(*) filter (cost > 0) < count(*) as is_sparse,
        max(cost) as most,
    from filled
    group by value
),

traces as (
    select
        value,
        max_by(trace_id, (cost_usd, trace_id), 3) as trace_ids,
    from (
        select
            value,
            trace_id,
            coalesce(sum(cost_usd), 0) as cost_usd,
        from told
        where age = 0 and trace_id is not null and value is not null
        group by value, trace_id
    )
    group by value
),

parts as (
    select
        value,
        feature,
        deployment,
        model,
        team,
        coalesce(sum(cost_usd), 0) as cost_usd,
    from told
    where age = 0 and value is not null
    group by value, feature, deployment, model, team
),

dearest as (
    select
        value,
        max_by({'feature': feature, 'deployment': deployment, 'model': model, 'team': team}, cost_usd) as part,
    from parts
    group by value
)

select
    spent.value, -- the customer, developer, agent or whatever the dimension is
    coalesce(spent.cost_usd, 0) as observed_usd, -- spent in the last 24 hours, USD
    cast(
        round(
            case
                when history.is_sparse or levels.level is null then history.most
                else levels.level * averages.usual_today / nullif(averages.average, 0)
            end,
            9
        ) as decimal(18, 9)
    ) as expected_usd, -- usual for these 24 hours, USD
    cast(round(case when history.is_sparse then history.most else coalesce(levels.level, history.most) end, 9) as decimal(18, 9))
        as average_usd, -- average of the last 14 days, weekdays evened out, USD
    cast(
        round(
            case
                when history.is_sparse or levels.level is null or averages.weeks < 2 then null
                else
                    -- what is a sum of few calls varies with the root of their number
                    spreads.sigma
                    * greatest(
                        averages.usual_today / nullif(averages.average, 0),
                        sqrt(averages.usual_today / nullif(averages.average, 0))
                    )
                    * sqrt(1 + 1.6 / averages.weeks)
            end,
            9
        ) as decimal(18, 9)
    ) as sigma_usd, -- spread of such hours about the usual, one standard deviation, USD; NULL where it is not known
    history.days, -- whole days known before, 28 at most
    dearest.part.feature as feature, -- feature of most of it
    dearest.part.deployment as deployment, -- deployment of most of it
    dearest.part.model as model, -- model of most of it
    dearest.part.team as team, -- team of most of it
    traces.trace_ids, -- its dearest traces
from spent
inner join history
    on spent.value = history.value
inner join averages
    on spent.value = averages.value
left join levels
    on spent.value = levels.value
left join spreads
    on spent.value = spreads.value
left join traces
    on spent.value = traces.value
left join dearest
    on spent.value = dearest.value
where spent.age = 0
