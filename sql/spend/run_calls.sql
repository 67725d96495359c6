-- What the calls of each agent run come to on one UTC day.
-- A retry is a failed call after which a call of the same model began in the same run.
-- grain: one row per agent_run_id
-- reads: bounded_calls
with

followed as (
    select
        *,
        status = 'ERROR'
        and coalesce(
            max(started_at) over (
                partition by agent_run_id, coalesce(request_model, model)
                order by started_at, span_id
                rows between 1 following and unbounded following
            ) >= ended_at,
            false
        ) as is_retried,
    from bounded_calls
    where agent_run_id is not null
)

select
    agent_run_id, -- the run
    arg_min(agent_name, started_at) as agent_name, -- agent at the top of the run
    sum(tokens)::bigint as tokens, -- sent and generated, tokens
    sum(cost + bound)::bigint as cost, -- in nano-dollars, what has no price at its bound
    count(*) filter (is_retried) as retries, -- failed calls that were tried again
    list_distinct(list(trace_id)) as trace_ids, -- traces with a call of the run
from followed
group by agent_run_id
