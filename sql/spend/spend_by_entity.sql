-- What one UTC day's calls count for at each level that can be capped, whole lake included (org without a name).
-- A call counts once at each level, and under each of its tags.
-- grain: one row per local day, level and entity
-- reads: bounded_calls
with

alike as (
    select
        local_day,
        org,
        team,
        customer_id,
        user_id,
        key_id,
        list_sort(list_distinct(coalesce(tags, []))) as tags,
        agent_name,
        model,
        provider,
        count(*) as calls,
        count(*) filter (is_unpriced) as unpriced_calls,
        sum(cost) as cost,
        sum(bound) as bound,
    from bounded_calls
    group by all
),

counted as (
    select
        local_day,
        calls,
        unpriced_calls,
        cost,
        bound,
        unnest(
            list_concat(
                [
                    {'level': 'org', 'entity': ''},
                    {'level': 'org', 'entity': nullif(org, '')},
                    {'level': 'team', 'entity': team},
                    {'level': 'customer', 'entity': customer_id},
                    {'level': 'user', 'entity': user_id},
                    {'level': 'key', 'entity': key_id},
                    {'level': 'agent', 'entity': agent_name},
                    {'level': 'model', 'entity': model},
                    {'level': 'provider', 'entity': provider}
                ],
                list_transform(tags, lambda tag: {'level': 'tag', 'entity': tag})
            )
        ) as named,
    from alike
)

select
    local_day, -- day on which the requests started, in the budgets' time zone
    named.level as level, -- org, team, customer, user, key, tag, agent, model or provider
    named.entity as entity, -- its name; empty for the whole lake
    sum(calls)::bigint as calls, -- billable requests
    sum(unpriced_calls)::bigint as unpriced_calls, -- those of unknown cost
    sum(cost)::bigint as cost, -- booked cost in nano-dollars
    sum(bound)::bigint as bound, -- at most the cost of those without a price, in nano-dollars
from counted
where named.entity is not null and list_contains($levels, named.level)
group by local_day, named.level, named.entity
