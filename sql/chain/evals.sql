-- Evaluation results told that day by a span, a span event or a log; one score told twice is one row.
-- A score is the same where its sender's id is, else where subject, name, number and label are.
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
        evaluation_id,
        evaluation_name,
        evaluation_score,
        evaluation_label,
        evaluation_passed,
        evaluation_scores,
        ended_at as evaluated_at,
        received_at,
        'span' as carrier,
    from source_spans
    where coalesce(evaluation_name, evaluation_label, evaluation_scores) is not null

    union all

    select
        day,
        trace_id,
        span_id,
        response_id,
        evaluation_id,
        evaluation_name,
        evaluation_score,
        evaluation_label,
        evaluation_passed,
        evaluation_scores,
        occurred_at as evaluated_at,
        received_at,
        carrier,
    from source_events
    where coalesce(evaluation_name, evaluation_label, evaluation_scores) is not null
),

-- several to an attribute: one row a name
opened as (
    select
        told.*,
        unnest(
            from_json(evaluation_scores, '[{"name": "VARCHAR", "score": "VARCHAR", "label": "VARCHAR"}]')
        ) as entry,
    from told
    where evaluation_scores is not null
),

single as (
    select
        * exclude (evaluation_scores),
    from told
    where coalesce(evaluation_name, evaluation_label) is not null

    union all by name

    select
        * exclude (evaluation_scores, entry) replace (
            entry.name as evaluation_name,
            entry.score as evaluation_score,
            entry.label as evaluation_label,
            null as evaluation_passed
        ),
    from opened
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
        concat_ws(
            ' ', coalesce(trace_id, 'response ' || response_id), coalesce(span_id, '-'), evaluation, coalesce(score::varchar, '-'), label_word
        ) as said,
    from single
),

-- an event with the sender's id and a log without it are still one score
identified as (
    select
        *,
        coalesce(evaluation_id, max(evaluation_id) over (partition by said)) as known_id,
    from read
)

select
    min(day) as day, -- UTC day it was told
    arg_max(trace_id, (evaluated_at, received_at, said)) as trace_id, -- trace it is about, 32 hex digits; NULL when told by response only
    arg_max(span_id, (evaluated_at, received_at, said)) as span_id, -- span it is about
    arg_max(response_id, (evaluated_at, received_at, said)) as response_id, -- response it is about
    max(known_id) as evaluation_id, -- the sender's own id of the score
    evaluation as evaluation_name, -- evaluator or metric
    arg_max(score, (evaluated_at, received_at, said)) as score, -- number given; NULL for a label alone
    arg_max(evaluation_label, (evaluated_at, received_at, said)) as evaluation_label, -- label given
    coalesce(
        bool_or(evaluation_passed),
        bool_or(
            case
                when label_word in ('pass', 'passed', 'yes', 'true', 'correct', 'relevant', 'good', 'success') then true
                when label_word in ('fail', 'failed', 'no', 'false', 'incorrect', 'irrelevant', 'bad', 'failure')
                    then false
            end
        ),
        case when arg_max(score, (evaluated_at, received_at, said)) between 0 and 1 then arg_max(score, (evaluated_at, received_at, said)) >= 0.5 end
    ) as passed, -- whether it passed; NULL when neither word nor score says so
    max(evaluated_at) as evaluated_at, -- when it was told, UTC
    min(received_at) as received_at, -- when it was acknowledged, UTC
    min(carrier) as carrier, -- span, span_event or log
from identified
group by evaluation, coalesce('id ' || known_id, said)
order by max(evaluated_at), trace_id, evaluation
