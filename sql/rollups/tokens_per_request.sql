-- How many tokens a request takes, sent, from cache and generated: the mean, the middle and the tail.
-- A request belongs to the day it started on; what no call of it tells is left out of its figures.
-- grain: one row, or one per dimension asked for
-- reads: calls
-- group_by: feature, route, customer_id, team, org, user_id, key_id, developer, agent_name, agent_run_id, session_id, prompt_version, deployment, service_name, traffic_type, provider, model, operation, service_tier
with

dated as (
    select
        *,
        {% if by %}min(local_{{ by }}) over (partition by work_id) as begun_{{ by }},{% endif %}
    from calls
),

requests as (
    select
        {% if by %}begun_{{ by }} as {{ by }},{% endif %}
        {% for name in group_by %}{{ name }},{% endfor %}
        work_id,
        count(*) as calls,
        sum(input_tokens)::bigint as input_tokens,
        sum(cache_read_tokens)::bigint as cache_read_tokens,
        sum(output_tokens)::bigint as output_tokens,
        count(input_tokens) as calls_with_input,
        count(cache_read_tokens) as calls_with_cache_read,
        count(output_tokens) as calls_with_output,
        count(*) filter (input_tokens is null and output_tokens is null) as calls_without_usage,
        sum(cost_usd) as cost_usd,
        count(*) filter (cost_usd is null) as unpriced_calls,
    from dated
    group by all
)

select
    {% if by %}{{ by }}, -- {{ by }} on which the request started, in the time zone asked for
    {% endif %}
    {% for name in group_by %}{{ name }}, -- dimension asked for; empty where no span says it
    {% endfor %}
    count(*) as requests, -- traces with calls, sessions where there is no trace
    sum(calls)::bigint as calls, -- billable requests to a model
    round(avg(input_tokens), 1) as mean_input_tokens, -- sent for a request, tokens
    round(percentile_cont(0.5) within group (order by input_tokens::double), 1) as p50_input_tokens, -- median of them, tokens
    round(percentile_cont(0.95) within group (order by input_tokens::double), 1) as p95_input_tokens, -- 95th percentile, tokens
    round(avg(cache_read_tokens), 1) as mean_cache_read_tokens, -- part of it read from the provider's cache, tokens
    round(percentile_cont(0.5) within group (order by cache_read_tokens::double), 1) as p50_cache_read_tokens, -- median of them, tokens
    round(percentile_cont(0.95) within group (order by cache_read_tokens::double), 1)
        as p95_cache_read_tokens, -- 95th percentile, tokens
    round(avg(output_tokens), 1) as mean_output_tokens, -- generated for a request, tokens
    round(percentile_cont(0.5) within group (order by output_tokens::double), 1) as p50_output_tokens, -- median of them, tokens
    round(percentile_cont(0.95) within group (order by output_tokens::double), 1) as p95_output_tokens, -- 95th percentile, tokens
    round(sum(input_tokens) / nullif(sum(calls_with_input), 0), 1) as input_tokens_per_call, -- mean of a call, tokens
    round(sum(cache_read_tokens) / nullif(sum(calls_with_cache_read), 0), 1)
        as cache_read_tokens_per_call, -- mean of a call that tells it, tokens
    round(sum(output_tokens) / nullif(sum(calls_with_output), 0), 1) as output_tokens_per_call, -- mean of a call, tokens
    sum(calls_without_usage)::bigint as calls_without_usage, -- calls that tell no tokens
    sum(cost_usd) as cost_usd, -- booked cost, USD; NULL when none is known
    sum(unpriced_calls)::bigint as unpriced_calls, -- calls of unknown cost, not in cost_usd
from requests
group by all
having count(*) > 0
order by {% if by %}{{ by }}, {% endif %}cost_usd desc{% for name in group_by %}, {{ name }}{% endfor %}
