-- Model-call spans without usage of their own that stand around a span which has it, or which failed
-- with it: the request is told by the inner span. A library that writes a stream's usage on a separate
-- instant span of its own scope, beside or below the request's span, is the same case.
-- grain: one row per wrapper
-- reads: model_spans, ancestry, candidates, log_spans
with

bare as (
    select *
    from model_spans
    where
        class = 'model_call'
        and not has_usage
        and coalesce(reported_cost_usd, 0) <= 0
        and sid not in (select span_sid from log_spans)
),

around as (
    select
        bare.sid,
        inners.sid as inner_sid,
        inners.started_at as inner_started_at,
    from bare
    inner join ancestry
        on bare.sid = ancestry.ancestor_sid
    inner join model_spans as inners
        on ancestry.sid = inners.sid
    where
        not ancestry.crosses_work
        and inners.class in ('model_call', 'unmarked')
        and inners.sid not in (select sid from log_spans where is_estimated)
        and (inners.scope_name is distinct from bare.scope_name or (ancestry.distance = 1 and inners.has_usage))
),

beside as (
    select
        bare.sid,
        candidates.sid as inner_sid,
        candidates.started_at as inner_started_at,
    from bare
    inner join candidates
        on bare.trace_id = candidates.trace_id
        and bare.scope_name = candidates.scope_name
        and bare.parent_sid is not distinct from candidates.parent_sid
        and bare.request_model is not distinct from candidates.request_model
    where
        candidates.started_at = candidates.ended_at
        and bare.started_at <= candidates.started_at
        and bare.status <> 'ERROR'
    qualify row_number() over (partition by candidates.sid order by bare.started_at desc) = 1
)

select
    sid,
    arg_min(inner_sid, (inner_started_at, inner_sid)) as inner_sid,
from (from around union all from beside)
group by sid
