-- Evaluation results with the trace they are about, by trace id, else by the response they name.
-- grain: one row per evaluation result
-- reads: calls, evals
with

named as (
    select
        response_id,
        min(trace_id) as trace_id,
    from calls
    where response_id is not null
    group by response_id
),

linked as (
    select
        coalesce(evals.trace_id, named.trace_id) as trace_id,
        evals.span_id,
        evals.evaluation_name,
        evals.score,
        evals.evaluation_label,
        evals.passed,
        min(evals.evaluated_at) as evaluated_at,
    from evals
    left join named
        on evals.response_id = named.response_id and evals.trace_id is null
    group by all
)

select
    linked.trace_id, -- trace with calls
    linked.span_id, -- span it is about
    linked.evaluation_name, -- evaluator or metric
    linked.score, -- number given
    linked.evaluation_label, -- label given
    linked.passed, -- whether it passed; NULL when not told
    linked.evaluated_at, -- when, UTC
    dense_rank() over (partition by linked.trace_id order by linked.evaluation_name) as number_in_trace, -- of the evaluation
from linked
where linked.trace_id in (select trace_id from calls)
