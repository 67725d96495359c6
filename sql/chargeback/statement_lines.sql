-- What each owner used in a month, in all and by feature, model and day.
-- A call of a shared feature is in no owner's part: it is the feature's. Days are local.
-- grain: one row per (owner, shared feature, kind of line, item)
-- reads: calls, mapped_work, shared_features
-- group_by: user_id, customer_id, team, org, key_id, developer, feature, route, agent_name, agent_run_id, session_id, prompt_version, deployment, traffic_type, cost_center
{% set owner = (group_by or ["team"])[0] %}
with

owned as (
    select
        calls.provider,
        calls.model,
        calls.feature,
        calls.local_day,
        calls.cost_usd,
        calls.input_tokens,
        calls.output_tokens,
        shared_features.feature as shared_feature,
        case
            when shared_features.feature is null
                then {{ "mapped_work" if owner == "cost_center" else "calls" }}.{{ owner }}
        end as owner,
    from calls
    left join shared_features
        on calls.feature = shared_features.feature
    {% if owner == "cost_center" %}
    inner join mapped_work
        on calls.local_day = mapped_work.local_day
        and calls.team is not distinct from mapped_work.team
        and calls.customer_id is not distinct from mapped_work.customer_id
        and calls.feature is not distinct from mapped_work.feature
    {% endif %}
)

select
    owner, -- whose work it is; NULL where no span says it, and for a shared feature
    shared_feature, -- the feature where it is one that was declared shared; NULL else
    case
        when grouping(feature) = 0 then 'feature'
        when grouping(model) = 0 then 'model'
        when grouping(local_day) = 0 then 'day'
        else 'total'
    end as kind, -- total, feature, model or day: what the item names
    case
        when grouping(feature) = 0 then feature
        when grouping(model) = 0 then coalesce(provider || '/', '') || model
        when grouping(local_day) = 0 then cast(local_day as varchar)
    end as item, -- the feature, the model with its provider, or the day; NULL in a total and where unknown
    count(*) as calls, -- billable requests to a model
    sum(cost_usd)::decimal(18, 9) as cost_usd, -- booked cost, USD; NULL when none is known
    count(*) filter (cost_usd is null) as unpriced_calls, -- calls of unknown cost, not in cost_usd
    coalesce(sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)) filter (cost_usd is null), 0)::bigint
        as unpriced_tokens, -- tokens of these calls, tokens
    coalesce(sum(input_tokens), 0)::bigint as input_tokens, -- sent, tokens
    coalesce(sum(output_tokens), 0)::bigint as output_tokens, -- generated, tokens
from owned
group by grouping sets (
    (owner, shared_feature),
    (owner, shared_feature, feature),
    (owner, shared_feature, provider, model),
    (owner, shared_feature, local_day)
)
order by
    owner nulls last, shared_feature nulls last, kind,
    case when kind = 'day' then item end, cost_usd desc nulls last, item
