-- How many tools each agent run called, and how deep its spans are nested, by the spans of its traces.
-- A span without a run of its own counts for each run of its trace.
-- grain: one row per agent_run_id
-- reads: loaded_spans, span_classes, run_traces
with recursive

spans_of_runs as (
    select distinct on (trace_id, span_id)
        trace_id,
        span_id,
        nullif(parent_span_id, '') as parent_span_id,
        scope_name,
        name,
        operation,
        agent_run_id,
    from loaded_spans
),

depths as (
    select
        trace_id,
        span_id,
        1 as depth,
    from spans_of_runs as roots
    where not exists (
        select 1
        from spans_of_runs as parents
        where parents.trace_id = roots.trace_id and parents.span_id = roots.parent_span_id
    )

    union all

    select
        children.trace_id,
        children.span_id,
        depths.depth + 1 as depth,
    from depths
    inner join spans_of_runs as children
        on depths.trace_id = children.trace_id
        and depths.span_id = children.parent_span_id
    where depths.depth < 1000
)

select
    run_traces.agent_run_id, -- the run
    count(*) filter (span_classes.class = 'tool') as tool_calls, -- spans of tools
    coalesce(max(depths.depth), 0) as depth, -- spans from a root down to the deepest
from run_traces
inner join spans_of_runs as spans
    on run_traces.trace_id = spans.trace_id
    and (spans.agent_run_id is null or spans.agent_run_id = run_traces.agent_run_id)
left join depths
    on spans.trace_id = depths.trace_id
    and spans.span_id = depths.span_id
left join span_classes
    on spans.scope_name is not distinct from span_classes.scope_name
    and spans.name is not distinct from span_classes.name
    and spans.operation is not distinct from span_classes.operation
group by run_traces.agent_run_id
