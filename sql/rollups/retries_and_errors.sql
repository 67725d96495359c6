-- What failed, how often it was tried again, and what the work that needed another try cost.
-- A retry is a failed call after which a call of the same model began in the same trace.
-- grain: one row per provider, model and error
-- reads: calls
-- group_by: feature, route, customer_id, team, org, user_id, key_id, developer, agent_name, agent_run_id, session_id, prompt_version, deployment, service_name, traffic_type, operation, service_tier
with

-- a failed call knows the model that was asked for only
followed as (
    select
        *,
        case when status = 'ERROR' then coalesce(error_type, '(not told)') else '(no error)' end as error,
        status = 'ERROR'
        and coalesce(
            max(started_at) over (
                partition by work_id, coalesce(request_model, model)
                order by started_at, span_id, log_id
                rows between 1 following and unbounded following
            ) >= ended_at,
            false
        ) as is_retried,
    from calls
),

tried as (
    select
        *,
        sum(is_retried::int) over (partition by work_id) as retries_of_work,
        sum(cost_usd) over (partition by work_id) as cost_of_work,
    from followed
),

-- the whole work once in each row that has a retry of it
retried_work as (
    select
        {% if by %}local_{{ by }} as {{ by }},{% endif %}
        provider,
        model,
        error,
        {% for name in group_by %}{{ name }},{% endfor %}
        work_id,
        any_value(cost_of_work) as cost_usd,
    from tried
    where is_retried
    group by all
),

retried as (
    select
        * exclude (work_id, cost_usd),
        count(*) as requests,
        sum(cost_usd) as cost_usd,
    from retried_work
    group by all
),

told as (
    select
        {% if by %}local_{{ by }} as {{ by }},{% endif %}
        provider,
        model,
        error,
        {% for name in group_by %}{{ name }},{% endfor %}
        count(*) as calls,
        count(*) filter (status = 'ERROR') as failed_calls,
        count(*) filter (is_retried) as retries,
        sum(cost_usd) as cost_usd,
        count(*) filter (cost_usd is null) as unpriced_calls,
    from tried
    group by all
)

select
    {% if by %}told.{{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    told.provider, -- vendor that is paid
    told.model, -- model as priced; the one asked for where none answered
    told.error as error_type, -- class or code of the error; (no error) for calls that did not fail
    {% for name in group_by %}told.{{ name }}, -- dimension asked for
    {% endfor %}
    told.calls, -- billable requests to a model
    told.failed_calls, -- those that failed
    round(
        100 * told.failed_calls
        / sum(told.calls) over (
            partition by told.provider, told.model{% if by %}, told.{{ by }}{% endif %}{% for name in group_by %}, told.{{ name }}{% endfor %}
        ),
        2
    ) as failed_percent, -- in the calls of the model, percent
    told.retries, -- failed calls that were tried again
    told.cost_usd, -- booked cost of these calls, USD; NULL when none is known
    coalesce(retried.requests, 0) as retried_requests, -- traces in which one of these calls was tried again
    case when retried.requests is null then 0 else retried.cost_usd end as retried_requests_cost_usd, -- all that these traces cost, USD; a trace may be in several rows
    told.unpriced_calls, -- calls of unknown cost, not in cost_usd
from told
left join retried
    on told.provider is not distinct from retried.provider
    and told.model is not distinct from retried.model
    and told.error = retried.error
    {% if by %}and told.{{ by }} = retried.{{ by }}{% endif %}
    {% for name in group_by %}and told.{{ name }} is not distinct from retried.{{ name }}
    {% endfor %}
order by
    {% if by %}told.{{ by }}, {% endif %}told.failed_calls desc, told.cost_usd desc, told.provider, told.model, told.error
    {% for name in group_by %}, told.{{ name }}{% endfor %}
