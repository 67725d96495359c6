-- The requests of the two sides of a comparison: whole works, each on the side of its first call that is of either.
-- A work is whole: what was spent on it after a fallback to the other side, or on calls of neither, is its cost too.
-- Judges are eval traffic in a work that has other traffic; they choose no side. A call that is of both sides is the
-- candidate's. What a side must have is bound as baseline_… and candidate_… for each dimension, NULL where anything goes.
-- grain: one row per work
-- reads: calls
-- group_by: user_id, customer_id, team, org, key_id, developer, feature, route, agent_name, agent_run_id, session_id, prompt_version, deployment, traffic_type, provider, model, operation, service_tier, service_name, tags
{% macro matches(side) %}
        coalesce(
            true
            {% for name in group_by %}
            and (
                cast(${{ side }}_{{ name }} as varchar) is null
                or {% if name == "tags" %}list_contains(tags, ${{ side }}_{{ name }}){% else %}{{ name }} = ${{ side }}_{{ name }}{% endif %}
            )
            {% endfor %},
            false
        )
{% endmacro %}
with

marked as (
    select
        *,
        coalesce(traffic_type = 'eval', false)
        and bool_or(traffic_type is distinct from 'eval') over (partition by work_id) as is_judge,
        {{ matches("baseline") }} as of_baseline,
        {{ matches("candidate") }} as of_candidate,
    from calls
)

select
    work_id, -- the request: a trace, or a session of log records without one
    case
        when
            arg_min(of_candidate, (started_at, coalesce(span_id, log_id)))
            filter (not is_judge and (of_baseline or of_candidate))
            then 'candidate'
        else 'baseline'
    end as side, -- baseline or candidate
    any_value(trace_id) as trace_id, -- its trace, 32 hex digits; NULL where there is none
    count(*) filter (not is_judge) as calls, -- billable requests to a model, judges not among them
    count(*) filter (cost_usd is null) as unpriced_calls, -- calls of unknown cost, judges included
    case when count(*) filter (not is_judge and cost_usd is null) = 0 then sum(cost_usd) filter (not is_judge) end
        as cost_usd, -- booked cost without judges, USD; NULL where a call has no price
    case when count(*) filter (cost_usd is null) = 0 then sum(cost_usd) end
        as cost_with_judges_usd, -- booked cost of everything, USD; NULL where a call has no price
    case
        when any_value(trace_id) is not null
            then
                (
                    epoch_us(max(ended_at) filter (not is_judge)) - epoch_us(min(started_at) filter (not is_judge))
                ) / 1000.0
    end as duration_ms, -- from the start of its first call to the end of its last, ms; NULL without a trace
    bool_or(not is_judge and of_candidate) and bool_or(not is_judge and of_baseline and not of_candidate)
        as is_mixed, -- whether it has calls of both sides
from marked
group by work_id
having bool_or(not is_judge and (of_baseline or of_candidate))
