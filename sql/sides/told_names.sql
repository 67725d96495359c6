-- Evaluators and outcomes told of the requests of both sides, those that the poorer side has most of first.
-- grain: one row per (kind, name)
-- reads: side_requests, trace_evals, trace_outcomes
with

told as (
    select
        'evaluator' as kind,
        evaluation_name as name,
        work_id,
    from trace_evals
    where passed is not null and evaluation_name is not null

    union

    select
        'outcome' as kind,
        outcome as name,
        work_id,
    from trace_outcomes
    where succeeded is not null
)

select
    told.kind, -- evaluator or outcome
    told.name, -- which one
    count(*) filter (side_requests.side = 'baseline') as baseline_requests, -- requests of the baseline that it was told of
    count(*) filter (side_requests.side = 'candidate') as candidate_requests, -- and of the candidate
from told
inner join side_requests
    on told.work_id = side_requests.work_id
group by told.kind, told.name
order by least(baseline_requests, candidate_requests) desc, count(*) desc, told.kind, told.name
