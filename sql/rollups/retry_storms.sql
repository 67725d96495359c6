-- Bursts of calls that failed or were made again: what one feature, agent and model spent on trying, within minutes.
-- A call is another try when it failed; or when a call of the same model in the same trace had ended up to five minutes
-- before it, and that one had failed, or had the same input tokens. It is a storm while at least ten tries, and at least
-- half of all calls of the feature, agent and model, began within five minutes. Storms that are five minutes apart are
-- two. One row is (ordinary): all calls that are no try in a storm.
-- grain: one row per storm; one for all else
-- reads: calls
-- key: finding, feature, agent_name, model, began_at
-- group_by: customer_id, team, org, user_id, key_id, developer, route, agent_run_id, session_id, prompt_version, deployment, service_name, traffic_type, provider, operation, service_tier
with

-- a failed call knows the model that was asked for only
followed as (
    select
        *,
        coalesce(request_model, model) as asked_model,
        coalesce(status = 'ERROR', false) as is_failed,
        lag(ended_at) over (
            partition by work_id, coalesce(request_model, model) order by started_at, span_id, log_id
        ) as last_ended_at,
        lag(status) over (
            partition by work_id, coalesce(request_model, model) order by started_at, span_id, log_id
        ) as last_status,
        lag(input_tokens) over (
            partition by work_id, coalesce(request_model, model) order by started_at, span_id, log_id
        ) as last_input_tokens,
    from calls
),

-- pieces of equal length that are embedded one after the other are no tries
tried as (
    select
        *,
        is_failed
        or coalesce(
            started_at >= last_ended_at
            and started_at < last_ended_at + interval 5 minute
            and (last_status = 'ERROR' or (input_tokens = last_input_tokens and output_tokens > 0)),
            false
        ) as is_try,
    from followed
),

counted as (
    select
        *,
        sum(is_try::int) over (
            partition by feature, agent_name, asked_model
            order by started_at
            range between interval 5 minute preceding and current row
        ) as tries_of_late,
        count(*) over (
            partition by feature, agent_name, asked_model
            order by started_at
            range between interval 5 minute preceding and current row
        ) as calls_of_late,
    from tried
),

stormy as (
    select
        *,
        is_try
        and max((tries_of_late >= 10 and 2 * tries_of_late >= calls_of_late)::int) over (
            partition by feature, agent_name, asked_model
            order by started_at
            range between current row and interval 5 minute following
        ) = 1 as is_suspect,
    from counted
),

parted as (
    select
        *,
        coalesce(
            started_at > lag(started_at) over (
                partition by is_suspect, feature, agent_name, asked_model order by started_at, work_id, span_id, log_id
            ) + interval 5 minute,
            true
        ) as is_first,
    from stormy
),

numbered as (
    select
        *,
        sum(is_first::int) over (
            partition by is_suspect, feature, agent_name, asked_model
            order by started_at, work_id, span_id, log_id
            rows between unbounded preceding and current row
        ) as storm,
    from parted
),

named as (
    select
        *,
        case when is_suspect then coalesce(feature, '(unattributed)') else '(all else)' end as storm_feature,
        case when is_suspect then coalesce(agent_name, '(no agent)') else '(all else)' end as storm_agent,
        case when is_suspect then asked_model end as storm_model,
        case
            when is_suspect
                then min(started_at) over (partition by is_suspect, feature, agent_name, asked_model, storm)
        end as storm_began_at,
        case
            when not is_suspect then '(ordinary)'
            when
                2 * sum(is_failed::int) over (partition by is_suspect, feature, agent_name, asked_model, storm)
                >= count(*) over (partition by is_suspect, feature, agent_name, asked_model, storm)
                then 'failing'
            else 'repeating'
        end as what_is_found,
    from numbered
)

select
    {% if by %}local_{{ by }} as {{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    what_is_found as finding, -- failing where at least half of the storm's calls failed, else repeating; (ordinary) for all else
    storm_feature as feature, -- feature; (unattributed) where no span says it
    storm_agent as agent_name, -- agent at the top of the run; (no agent) where no span says it
    storm_model as model, -- model asked for
    storm_began_at as began_at, -- start of the storm's first call, UTC
    {% for name in group_by %}{{ name }}, -- dimension asked for
    {% endfor %}
    case when what_is_found <> '(ordinary)' then max(started_at) end as last_at, -- start of its last call, UTC
    case when what_is_found <> '(ordinary)' then min(trace_id) end as trace_id, -- one of its traces, for llmcost trace
    count(distinct work_id) as requests, -- traces with these calls, sessions where there is no trace
    count(*) as calls, -- billable requests to a model
    count(*) filter (is_failed) as failed_calls, -- those that failed
    sum(cost_usd) as cost_usd, -- booked cost, USD; NULL when none is known
    count(*) filter (cost_usd is null) as unpriced_calls, -- calls of unknown cost, not in cost_usd
from named
group by
    {% if by %}local_{{ by }},{% endif %}
    {% for name in group_by %}{{ name }},{% endfor %}
    what_is_found, storm_feature, storm_agent, storm_model, storm_began_at
order by
    {% if by %}local_{{ by }}, {% endif %}what_is_found = '(ordinary)', count(*) desc, storm_began_at, storm_feature,
    storm_agent, storm_model{% for name in group_by %}, {{ name }}{% endfor %}
