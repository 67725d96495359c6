-- What each model costs, by service tier and batch: its share, what a million tokens really cost, and list beside booked.
-- A reported cost is parted into input and output as the list price parts it; where nothing tells the parts, they are empty.
-- grain: one row per (provider, model, service tier, batch)
-- reads: calls
-- group_by: feature, customer_id, team, org, user_id, key_id, developer, route, agent_name, agent_run_id, session_id, prompt_version, deployment, service_name, traffic_type, operation
select
    {% if by %}local_{{ by }} as {{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    provider, -- vendor that is paid
    model, -- model as priced
    service_tier, -- tier that served the calls; empty where no span says it
    is_batch, -- through a batch API
    {% for name in group_by %}{{ name }}, -- dimension asked for
    {% endfor %}
    count(*) as calls, -- billable requests to a model
    sum(input_tokens)::bigint as input_tokens, -- everything sent, tokens
    sum(output_tokens)::bigint as output_tokens, -- everything generated, tokens
    sum(cost_usd) as cost_usd, -- booked cost, USD; NULL when none is known
    round(100 * sum(cost_usd) / nullif(sum(sum(cost_usd)) over (), 0), 2) as share_percent, -- of the window's cost, percent
    cast(
        round(
            1000000 * (sum(cost_usd - output_cost_usd) filter (input_tokens is not null))
            / nullif(sum(input_tokens) filter (output_cost_usd is not null), 0),
            9
        ) as decimal(18, 9)
    ) as input_per_million_usd, -- booked cost of what was sent, over a million tokens of it, cached ones included, USD
    cast(
        round(
            1000000 * (sum(output_cost_usd) filter (output_tokens is not null))
            / nullif(sum(output_tokens) filter (output_cost_usd is not null), 0),
            9
        ) as decimal(18, 9)
    ) as output_per_million_usd, -- booked cost of what was generated, over a million tokens of it, USD
    sum(list_cost_usd) as list_cost_usd, -- by the price book, of the calls that it knows, USD
    sum(cost_usd - list_cost_usd) as booked_minus_list_usd, -- over the calls that have both; below 0 is a discount, USD
    count(*) filter (cost_usd is null) as unpriced_calls, -- calls of unknown cost, not in cost_usd
from calls
group by {% if by %}local_{{ by }}, {% endif %}{% for name in group_by %}{{ name }}, {% endfor %}provider, model, service_tier, is_batch
order by
    {% if by %}{{ by }}, {% endif %}cost_usd desc, provider, model, service_tier, is_batch{% for name in group_by %}, {{ name }}{% endfor %}
