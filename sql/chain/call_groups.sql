-- Candidates grouped by the pairs found so far: spans of one group describe one request.
-- grain: one row per candidate that is in a pair
-- reads: pairs
with recursive

links as (
    select
        sid,
        other_sid,
    from pairs

    union

    select
        other_sid,
        sid,
    from pairs
),

reached as (
    select
        sid,
        sid as group_sid,
    from links

    union

    select
        reached.sid,
        links.other_sid as group_sid,
    from reached
    inner join links
        on reached.group_sid = links.sid
)

select
    sid,
    min(group_sid) as group_sid,
from reached
group by sid
