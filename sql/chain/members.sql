-- Which spans make up which call. A span in no pair is a call by itself.
-- The ranks put spans before log records, which fill in what spans leave out; else they order a call's members: outermost first (who asked), innermost first (who answered), and
-- best usage first (most detail, then innermost).
-- grain: one row per span of a call
-- reads: model_spans, candidates, groups, aggregate_candidates, wrappers, log_spans
with

billable as (
    select
        candidates.sid,
        groups.group_sid,
        candidates.started_at,
        candidates.ended_at,
        candidates.span_id,
        candidates.detail,
        candidates.is_log,
    from candidates
    anti join aggregate_candidates
        on candidates.sid = aggregate_candidates.sid
    left join groups
        on candidates.sid = groups.sid
),

-- requests of which no span tells the usage: failed, or streamed without it
bare as (
    select model_spans.sid
    from model_spans
    anti join wrappers
        on model_spans.sid = wrappers.sid
    where
        model_spans.class = 'model_call'
        and not model_spans.is_log
        and not model_spans.has_usage
        and coalesce(model_spans.reported_cost_usd, 0) <= 0
        and model_spans.sid not in (select span_sid from log_spans where not is_estimated)
)

select
    group_sid as call_sid,
    sid,
    true as is_grouped,
    row_number() over (partition by group_sid order by is_log, started_at, ended_at desc, span_id, sid) as outer_rank,
    row_number() over (partition by group_sid order by is_log, started_at desc, ended_at, span_id, sid) as inner_rank,
    row_number() over (partition by group_sid order by detail desc, is_log, started_at desc, ended_at, span_id, sid)
        as usage_rank,
from billable
where group_sid is not null

union all

select
    sid as call_sid,
    sid,
    false as is_grouped,
    1 as outer_rank,
    1 as inner_rank,
    1 as usage_rank,
from (
    select sid from billable where group_sid is null
    union all
    select sid from bare
)
