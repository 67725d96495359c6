-- What each kind of span is, by its scope, name and operation; the conventions' first match wins.
-- grain: one row per distinct (scope_name, name, operation)
-- reads: loaded_spans, convention_span_rules, convention_operations
with

kinds as (
    select distinct
        scope_name,
        name,
        operation,
    from loaded_spans
),

by_rule as (
    select
        kinds.scope_name,
        kinds.name,
        kinds.operation,
        arg_min(rules.class, rules.rank) as class,
    from kinds
    inner join convention_span_rules as rules
        on coalesce(kinds.scope_name, '') glob rules.scope and coalesce(kinds.name, '') glob rules.name
    group by kinds.scope_name, kinds.name, kinds.operation
),

by_operation as (
    select
        kinds.scope_name,
        kinds.name,
        kinds.operation,
        arg_min(operations.class, operations.rank) as class,
    from kinds
    inner join convention_operations as operations
        on lower(kinds.operation) glob operations.operation
    group by kinds.scope_name, kinds.name, kinds.operation
)

select
    kinds.scope_name,
    kinds.name,
    kinds.operation,
    coalesce(by_rule.class, by_operation.class, 'unmarked') as class,
    exists (
        select 1
        from convention_evaluators as evaluators
        where coalesce(kinds.scope_name, '') glob evaluators.scope
    ) as is_evaluator_scope,
from kinds
left join by_rule
    on kinds.scope_name is not distinct from by_rule.scope_name
    and kinds.name is not distinct from by_rule.name
    and kinds.operation is not distinct from by_rule.operation
left join by_operation
    on kinds.scope_name is not distinct from by_operation.scope_name
    and kinds.name is not distinct from by_operation.name
    and kinds.operation is not distinct from by_operation.operation
