-- One row per run of an agent and UTC day: its calls of the day, those of its sub-agents included. A run over three
-- days has three rows, so that a day's rows sum to the day's calls; the relation `agent_runs` holds each run whole.
-- What its own spans report beyond these calls is unexplained_usd: a figure of its own, in no cost (run_claims).
-- grain: one row per agent_run_id and day with calls
-- reads: calls, run_claims
with

claims as (
    select
        agent_run_id,
        day,
        sum(unexplained_usd) as unexplained_usd,
    from run_claims
    group by agent_run_id, day
)

select
    calls.day, -- UTC day
    calls.agent_run_id, -- id given by the application, else the outermost agent span's id
    arg_min(calls.agent_name, (calls.started_at, calls.span_id, calls.log_id)) as agent_name, -- agent at the top of the run
    arg_min(calls.trace_id, (calls.started_at, calls.span_id, calls.log_id)) as trace_id, -- trace of the day's first call
    min(calls.started_at) as started_at, -- start of the day's first call, UTC
    max(calls.ended_at) as ended_at, -- end of the day's last call, UTC
    count(*) as calls, -- billable requests
    count(*) filter (calls.status = 'ERROR') as failed_calls, -- requests that failed
    count(*) filter (calls.cost_usd is null) as unpriced_calls, -- requests of unknown cost
    sum(calls.input_tokens) as input_tokens, -- everything sent, tokens
    sum(calls.output_tokens) as output_tokens, -- everything generated, tokens
    sum(calls.cost_usd) as cost_usd, -- booked cost of the priced calls, USD; NULL when none is priced
    cast(any_value(claims.unexplained_usd) as decimal(18, 9))
        as unexplained_usd, -- reported by its agent or workflow span beyond the calls, on the first call's day, USD; NULL when it reports nothing
    arg_min(calls.user_id, (calls.started_at, calls.span_id, calls.log_id)) as user_id, -- first user
    arg_min(calls.customer_id, (calls.started_at, calls.span_id, calls.log_id)) as customer_id, -- first customer
    arg_min(calls.feature, (calls.started_at, calls.span_id, calls.log_id)) as feature, -- first feature
from calls
left join claims
    on calls.agent_run_id = claims.agent_run_id
    and calls.day = claims.day
where calls.agent_run_id is not null
group by calls.agent_run_id, calls.day
order by min(calls.started_at), calls.agent_run_id
