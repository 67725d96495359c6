-- What was spent on work that failed, beside work that passed: by its outcomes, and by its evaluations where it has none.
-- Work is judged whole, retries and judges included. Outcomes overrule evaluations; work some of whose verdicts are
-- good and some bad is mixed, and in neither.
-- grain: one row, or one per dimension asked for
-- reads: calls, work_outcomes, trace_evals
-- group_by: feature, route, customer_id, team, org, user_id, key_id, developer, agent_name, agent_run_id, session_id, prompt_version, deployment, service_name, traffic_type, provider, model, operation, service_tier
with

outcomes_told as (
    select
        work_id,
        bool_and(succeeded) as all_good,
        bool_or(succeeded) as any_good,
    from work_outcomes
    where succeeded is not null
    group by work_id
),

evals_told as (
    select
        work_id,
        bool_and(passed) as all_good,
        bool_or(passed) as any_good,
    from trace_evals
    where passed is not null
    group by work_id
),

judged as (
    select
        calls.*,
        case
            when outcomes_told.all_good or (outcomes_told.work_id is null and evals_told.all_good) then 'passed'
            when not outcomes_told.any_good then 'outcome_failed'
            when outcomes_told.work_id is null and not evals_told.any_good then 'eval_failed'
            when outcomes_told.work_id is not null or evals_told.work_id is not null then 'mixed'
            else 'not_judged'
        end as verdict,
    from calls
    left join outcomes_told
        on calls.work_id = outcomes_told.work_id
    left join evals_told
        on calls.work_id = evals_told.work_id
)

select
    {% if by %}local_{{ by }} as {{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    {% for name in group_by %}{{ name }}, -- dimension asked for; empty where no span says it
    {% endfor %}
    count(distinct work_id) as requests, -- traces with calls, sessions where there is no trace
    count(distinct work_id) filter (verdict in ('outcome_failed', 'eval_failed')) as failed_requests, -- those whose every verdict is bad
    sum(cost_usd) as cost_usd, -- booked cost of all, USD; NULL when none is known
    case when count(*) filter (verdict = 'passed') > 0 then sum(cost_usd) filter (verdict = 'passed') else 0 end
        as passed_cost_usd, -- spent on work whose every verdict is good, USD
    case when count(*) filter (verdict = 'outcome_failed') > 0 then sum(cost_usd) filter (verdict = 'outcome_failed') else 0 end
        as outcome_failed_cost_usd, -- on work whose every outcome failed, USD
    case when count(*) filter (verdict = 'eval_failed') > 0 then sum(cost_usd) filter (verdict = 'eval_failed') else 0 end
        as eval_failed_cost_usd, -- on work without an outcome whose every evaluation failed, USD
    case when count(*) filter (verdict = 'mixed') > 0 then sum(cost_usd) filter (verdict = 'mixed') else 0 end
        as mixed_cost_usd, -- on work with good verdicts and bad ones, USD
    case when count(*) filter (verdict = 'not_judged') > 0 then sum(cost_usd) filter (verdict = 'not_judged') else 0 end
        as not_judged_cost_usd, -- on work without a verdict, USD
    round(
        100 * coalesce(sum(cost_usd) filter (verdict in ('outcome_failed', 'eval_failed')), 0) / nullif(sum(cost_usd), 0), 2
    ) as wasted_percent, -- both kinds of failure in the cost of all, percent
    round(
        100 * coalesce(sum(cost_usd) filter (verdict in ('outcome_failed', 'eval_failed')), 0)
        / nullif(sum(cost_usd) filter (verdict <> 'not_judged'), 0),
        2
    ) as wasted_of_judged_percent, -- the same in the cost of work with a verdict, percent
    count(*) filter (cost_usd is null) as unpriced_calls, -- calls of unknown cost, not in the costs
from judged
group by all
having count(*) > 0
order by {% if by %}{{ by }}, {% endif %}cost_usd desc{% for name in group_by %}, {{ name }}{% endfor %}
