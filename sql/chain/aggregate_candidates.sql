-- Candidates that are not a request but the sum of two or more requests below them.
-- grain: one row per such candidate
-- reads: candidates, ancestry, groups
with

below as (
    select
        ancestry.ancestor_sid as sid,
        coalesce(groups.group_sid, candidates.sid) as group_sid,
        max(candidates.input_size) as input_size,
        max(candidates.output_size) as output_size,
        min({'started_at': candidates.started_at, 'span_id': candidates.span_id}) as first_told,
    from ancestry
    inner join candidates
        on ancestry.sid = candidates.sid
    left join groups
        on candidates.sid = groups.sid
    where ancestry.ancestor_sid in (select sid from candidates)
    group by all
),

sums as (
    select
        sid,
        sum(input_size) as input_size,
        sum(output_size) as output_size,
        arg_min(group_sid, first_told) as first_group_sid,
    from below
    group by sid
    having count(*) > 1
)

select
    candidates.sid,
    sums.first_group_sid,
from candidates
inner join sums
    on candidates.sid = sums.sid
where
    candidates.input_size = sums.input_size
    and candidates.output_size = sums.output_size
