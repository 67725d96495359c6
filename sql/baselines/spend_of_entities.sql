-- What each entity that a budget can be for spent between two instants: spend_of_entities(since, until). Booked costs only.
-- A call counts once at each level, and under each of its tags; the whole lake is the org without a name.
-- grain: one row per level and value
-- reads: calls
-- argument: begin_at, finish_at
with

told as (
    select
        unnest(
            list_concat(
                [
                    {'level': 'org', 'value': ''},
                    {'level': 'org', 'value': nullif(org, '')},
                    {'level': 'team', 'value': team},
                    {'level': 'customer', 'value': customer_id},
                    {'level': 'user', 'value': user_id},
                    {'level': 'key', 'value': key_id},
                    {'level': 'agent', 'value': agent_name},
                    {'level': 'model', 'value': model},
                    {'level': 'provider', 'value': provider}
                ],
                list_transform(list_distinct(coalesce(tags, [])), lambda tag: {'level': 'tag', 'value': tag})
            )
        ) as named,
        feature,
        deployment,
        model,
        team,
        trace_id,
        cost_usd,
    from calls
    where started_at >= begin_at and started_at < finish_at
)

select
    named.level as level, -- org, team, customer, user, key, tag, agent, model or provider
    named.value as value, -- its name; empty for the whole lake
    coalesce(sum(cost_usd), 0) as cost_usd, -- booked cost, USD
    arg_max(feature, cost_usd) as feature, -- feature of the dearest call
    arg_max(deployment, cost_usd) as deployment, -- deployment of the dearest call
    arg_max(model, cost_usd) as model, -- model of the dearest call
    arg_max(team, cost_usd) as team, -- team of the dearest call
    list_distinct(max_by(trace_id, (cost_usd, trace_id), 3) filter (trace_id is not null)) as trace_ids, -- traces of the dearest calls
from told
where named.value is not null
group by named.level, named.value
