-- Traces of the window after that show best what each driver did, in the segment that leads it or in all.
-- The drivers asked for are bound as four lists: driver, direction (1 for the most of it, -1 for the least), dimension
-- and value of its segment.
-- grain: one row per (driver, trace), three traces of a driver at most
-- reads: work_cells, requests
-- group_by: feature, customer_id, team, org, user_id, model, provider, agent_name, prompt_version, route, deployment, service_name, key_id, developer
with

asked as (
    select
        unnest($drivers::varchar[]) as driver,
        unnest($directions::integer[]) as direction,
        unnest($dimensions::varchar[]) as dimension,
        unnest($values::varchar[]) as value,
),

works as (
    select
        asked.driver,
        asked.direction,
        work_cells.work_id,
        max(work_cells.trace_id) as trace_id,
        sum(cost_usd) as cost_usd,
        coalesce(sum(cost_usd) filter (is_eval), 0) as eval_usd,
        sum(calls) filter (not is_eval) as calls,
        sum(input_tokens) filter (not is_eval) as input_tokens,
        sum(output_tokens) filter (not is_eval) as output_tokens,
        sum(input_usd) filter (not is_eval) as input_usd,
        sum(full_input_usd) filter (not is_eval) as full_input_usd,
    from work_cells
    inner join asked
        on asked.dimension is null
        {% for name in group_by %}or (asked.dimension = '{{ name }}' and {{ name }} is not distinct from asked.value)
        {% endfor %}
    where side = 'after' and calls > 0
    group by asked.driver, asked.direction, work_cells.work_id
),

scored as (
    select
        works.*,
        case driver
            when 'input tokens' then works.input_tokens / nullif(works.calls, 0)
            when 'output tokens' then works.output_tokens / nullif(works.calls, 0)
            when 'calls per request' then works.calls
            when 'cache' then works.input_usd / nullif(works.full_input_usd, 0)
            when 'unit prices' then works.cost_usd / nullif(works.input_tokens + works.output_tokens, 0)
            when 'model mix' then works.cost_usd / nullif(works.calls, 0)
            when 'success rate' then case requests.succeeded when false then 1 when true then -1 else 0 end
            when 'eval traffic' then nullif(works.eval_usd, 0)
            else works.cost_usd
        end::double as score,
    from works
    left join requests
        on works.work_id = requests.work_id
        and requests.side = 'after'
    where works.driver = 'eval traffic' or requests.work_id is not null
)

select
    driver, -- which driver
    trace_id, -- 32 hex digits
from scored
where trace_id is not null and score is not null
qualify row_number() over (partition by driver order by score * direction desc, cost_usd desc, work_id) <= 3
order by driver, score * direction desc, cost_usd desc, work_id
