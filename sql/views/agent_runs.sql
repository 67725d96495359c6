-- One row per run of an agent: its calls from first to last, those of its sub-agents included; over any days.
-- grain: one row per agent_run_id
-- reads: agent_run_days
select
    min(day) as day, -- UTC day of the first call
    agent_run_id, -- id given by the application, else the outermost agent span's id
    arg_min(agent_name, started_at) as agent_name, -- agent at the top of the run
    arg_min(trace_id, started_at) as trace_id, -- trace of the first call
    min(started_at) as started_at, -- start of the first call, UTC
    max(ended_at) as ended_at, -- end of the last call, UTC
    sum(calls)::bigint as calls, -- billable requests
    sum(failed_calls)::bigint as failed_calls, -- requests that failed
    sum(unpriced_calls)::bigint as unpriced_calls, -- requests of unknown cost
    sum(input_tokens) as input_tokens, -- everything sent, tokens
    sum(output_tokens) as output_tokens, -- everything generated, tokens
    sum(cost_usd) as cost_usd, -- booked cost of the priced calls, USD; NULL when none is priced
    sum(unexplained_usd) as unexplained_usd, -- reported by its agent or workflow span beyond the calls, USD; NULL when it reports nothing
    arg_min(user_id, started_at) as user_id, -- first user
    arg_min(customer_id, started_at) as customer_id, -- first customer
    arg_min(feature, started_at) as feature, -- first feature
from agent_run_days
group by agent_run_id
