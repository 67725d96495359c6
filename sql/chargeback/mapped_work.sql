-- The cost center of each kind of work: of the user's lines that fit it, the one that says most of it.
-- A line fits where each of team, customer_id and feature that it names is the work's, and its days hold the work's.
-- Of two lines that say as much the one that stands first counts.
-- grain: one row per (local day, team, customer, feature) that a call has
-- reads: calls, cost_centers
with

numbered as (
    select
        *,
        row_number() over () as line,
        (team is not null)::int + (customer_id is not null)::int + (feature is not null)::int as said,
    from cost_centers
),

worked as (
    select distinct
        local_day,
        team,
        customer_id,
        feature,
    from calls
)

select
    worked.local_day, -- day of the calls in the session's time zone
    worked.team, -- team that owns the work
    worked.customer_id, -- customer or tenant
    worked.feature, -- product feature
    numbered.cost_center, -- who pays for it; NULL where no line fits
from worked
left join numbered
    on (numbered.team is null or numbered.team = worked.team)
    and (numbered.customer_id is null or numbered.customer_id = worked.customer_id)
    and (numbered.feature is null or numbered.feature = worked.feature)
    and (numbered.since is null or numbered.since <= worked.local_day)
    and (numbered.until is null or numbered.until > worked.local_day)
qualify row_number() over (
    partition by worked.local_day, worked.team, worked.customer_id, worked.feature
    order by numbered.said desc nulls last, numbered.line
) = 1
