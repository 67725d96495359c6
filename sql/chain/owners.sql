-- Whose work a call was: each dimension from the call's own spans, else the nearest ancestor, else the
-- trace where all its spans agree, else the resource.
-- Of twins the outermost tells user and feature (it is the application's), the innermost team, organisation
-- and key (it is the gateway's).
-- An agent run is the outermost agent span above the call, unless an id is given; where there is neither, a coding
-- agent's log record tells it: its prompt, else its session. Traffic below an evaluator
-- is eval traffic, unless the spans say otherwise.
-- arg_min passes over NULL: the first of the ranking that says anything.
-- grain: one row per call
-- reads: members, tree_spans, ancestry, source_spans, convention_resource_keys
with

own as (
    select
        members.call_sid,
        tree_spans.trace_id,
        tree_spans.is_evaluator_scope,
        tree_spans.user_id,
        tree_spans.customer_id,
        tree_spans.team,
        tree_spans.org,
        tree_spans.key_id,
        tree_spans.developer,
        tree_spans.feature,
        tree_spans.route,
        tree_spans.agent_name,
        tree_spans.agent_run_id,
        tree_spans.session_id,
        tree_spans.prompt_version,
        tree_spans.deployment,
        tree_spans.traffic_type,
        tree_spans.tags,
        tree_spans.log_agent_name,
        tree_spans.log_run_id,
    from members
    inner join tree_spans
        on members.sid = tree_spans.sid
    where not members.is_grouped

    union all by name

    select
        members.call_sid,
        arg_min(tree_spans.trace_id, members.outer_rank) as trace_id,
        bool_or(tree_spans.is_evaluator_scope) as is_evaluator_scope,
        arg_min(tree_spans.user_id, members.outer_rank) as user_id,
        arg_min(tree_spans.customer_id, members.outer_rank) as customer_id,
        arg_min(tree_spans.team, members.inner_rank) as team,
        arg_min(tree_spans.org, members.inner_rank) as org,
        arg_min(tree_spans.key_id, members.inner_rank) as key_id,
        arg_min(tree_spans.developer, members.outer_rank) as developer,
        arg_min(tree_spans.feature, members.outer_rank) as feature,
        arg_min(tree_spans.route, members.outer_rank) as route,
        arg_min(tree_spans.agent_name, members.outer_rank) as agent_name,
        arg_min(tree_spans.agent_run_id, members.outer_rank) as agent_run_id,
        arg_min(tree_spans.session_id, members.outer_rank) as session_id,
        arg_min(tree_spans.prompt_version, members.outer_rank) as prompt_version,
        arg_min(tree_spans.deployment, members.outer_rank) as deployment,
        arg_min(tree_spans.traffic_type, members.outer_rank) as traffic_type,
        arg_min(tree_spans.tags, members.outer_rank) as tags,
        arg_min(tree_spans.log_agent_name, members.outer_rank) as log_agent_name,
        arg_min(tree_spans.log_run_id, members.outer_rank) as log_run_id,
    from members
    inner join tree_spans
        on members.sid = tree_spans.sid
    where members.is_grouped
    group by members.call_sid
),

-- only ancestors that can add something take part
above as (
    select
        members.call_sid,
        -- the nearest ancestor first; of two members' ancestors at one distance, the outer member's
        ancestry.distance * 1000 + members.outer_rank as nearness,
        ancestors.*,
    from members
    inner join own
        on members.call_sid = own.call_sid
    inner join ancestry
        on members.sid = ancestry.sid
    inner join tree_spans as ancestors
        on ancestry.ancestor_sid = ancestors.sid
    where
        ancestors.class in ('agent', 'evaluator')
        or ancestors.is_evaluator_scope
        or (own.user_id is null and ancestors.user_id is not null)
        or (own.customer_id is null and ancestors.customer_id is not null)
        or (own.team is null and ancestors.team is not null)
        or (own.org is null and ancestors.org is not null)
        or (own.key_id is null and ancestors.key_id is not null)
        or (own.developer is null and ancestors.developer is not null)
        or (own.feature is null and ancestors.feature is not null)
        or (own.route is null and ancestors.route is not null)
        or (own.agent_name is null and ancestors.agent_name is not null)
        or (own.agent_run_id is null and ancestors.agent_run_id is not null)
        or (own.session_id is null and ancestors.session_id is not null)
        or (own.prompt_version is null and ancestors.prompt_version is not null)
        or (own.deployment is null and ancestors.deployment is not null)
        or (own.traffic_type is null and ancestors.traffic_type is not null)
        or (own.tags is null and ancestors.tags is not null)
),

inherited as (
    select
        call_sid,
        arg_max(span_id, nearness) filter (class = 'agent') as outermost_agent_span_id,
        arg_max(agent_name, nearness) filter (class = 'agent') as outermost_agent_name,
        bool_or(class = 'evaluator' or is_evaluator_scope) as is_below_evaluator,
        arg_min(user_id, nearness) as user_id,
        arg_min(customer_id, nearness) as customer_id,
        arg_min(team, nearness) as team,
        arg_min(org, nearness) as org,
        arg_min(key_id, nearness) as key_id,
        arg_min(developer, nearness) as developer,
        arg_min(feature, nearness) as feature,
        arg_min(route, nearness) as route,
        arg_min(agent_name, nearness) as agent_name,
        arg_min(agent_run_id, nearness) as agent_run_id,
        arg_min(session_id, nearness) as session_id,
        arg_min(prompt_version, nearness) as prompt_version,
        arg_min(deployment, nearness) as deployment,
        arg_min(traffic_type, nearness) as traffic_type,
        arg_min(tags, nearness) as tags,
    from above
    group by call_sid
),

branched as (
    select trace_id
    from tree_spans
    where not is_log
    group by trace_id
    having count(*) > 1
),

of_the_trace as (
    select
        tree_spans.trace_id,
        case when min(user_id) = max(user_id) then min(user_id) end as user_id,
        case when min(customer_id) = max(customer_id) then min(customer_id) end as customer_id,
        case when min(team) = max(team) then min(team) end as team,
        case when min(org) = max(org) then min(org) end as org,
        case when min(key_id) = max(key_id) then min(key_id) end as key_id,
        case when min(developer) = max(developer) then min(developer) end as developer,
        case when min(feature) = max(feature) then min(feature) end as feature,
        case when min(route) = max(route) then min(route) end as route,
        case when min(session_id) = max(session_id) then min(session_id) end as session_id,
        case when min(deployment) = max(deployment) then min(deployment) end as deployment,
    from tree_spans
    semi join branched
        on tree_spans.trace_id = branched.trace_id
    where not tree_spans.is_log
    group by tree_spans.trace_id
),

resources as (
    select
        members.call_sid,
        source_spans.resource_attributes::varchar as resource,
        source_spans.resource_attributes,
        source_spans.service_name,
    from members
    inner join source_spans
        on members.sid = source_spans.sid
    where members.outer_rank = 1
),

resource_entries as (
    select
        distinct_resources.resource,
        unnest(map_entries(distinct_resources.resource_attributes)) as entry,
    from (
        select
            resource,
            any_value(resource_attributes) as resource_attributes,
        from resources
        group by resource
    ) as distinct_resources
),

of_the_resource as (
    select
        resource_entries.resource,
        arg_min(resource_entries.entry.value, keys.rank) filter (keys.dimension = 'user_id') as user_id,
        arg_min(resource_entries.entry.value, keys.rank) filter (keys.dimension = 'customer_id') as customer_id,
        arg_min(resource_entries.entry.value, keys.rank) filter (keys.dimension = 'team') as team,
        arg_min(resource_entries.entry.value, keys.rank) filter (keys.dimension = 'org') as org,
        arg_min(resource_entries.entry.value, keys.rank) filter (keys.dimension = 'key_id') as key_id,
        arg_min(resource_entries.entry.value, keys.rank) filter (keys.dimension = 'developer') as developer,
        arg_min(resource_entries.entry.value, keys.rank) filter (keys.dimension = 'feature') as feature,
        arg_min(resource_entries.entry.value, keys.rank) filter (keys.dimension = 'route') as route,
        arg_min(resource_entries.entry.value, keys.rank) filter (keys.dimension = 'agent_name') as agent_name,
        arg_min(resource_entries.entry.value, keys.rank) filter (keys.dimension = 'agent_run_id') as agent_run_id,
        arg_min(resource_entries.entry.value, keys.rank) filter (keys.dimension = 'session_id') as session_id,
        arg_min(resource_entries.entry.value, keys.rank) filter (keys.dimension = 'prompt_version') as prompt_version,
        arg_min(resource_entries.entry.value, keys.rank) filter (keys.dimension = 'deployment') as deployment,
        arg_min(resource_entries.entry.value, keys.rank) filter (keys.dimension = 'traffic_type') as traffic_type,
    from resource_entries
    inner join convention_resource_keys as keys
        on resource_entries.entry.key = keys.key
    where resource_entries.entry.value <> ''
    group by resource_entries.resource
)

select
    own.call_sid,
    resources.service_name,
    coalesce(own.user_id, inherited.user_id, of_the_trace.user_id, of_the_resource.user_id) as user_id,
    coalesce(own.customer_id, inherited.customer_id, of_the_trace.customer_id, of_the_resource.customer_id) as customer_id,
    coalesce(own.team, inherited.team, of_the_trace.team, of_the_resource.team) as team,
    coalesce(own.org, inherited.org, of_the_trace.org, of_the_resource.org) as org,
    coalesce(own.key_id, inherited.key_id, of_the_trace.key_id, of_the_resource.key_id) as key_id,
    coalesce(own.developer, inherited.developer, of_the_trace.developer, of_the_resource.developer) as developer,
    coalesce(own.feature, inherited.feature, of_the_trace.feature, of_the_resource.feature) as feature,
    coalesce(own.route, inherited.route, of_the_trace.route, of_the_resource.route) as route,
    coalesce(inherited.outermost_agent_name, own.agent_name, inherited.agent_name, of_the_resource.agent_name, own.log_agent_name) as agent_name,
    coalesce(own.agent_run_id, inherited.agent_run_id, inherited.outermost_agent_span_id, of_the_resource.agent_run_id, own.log_run_id) as agent_run_id,
    coalesce(own.session_id, inherited.session_id, of_the_trace.session_id, of_the_resource.session_id) as session_id,
    coalesce(own.prompt_version, inherited.prompt_version, of_the_resource.prompt_version) as prompt_version,
    coalesce(own.deployment, inherited.deployment, of_the_trace.deployment, of_the_resource.deployment) as deployment,
    case
        when lower(coalesce(own.traffic_type, inherited.traffic_type, of_the_resource.traffic_type)) in ('eval', 'evals', 'evaluation') then 'eval'
        when coalesce(own.traffic_type, inherited.traffic_type, of_the_resource.traffic_type) is not null then lower(coalesce(own.traffic_type, inherited.traffic_type, of_the_resource.traffic_type))
        when own.is_evaluator_scope or inherited.is_below_evaluator then 'eval'
        else 'inference'
    end as traffic_type,
    coalesce(own.tags, inherited.tags) as tags,
from own
left join inherited
    on own.call_sid = inherited.call_sid
left join of_the_trace
    on own.trace_id = of_the_trace.trace_id
left join resources
    on own.call_sid = resources.call_sid
left join of_the_resource
    on resources.resource = of_the_resource.resource
