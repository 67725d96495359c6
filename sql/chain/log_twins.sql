-- Pairs of a log record that nothing but records tells, and a span or a record of another library, in one trace or
-- session, with equal usage at the same time: one request, where no id says so. Unlike two spans, a record and a span
-- may be of one library, which says everything twice; in two traces they never are one, which may do equal things at
-- once. As with overlapping twins, whole groups are paired, each with the one nearest in time, if both are each
-- other's nearest; what a round leaves over, the next one pairs.
-- grain: one row per (record, other candidate)
-- reads: candidates, groups, usage_logs
with

grouped as (
    select
        candidates.sid,
        candidates.is_log,
        candidates.trace_id,
        candidates.session_id,
        candidates.log_id,
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
    where
        candidates.trace_id in (select trace_id from usage_logs)
        or candidates.session_id in (select session_id from usage_logs)
),

memberships as (
    select
        group_sid,
        bool_and(is_log) as is_untold,
        coalesce(list(distinct scope_name order by scope_name) filter (is_log), []) as log_scopes,
        coalesce(list(distinct response_id_family) filter (response_id_family is not null), []) as id_families,
    from grouped
    group by group_sid
),

placed as (
    select
        *,
        'trace ' || trace_id as place,
    from grouped

    union all

    select
        *,
        'session ' || session_id as place,
    from grouped
),

near as (
    select distinct
        records.sid,
        others.sid as other_sid,
        records.group_sid,
        others.group_sid as other_group_sid,
        abs(epoch_us(records.started_at) - epoch_us(others.started_at))
        + abs(epoch_us(records.ended_at) - epoch_us(others.ended_at)) as apart_us,
        records.log_id,
        coalesce(others.span_id, others.log_id) as other_id,
    from placed as records
    inner join placed as others
        on records.place = others.place
        and records.input_size = others.input_size
        and records.output_size = others.output_size
        and records.group_sid <> others.group_sid
    inner join memberships as ones
        on records.group_sid = ones.group_sid
    inner join memberships as twos
        on others.group_sid = twos.group_sid
    where
        records.is_log
        and ones.is_untold
        and coalesce(records.trace_id = others.trace_id, true)
        -- of two records the one is tried with the other once
        and (not others.is_log or records.log_id < others.log_id)
        -- milliseconds are cut off a record's instant and duration
        and records.started_at <= others.ended_at + interval 100 milliseconds
        and others.started_at <= records.ended_at + interval 100 milliseconds
        -- never two records of one library in one call
        and not list_has_any(ones.log_scopes, twos.log_scopes)
        and not list_has_any(ones.id_families, twos.id_families)
)

select
    sid,
    other_sid,
    'log_twin' as reason,
from near
qualify
    row_number() over (partition by group_sid order by apart_us, other_id, log_id) = 1
    and row_number() over (partition by other_group_sid order by apart_us, log_id, other_id) = 1
