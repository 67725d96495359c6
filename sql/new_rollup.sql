-- What each model costs, in all and per call. Say here what your rollup answers, in a sentence.
-- grain: one row per model
-- reads: calls
-- group_by: feature, customer_id, team, agent_name, service_name
--
-- That was the header: grain, what it reads, and the dimensions that --group-by may name. `reads:` takes calls,
-- traces, agent_runs, outcomes, evals, unbilled_spans, trace_outcomes, trace_evals, and your own files beside this one:
-- budget.csv is the relation budget. Its first line names the columns; dimensions and names in _id are read as text.
-- docs/tables.md says what each relation holds.
--
-- `by` (day or hour) and `group_by` (a list of the names above) are what was asked for; keep them as they stand here
-- and --by and --group-by work. Each column ends in a comment: meaning, then unit. Columns before the first number
-- name a row, for --compare; if yours do not, say `key: a, b` in the header.
--
-- Money: sum cost_usd and let the rows sum to the ledger, then `llmcost audit` holds for this file too. An unknown
-- price is NULL, never 0: count it, as unpriced_calls does.
select
    {% if by %}local_{{ by }} as {{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    coalesce(model, '(unknown)') as model, -- model as priced
    {% for name in group_by %}{{ name }}, -- dimension asked for
    {% endfor %}
    count(*) as calls, -- billable requests to a model
    sum(cost_usd) as cost_usd, -- booked cost, USD; NULL when none is known
    cast(round(sum(cost_usd) / count(*), 9) as decimal(18, 9)) as cost_per_call_usd, -- cost over calls, USD
    count(*) filter (cost_usd is null) as unpriced_calls, -- calls of unknown cost, not in cost_usd
    -- with a file budget.csv (model,budget_usd), `reads: calls, budget`, and the join below:
    -- any_value(budget.budget_usd) as budget_usd, -- what was planned, USD
from calls
-- left join budget
--     on calls.model = budget.model
group by {% if by %}local_{{ by }}, {% endif %}{% for name in group_by %}{{ name }}, {% endfor %}calls.model
order by {% if by %}{{ by }}, {% endif %}cost_usd desc, model{% for name in group_by %}, {{ name }}{% endfor %}
