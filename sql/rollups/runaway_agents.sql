-- Runs of agents that went away with the money: over ten times what the agent's median run cost, took in tokens, or called.
-- The median is over the agent's runs in the window; with fewer than three no run can be over ten times it. Calls of a
-- model are what a tool loop repeats. One row is (ordinary): all calls that are in no suspect run.
-- grain: one row per suspect run; one for all else
-- reads: calls
-- key: finding, agent_name, agent_run_id
-- group_by: feature, customer_id, team, org, prompt_version, deployment, service_name, traffic_type, route, user_id, key_id, developer, session_id, provider, model, operation, service_tier
with

runs as (
    select
        agent_run_id as run_id,
        coalesce(arg_min(agent_name, started_at), '(unnamed)') as agent,
        arg_min(trace_id, started_at) as run_trace_id,
        min(started_at) as run_started_at,
        count(*) as run_calls,
        sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0))::double as run_tokens,
        sum(cost_usd) as run_cost_usd,
    from calls
    where agent_run_id is not null
    group by agent_run_id
),

medians as (
    select
        agent,
        percentile_cont(0.5) within group (order by run_cost_usd::double) as median_cost,
        percentile_cont(0.5) within group (order by run_tokens) as median_tokens,
        percentile_cont(0.5) within group (order by run_calls::double) as median_calls,
    from runs
    group by agent
),

compared as (
    select
        runs.*,
        medians.median_cost,
        runs.run_cost_usd::double / nullif(medians.median_cost, 0) as times_median_cost,
        concat_ws(
            ', ',
            case when runs.run_cost_usd > 10 * medians.median_cost then 'cost' end,
            case when runs.run_tokens > 10 * medians.median_tokens then 'tokens' end,
            case when runs.run_calls > 10 * medians.median_calls then 'calls' end
        ) as over_in,
    from runs
    inner join medians
        on runs.agent = medians.agent
),

suspects as (
    select *
    from compared
    where over_in <> ''
)

select
    {% if by %}calls.local_{{ by }} as {{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    coalesce(suspects.over_in, '(ordinary)') as finding, -- what was over ten times the median: cost, tokens, calls; (ordinary) for all else
    coalesce(suspects.agent, '(all else)') as agent_name, -- agent at the top of the run
    coalesce(suspects.run_id, '(all else)') as agent_run_id, -- the run
    suspects.run_trace_id as trace_id, -- trace of its first call, for llmcost trace
    suspects.run_started_at as started_at, -- start of its first call in the window, UTC
    {% for name in group_by %}calls.{{ name }}, -- dimension asked for
    {% endfor %}
    count(*) as calls, -- billable requests to a model
    sum(calls.input_tokens)::bigint as input_tokens, -- everything sent, tokens
    sum(calls.output_tokens)::bigint as output_tokens, -- everything generated, tokens
    sum(calls.cost_usd) as cost_usd, -- booked cost, USD; NULL when none is known
    cast(round(any_value(suspects.median_cost), 9) as decimal(18, 9)) as median_run_usd, -- what the agent's median run costs, USD
    round(any_value(suspects.times_median_cost), 1) as times_median_cost, -- cost of the whole run over that
    count(*) filter (calls.cost_usd is null) as unpriced_calls, -- calls of unknown cost, not in cost_usd
from calls
left join suspects
    on calls.agent_run_id = suspects.run_id
group by
    {% if by %}calls.local_{{ by }},{% endif %}
    {% for name in group_by %}calls.{{ name }},{% endfor %}
    suspects.over_in, suspects.agent, suspects.run_id, suspects.run_trace_id, suspects.run_started_at
order by
    {% if by %}calls.local_{{ by }}, {% endif %}suspects.run_id is null, sum(calls.cost_usd) desc nulls last, suspects.run_id
    {% for name in group_by %}, calls.{{ name }}{% endfor %}
