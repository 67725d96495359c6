-- Work that no line of the user's cost centers fits, the dearest first; what is of a shared feature needs none.
-- grain: one row per (team, customer, feature)
-- reads: calls, mapped_work, shared_features
select
    calls.team, -- team that owns the work
    calls.customer_id, -- customer or tenant
    calls.feature, -- product feature
    count(*) as calls, -- billable requests to a model
    sum(calls.cost_usd)::decimal(18, 9) as cost_usd, -- booked cost, USD; NULL when none is known
from calls
inner join mapped_work
    on calls.local_day = mapped_work.local_day
    and calls.team is not distinct from mapped_work.team
    and calls.customer_id is not distinct from mapped_work.customer_id
    and calls.feature is not distinct from mapped_work.feature
left join shared_features
    on calls.feature = shared_features.feature
where mapped_work.cost_center is null and shared_features.feature is null
group by calls.team, calls.customer_id, calls.feature
order by cost_usd desc nulls last, calls desc, calls.team, calls.customer_id, calls.feature
