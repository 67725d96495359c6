-- One row per run of an agent: its calls from first to last, those of its sub-agents included.
-- grain: one row per agent_run_id, on the day its first call started
-- reads: calls
select
    min(day) as day, -- UTC day of the first call
    agent_run_id, -- id given by the application, else the outermost agent span's id
    arg_min(agent_name, started_at) as agent_name, -- agent at the top of the run
    arg_min(trace_id, started_at) as trace_id, -- trace of the first call
    min(started_at) as started_at, -- start of the first call, UTC
    max(ended_at) as ended_at, -- end of the last call, UTC
    count(*) as calls, -- billable requests
    count(*) filter (status = 'ERROR') as failed_calls, -- requests that failed
    count(*) filter (cost_usd is null) as unpriced_calls, -- requests of unknown cost
    sum(input_tokens) as input_tokens, -- everything sent, tokens
    sum(output_tokens) as output_tokens, -- everything generated, tokens
    sum(cost_usd) as cost_usd, -- booked cost of the priced calls, USD; NULL when none is priced
    arg_min(user_id, started_at) as user_id, -- first user
    arg_min(customer_id, started_at) as customer_id, -- first customer
    arg_min(feature, started_at) as feature, -- first feature
from calls
where agent_run_id is not null
group by agent_run_id
order by min(calls.started_at), agent_run_id
