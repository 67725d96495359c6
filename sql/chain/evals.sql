-- Evaluation results told that day by a span, a span event or a log; one score told twice is one row.
-- Passed is the sender's word, else its label's, else a score from 0 to 1 of at least 0.5.
-- grain: one row per (trace, span, response, evaluation, score)
-- reads: source_spans, source_events
with

told as (
    select
        day,
        trace_id,
        span_id,
        response_id,
        evaluation_name,
        evaluation_score,
        evaluation_label,
        evaluation_passed,
        ended_at as evaluated_at,
        received_at,
        'span' as carrier,
    from source_spans
    where coalesce(evaluation_name, evaluation_label) is not null

    union all

    select
        day,
        trace_id,
        span_id,
        response_id,
        evaluation_name,
        evaluation_score,
        evaluation_label,
        evaluation_passed,
        occurred_at as evaluated_at,
        received_at,
        carrier,
    from source_events
    where coalesce(evaluation_name, evaluation_label) is not null
),

read as (
    select
        *,
        coalesce(evaluation_name, 'TaskCompletion') as evaluation,
        coalesce(
            try_cast(evaluation_score as double),
            case lower(evaluation_score) when 'true' then 1.0 when 'false' then 0.0 end
        ) as score,
        lower(trim(evaluation_label)) as label_word,
    from told
)

select
    min(day) as day, -- UTC day it was told
    trace_id, -- trace it is about, 32 hex digits; NULL when told by response only
    span_id, -- span it is about
    any_value(response_id) as response_id, -- response it is about
    evaluation as evaluation_name, -- evaluator or metric
    score, -- number given; NULL for a label alone
    any_value(evaluation_label) as evaluation_label, -- label given
    coalesce(
        bool_or(evaluation_passed),
        bool_or(
            case
                when label_word in ('pass', 'passed', 'yes', 'true', 'correct', 'relevant', 'good', 'success') then true
                when label_word in ('fail', 'failed', 'no', 'false', 'incorrect', 'irrelevant', 'bad', 'failure')
                    then false
            end
        ),
        case when score between 0 and 1 then score >= 0.5 end
    ) as passed, -- whether it passed; NULL when neither word nor score says so
    min(evaluated_at) as evaluated_at, -- when it was told, UTC
    min(received_at) as received_at, -- when it was acknowledged, UTC
    min(carrier) as carrier, -- span, span_event or log
from read
group by trace_id, span_id, case when trace_id is null then response_id end, evaluation, score, label_word
order by min(evaluated_at), trace_id, evaluation
