-- Charges by time, owner, model and kind of token: what a cost and usage export has a row for.
-- grain: one row per (hour or day in UTC, provider, model, tier, batch, basis, tags, dimensions, kind of token, rate)
-- reads: charged_calls, call_charges
-- group_by: user_id, customer_id, team, org, key_id, developer, feature, route, agent_name, agent_run_id, session_id, prompt_version, deployment, traffic_type
select
    date_trunc('{{ by or "day" }}', charged_calls.started_at) as begins_at, -- start of the hour or day, UTC
    charged_calls.provider, -- vendor that is paid
    charged_calls.model, -- model as priced
    charged_calls.service_tier, -- tier that served the request
    charged_calls.is_batch, -- through a batch API
    charged_calls.cost_basis, -- override, contract, reported or list
    list_sort(list_distinct(coalesce(charged_calls.tags, []))) as tags, -- free tags
    {% for name in group_by %}charged_calls.{{ name }}, -- dimension asked for
    {% endfor %}
    call_charges.kind, -- kind of token
    call_charges.input_over, -- the rate holds for calls that send more than this, tokens
    call_charges.rate, -- list price of one, USD; NULL where that is not known
    count(*) as calls, -- requests that used the kind
    sum(call_charges.quantity)::hugeint as quantity, -- used of it, tokens; requests where the kind is request
    sum(call_charges.cost_nano)::hugeint as cost_nano, -- booked cost, nano-dollars
    sum(call_charges.list_nano)::hugeint as list_nano, -- by the price book, nano-dollars
from call_charges
inner join charged_calls
    on call_charges.call = charged_calls.call
group by all
order by begins_at, provider, model, service_tier, is_batch, cost_basis, tags{% for name in group_by %}, {{ name }}{% endfor %}, kind, input_over, rate
