-- What one success really costs: everything spent on the work, its failures included, over what it achieved.
-- A trace with several outcomes is counted in full under each; ledger_cost_usd splits it, so that it sums to the calls.
-- grain: one row per outcome
-- reads: calls, work_outcomes
-- headline: cost_per_success_usd
-- group_by: feature, customer_id, team, org, user_id, model, provider, agent_name, prompt_version, route, deployment, service_name, traffic_type, key_id, developer, agent_run_id, session_id, operation, service_tier
with

work as (
    select
        {% if by %}local_{{ by }} as {{ by }},{% endif %}
        {% for name in group_by %}{{ name }},{% endfor %}
        work_id,
        sum(cost_usd) as cost_usd,
        count(*) as calls,
        count(*) filter (cost_usd is null) as unpriced_calls,
    from calls
    group by all
),

judged as (
    select
        work.*,
        coalesce(work_outcomes.outcome, '(none yet)') as outcome,
        -- a case that is one work needs no look for its like
        case when work_outcomes.case_id <> work.work_id then work_outcomes.case_id end as shared_case_id,
        work_outcomes.succeeded,
        case when work_outcomes.number_in_case = 1 then work_outcomes.value_usd end as value_usd,
        case
            when coalesce(work_outcomes.outcomes_of_trace, 1) = 1 then work.cost_usd
            when work_outcomes.number_in_trace > 1
                then trunc(work.cost_usd * 1000000000 / work_outcomes.outcomes_of_trace)::decimal(18, 0) * 0.000000001
            else
                work.cost_usd
                - trunc(work.cost_usd * 1000000000 / work_outcomes.outcomes_of_trace)::decimal(18, 0)
                * 0.000000001 * (work_outcomes.outcomes_of_trace - 1)
        end as ledger_cost_usd,
    from work
    left join work_outcomes
        on work.work_id = work_outcomes.work_id
)

select
    {% if by %}{{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    {% for name in group_by %}{{ name }}, -- dimension asked for; empty where no span says it
    {% endfor %}
    outcome, -- which outcome; (none yet) where nothing was told
    count(*) filter (succeeded and shared_case_id is null) + count(distinct shared_case_id) filter (succeeded)
        as successes, -- cases that reached it
    count(*) filter (not succeeded and shared_case_id is null) + count(distinct shared_case_id) filter (not succeeded)
        as failures, -- cases that did not
    count(*) filter (succeeded is null and shared_case_id is null)
    + count(distinct shared_case_id) filter (succeeded is null)
        as pending, -- cases without a verdict
    sum(cost_usd) as total_cost_usd, -- spent on all of them, USD; NULL when none is known
    cast(
        round(
            sum(cost_usd)
            / nullif(
                count(*) filter (succeeded and shared_case_id is null)
                + count(distinct shared_case_id) filter (succeeded),
                0
            ),
            9
        ) as decimal(18, 9)
    )
        as cost_per_success_usd, -- total over successes, USD
    case when count(*) filter (not succeeded) > 0 then sum(cost_usd) filter (not succeeded) else 0 end
        as failure_cost_usd, -- spent on failures, USD
    sum(value_usd) filter (succeeded) as value_usd, -- what the successes are worth, USD; empty when not told
    sum(calls)::bigint as calls, -- billable requests
    sum(unpriced_calls)::bigint as unpriced_calls, -- requests of unknown cost, not in the totals
    sum(ledger_cost_usd) as ledger_cost_usd, -- this row's part of the ledger, USD
from judged
group by {% if by %}{{ by }}, {% endif %}{% for name in group_by %}{{ name }}, {% endfor %}outcome
order by {% if by %}{{ by }}, {% endif %}total_cost_usd desc, outcome{% for name in group_by %}, {{ name }}{% endfor %}
