-- What each customer brings beside what it costs: revenue, cost and gross margin.
-- Revenue is yours to say, in the file revenue.csv (or .parquet) beside your own rollups: customer_id, since, until,
-- revenue_usd. It is earned evenly over the days from since until before until; the part in the window counts.
-- grain: one row per customer
-- reads: calls, revenue
-- where: customer_id
-- headline: margin_usd
{% set bucket = "strftime(begins_at, '%Y-%m-%dT%H')" if by == "hour" else "cast(begins_at as date)" %}
with

asked as (
    select
        timezone(getvariable('tz'), getvariable('since')) as since,
        timezone(getvariable('tz'), getvariable('until')) as until,
),

buckets as (
    {% if by %}
    select
        {{ bucket }} as {{ by }},
        greatest(begins_at, since) as since,
        least(begins_at + interval 1 {{ by }}, until) as until,
    from (
        select
            unnest(range(date_trunc('{{ by }}', since), until, interval 1 {{ by }})) as begins_at,
            since,
            until,
        from asked
    ) as hours_or_days
    {% else %}
    select since, until,
    from asked
    {% endif %}
),

parts as (
    select
        {% if by %}buckets.{{ by }},{% endif %}
        revenue.customer_id,
        revenue.revenue_usd,
        epoch_us(least(buckets.until, cast(revenue.until as timestamp)))
        - epoch_us(greatest(buckets.since, cast(revenue.since as timestamp))) as part_us,
        epoch_us(cast(revenue.until as timestamp)) - epoch_us(cast(revenue.since as timestamp)) as whole_us,
    from revenue
    inner join buckets
        on cast(revenue.since as timestamp) < buckets.until
        and cast(revenue.until as timestamp) > buckets.since
    where
        getvariable('where_customer_id') is null
        or revenue.customer_id = getvariable('where_customer_id')
),

earned as (
    select
        {% if by %}{{ by }},{% endif %}
        customer_id,
        sum(
            case
                when part_us = whole_us then revenue_usd
                else cast(round(cast(revenue_usd as double) * part_us / whole_us, 9) as decimal(18, 9))
            end
        ) as revenue_usd,
    from parts
    group by all
),

spent as (
    select
        {% if by %}local_{{ by }} as {{ by }},{% endif %}
        customer_id,
        count(*) as calls,
        sum(cost_usd) as cost_usd,
        count(*) filter (cost_usd is null) as unpriced_calls,
    from calls
    group by all
),

beside as (
    select
        {% if by %}coalesce(spent.{{ by }}, earned.{{ by }}) as {{ by }},{% endif %}
        coalesce(spent.customer_id, earned.customer_id) as customer_id,
        coalesce(spent.calls, 0) as calls,
        earned.revenue_usd,
        case when spent.calls is null then 0 else spent.cost_usd end as cost_usd,
        coalesce(spent.unpriced_calls, 0) as unpriced_calls,
    from spent
    full outer join earned
        on spent.customer_id = earned.customer_id
        {% if by %}and spent.{{ by }} = earned.{{ by }}{% endif %}
)

select
    {% if by %}{{ by }}, -- {{ by }} of the calls and of the revenue in the time zone asked for
    {% endif %}
    coalesce(customer_id, '(unattributed)') as customer_id, -- customer; (unattributed) where no span says it
    revenue_usd, -- earned in the window, USD; NULL where the file says nothing
    cost_usd, -- booked cost, USD; NULL when none is known, 0 without calls
    revenue_usd - cost_usd as margin_usd, -- revenue less cost, USD; NULL where either is unknown
    round(100 * (revenue_usd - cost_usd) / nullif(revenue_usd, 0), 2) as margin_percent, -- margin in the revenue, percent
    calls, -- billable requests to a model
    unpriced_calls, -- calls of unknown cost, not in cost_usd: the margin is at most this
    case
        when revenue_usd is not null then null
        when (select count(*) from revenue) = 0 then 'no revenue file'
        when customer_id is null then 'no customer'
        else 'none in the file for this time'
    end as revenue_missing, -- why revenue_usd is NULL
from beside
order by {% if by %}{{ by }}, {% endif %}cost_usd desc, customer_id
