-- The requests and successes of each value of one dimension: a request is the value's that most of its calls have.
-- grain: one row per (side, value)
-- reads: work_cells, requests
-- group_by: feature, customer_id, team, org, user_id, model, provider, agent_name, prompt_version, route, deployment, service_name, key_id, developer
{% set dimension = (group_by or ["model"])[0] %}
with

cells as (
    select
        side,
        work_id,
        {{ dimension }} as value,
        sum(calls) as calls,
    from work_cells
    where not is_eval and calls > 0
    group by side, work_id, {{ dimension }}
),

most_called as (
    select *
    from cells
    qualify row_number() over (partition by side, work_id order by calls desc, value nulls last) = 1
)

select
    most_called.side, -- before or after: the window
    most_called.value, -- value of the dimension
    count(*) as requests, -- requests
    count(*) filter (requests.is_success) as successes, -- of them, those that reached the outcome
from most_called
inner join requests
    on most_called.side = requests.side
    and most_called.work_id = requests.work_id
group by most_called.side, most_called.value
