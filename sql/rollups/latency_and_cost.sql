-- How long calls take beside what they cost, by model.
-- Durations are of calls that a provider answered: failed ones and those of a gateway's cache are in the cost alone.
-- grain: one row per provider and model
-- reads: calls
-- group_by: feature, route, customer_id, team, org, user_id, key_id, developer, agent_name, agent_run_id, session_id, prompt_version, deployment, service_name, traffic_type, operation, service_tier
with

timed as (
    select
        *,
        case when status is distinct from 'ERROR' and cost_basis is distinct from 'cache_hit' then duration_ms end as answer_ms,
    from calls
)

select
    {% if by %}local_{{ by }} as {{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    provider, -- vendor that is paid
    model, -- model as priced
    {% for name in group_by %}{{ name }}, -- dimension asked for
    {% endfor %}
    count(*) as calls, -- billable requests to a model
    count(answer_ms) as timed_calls, -- those that a provider answered
    round(percentile_cont(0.5) within group (order by answer_ms), 1) as p50_ms, -- median from start to end, ms
    round(percentile_cont(0.95) within group (order by answer_ms), 1) as p95_ms, -- 95th percentile, ms
    round(percentile_cont(0.99) within group (order by answer_ms), 1) as p99_ms, -- 99th percentile, ms
    round(
        1000 * (sum(output_tokens) filter (answer_ms > 0))
        / nullif(sum(answer_ms) filter (answer_ms > 0 and output_tokens is not null), 0),
        1
    ) as output_tokens_per_second, -- generated over the time it took, first token included
    sum(cost_usd) as cost_usd, -- booked cost of all calls, USD; NULL when none is known
    cast(round(sum(cost_usd) / nullif(count(cost_usd), 0), 9) as decimal(18, 9)) as cost_per_call_usd, -- over the calls of known cost, USD
    count(*) filter (cost_usd is null) as unpriced_calls, -- calls of unknown cost, not in cost_usd
from timed
group by {% if by %}local_{{ by }}, {% endif %}{% for name in group_by %}{{ name }}, {% endfor %}provider, model
order by {% if by %}{{ by }}, {% endif %}cost_usd desc, provider, model{% for name in group_by %}, {{ name }}{% endfor %}
