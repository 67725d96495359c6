-- Pairs of candidates in one trace, from different scopes, with equal usage at the same time, on
-- different branches: two instrumentations of one request. Whole groups are paired, each with the one
-- nearest in time, if both are each other's nearest and share no scope; in one round all of them with groups
-- of one set of scopes, the largest first. What a round leaves over, the next one pairs: so identical requests
-- in parallel come out one by one, however many libraries tell them.
-- grain: one row per (span, other span)
-- reads: candidates, groups
with

grouped as (
    select
        candidates.sid,
        candidates.trace_id,
        candidates.span_id,
        candidates.started_at,
        candidates.ended_at,
        candidates.input_size,
        candidates.output_size,
        coalesce(candidates.scope_name, '') as scope_name,
        candidates.response_id_family,
        coalesce(groups.group_sid, candidates.sid) as group_sid,
    from candidates
    left join groups
        on candidates.sid = groups.sid
),

-- only usage that several groups and several scopes of a trace tell can have twins
alike as (
    select
        trace_id,
        input_size,
        output_size,
    from grouped
    group by trace_id, input_size, output_size
    having min(group_sid) <> max(group_sid) and min(scope_name) <> max(scope_name)
),

suspects as (
    select grouped.*
    from grouped
    semi join alike
        on grouped.trace_id = alike.trace_id
        and grouped.input_size = alike.input_size
        and grouped.output_size = alike.output_size
),

memberships as (
    select
        grouped.group_sid,
        list(distinct grouped.scope_name order by grouped.scope_name) as scopes,
        coalesce(list(distinct grouped.response_id_family) filter (grouped.response_id_family is not null), [])
            as id_families,
    from grouped
    semi join suspects
        on grouped.group_sid = suspects.group_sid
    group by grouped.group_sid
),

near as (
    select
        one.sid,
        other.sid as other_sid,
        one.group_sid,
        other.group_sid as other_group_sid,
        ones.scopes,
        one.trace_id,
        one.input_size,
        one.output_size,
        abs(epoch_us(one.started_at) - epoch_us(other.started_at))
        + abs(epoch_us(one.ended_at) - epoch_us(other.ended_at)) as apart_us,
        one.span_id,
        other.span_id as other_span_id,
    from suspects as one
    inner join suspects as other
        on one.trace_id = other.trace_id
        and one.input_size = other.input_size
        and one.output_size = other.output_size
        and one.scope_name <> other.scope_name
        and one.group_sid <> other.group_sid
    inner join memberships as ones
        on one.group_sid = ones.group_sid
    inner join memberships as others
        on other.group_sid = others.group_sid
    where
        one.started_at <= other.ended_at + interval 5 milliseconds
        and other.started_at <= one.ended_at + interval 5 milliseconds
        -- never two spans of one scope in one call
        and not list_has_any(ones.scopes, others.scopes)
        -- equal ids are one request already: two ids of one family are two requests
        and not list_has_any(ones.id_families, others.id_families)
),

anchors as (
    select
        trace_id,
        input_size,
        output_size,
        scopes,
    from near
    group by trace_id, input_size, output_size, scopes
    qualify
        row_number() over (
            partition by trace_id, input_size, output_size
            order by len(scopes) desc, count(distinct group_sid) desc, scopes
        ) = 1
)

select
    sid,
    other_sid,
    'overlapping_twin' as reason,
from near
semi join anchors
    on near.trace_id = anchors.trace_id
    and near.input_size = anchors.input_size
    and near.output_size = anchors.output_size
    and near.scopes = anchors.scopes
qualify
    row_number() over (partition by group_sid order by apart_us, other_span_id, span_id) = 1
    and row_number() over (partition by other_group_sid order by apart_us, span_id, other_span_id) = 1
