-- Evaluation results with the trace they are about, by trace id, else by the response they name.
-- One score told twice, on two days, on a span and by its response's id alone, counts once.
-- grain: one row per evaluation result
-- reads: calls, evals
with

-- which call a span or a response belongs to
described as (
    select
        trace_id,
        span_id as call_span_id,
        unnest(span_ids) as span_id,
    from calls
    where trace_id in (select trace_id from evals)
),

named as (
    select
        response_id,
        min(work_id) as work_id,
        arg_min(span_id, work_id) as call_span_id,
    from calls
    where response_id in (select response_id from evals)
    group by response_id
),

linked as (
    select
        coalesce(evals.trace_id, named.work_id) as work_id,
        coalesce(
            case when coalesce(evals.trace_id, named.work_id) = named.work_id then named.call_span_id end,
            described.call_span_id,
            evals.span_id
        ) as span_id,
        evals.evaluation_id,
        evals.evaluation_name,
        evals.score,
        evals.evaluation_label,
        evals.passed,
        evals.evaluated_at,
        concat_ws(' ', coalesce(evals.score::varchar, '-'), lower(evals.evaluation_label)) as said,
    from evals
    left join named
        on evals.response_id = named.response_id
    left join described
        on evals.trace_id = described.trace_id
        and evals.span_id = described.span_id
),

identified as (
    select
        *,
        coalesce(
            'id ' || coalesce(
                evaluation_id, max(evaluation_id) over (partition by work_id, span_id, evaluation_name, said)
            ),
            concat_ws(' ', coalesce(span_id, '-'), said)
        ) as telling,
    from linked
    where work_id in (select work_id from calls)
),

latest as (
    select *
    from identified
    qualify
        row_number() over (
            partition by work_id, evaluation_name, telling
            order by evaluated_at desc, score desc nulls last, evaluation_label, passed desc nulls last
        ) = 1
)

select
    work_id, -- the trace, or `session …` where log records without a trace tell the calls
    case when work_id not like '% %' then work_id end as trace_id, -- trace with calls; NULL where there is none
    span_id, -- span it is about; a call's outermost one where it is about a call
    evaluation_name, -- evaluator or metric
    score, -- number given
    evaluation_label, -- label given
    passed, -- whether it passed; NULL when not told
    evaluated_at, -- when, UTC
    dense_rank() over (partition by work_id order by evaluation_name) as number_in_trace, -- of the evaluation
from latest
