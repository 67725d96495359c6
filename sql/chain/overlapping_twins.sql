-- Pairs of candidates in one trace, from different scopes, with equal usage at the same time, on
-- different branches: two instrumentations of one request. Each takes the other only if both are each
-- other's nearest in time, so that parallel identical requests pair off one to one.
-- grain: one row per (span, other span)
-- reads: candidates, nested_groups
with

-- only traces with several scopes can have twins
crowded as (
    select trace_id
    from candidates
    group by trace_id
    having count(distinct coalesce(scope_name, '')) > 1
),

grouped as (
    select
        candidates.*,
        coalesce(nested_groups.group_sid, candidates.sid) as group_sid,
    from candidates
    semi join crowded
        on candidates.trace_id = crowded.trace_id
    left join nested_groups
        on candidates.sid = nested_groups.sid
),

group_scopes as (
    select distinct
        group_sid,
        coalesce(scope_name, '') as scope_name,
    from grouped
),

near as (
    select
        one.sid,
        other.sid as other_sid,
        one.scope_name,
        other.scope_name as other_scope_name,
        abs(epoch_us(one.started_at) - epoch_us(other.started_at))
        + abs(epoch_us(one.ended_at) - epoch_us(other.ended_at)) as apart_us,
        one.span_id,
        other.span_id as other_span_id,
    from grouped as one
    inner join grouped as other
        on one.trace_id = other.trace_id
        and one.input_size = other.input_size
        and one.output_size = other.output_size
        and one.scope_name is distinct from other.scope_name
        and one.group_sid <> other.group_sid
    left join group_scopes as scopes_of_one
        on one.group_sid = scopes_of_one.group_sid and coalesce(other.scope_name, '') = scopes_of_one.scope_name
    left join group_scopes as scopes_of_other
        on other.group_sid = scopes_of_other.group_sid and coalesce(one.scope_name, '') = scopes_of_other.scope_name
    where
        one.started_at <= other.ended_at + interval 5 milliseconds
        and other.started_at <= one.ended_at + interval 5 milliseconds
        and not (
            one.response_id is not null
            and other.response_id is not null
            and one.response_id <> other.response_id
            and one.response_id_family = other.response_id_family
        )
        -- never two spans of one scope in one call
        and scopes_of_one.group_sid is null
        and scopes_of_other.group_sid is null
)

select
    sid,
    other_sid,
    'overlapping_twin' as reason,
from near
qualify
    row_number() over (partition by sid, other_scope_name order by apart_us, other_span_id) = 1
    and row_number() over (partition by other_sid, scope_name order by apart_us, span_id) = 1
    and sid < other_sid
