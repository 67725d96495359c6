-- What one passed evaluation costs: the evaluated work and its judges, over the passes.
-- A trace with several evaluations is counted in full under each; ledger_cost_usd gives it to the first by name.
-- grain: one row per evaluation
-- reads: calls, trace_evals
-- headline: cost_per_pass_usd
-- group_by: prompt_version, model, provider, feature, agent_name, customer_id, team, deployment, service_name, route, org, user_id, key_id, developer, agent_run_id, session_id, traffic_type, operation, service_tier
with

work as (
    select
        {% if by %}local_{{ by }} as {{ by }},{% endif %}
        {% for name in group_by %}{{ name }},{% endfor %}
        work_id,
        sum(cost_usd) as cost_usd,
        case when count(*) filter (traffic_type = 'eval') > 0 then sum(cost_usd) filter (traffic_type = 'eval') else 0 end
            as eval_cost_usd,
        count(*) filter (cost_usd is null) as unpriced_calls,
    from calls
    group by all
),

verdicts as (
    select
        work_id,
        evaluation_name,
        min(number_in_trace) as number_in_trace,
        count(*) as evals,
        count(*) filter (passed) as passed,
        count(*) filter (not passed) as failed,
        sum(score) as score,
        count(score) as scores,
    from trace_evals
    group by work_id, evaluation_name
)

select
    {% if by %}work.{{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    coalesce(verdicts.evaluation_name, '(not evaluated)') as evaluation_name, -- evaluator or metric
    {% for name in group_by %}work.{{ name }}, -- dimension asked for
    {% endfor %}
    coalesce(sum(verdicts.evals), 0)::bigint as evals, -- results
    coalesce(sum(verdicts.passed), 0)::bigint as passed, -- results that passed
    coalesce(sum(verdicts.failed), 0)::bigint as failed, -- results that did not
    round(sum(verdicts.score) / nullif(sum(verdicts.scores), 0), 4) as mean_score, -- mean of the numbers given
    sum(work.cost_usd) as total_cost_usd, -- evaluated work and judges, USD; NULL when none is known
    sum(work.eval_cost_usd) as eval_cost_usd, -- eval traffic within it, USD
    cast(round(sum(work.cost_usd) / nullif(sum(verdicts.passed), 0), 9) as decimal(18, 9))
        as cost_per_pass_usd, -- total over passes, USD
    sum(work.unpriced_calls)::bigint as unpriced_calls, -- calls of unknown cost, not in the totals
    case
        when count(*) filter (coalesce(verdicts.number_in_trace, 1) = 1) > 0
            then sum(work.cost_usd) filter (coalesce(verdicts.number_in_trace, 1) = 1)
        else 0
    end as ledger_cost_usd, -- this row's part of the ledger, USD
from work
left join verdicts
    on work.work_id = verdicts.work_id
group by {% if by %}work.{{ by }}, {% endif %}{% for name in group_by %}work.{{ name }}, {% endfor %}verdicts.evaluation_name
order by {% if by %}{{ by }}, {% endif %}total_cost_usd desc, evaluation_name{% for name in group_by %}, work.{{ name }}{% endfor %}
