-- The calls of one UTC day with their cost in nano-dollars, and for those without a price at most how much they cost.
-- Such a call counts as its tokens at the dearest fresh-token price of any model of its provider that was priced that
-- day, else of any provider, else at the bound that the budgets state. Where no tokens are told it counts as
-- the dearest call, looked for in the same order, else as 10,000 tokens in and 1,000 out at that bound.
-- grain: one row per model request of the day
-- reads: calls
with

of_day as (
    select
        *,
        cast(cast(cost_usd as decimal(28, 9)) * 1000000000 as bigint) as cost,
        cast(cast(output_cost_usd as decimal(28, 9)) * 1000000000 as bigint) as output_cost,
        cast(cast(cache_savings_usd as decimal(28, 9)) * 1000000000 as bigint) as cache_savings,
        coalesce(unpriced_reason not in ('usage_missing', 'usage_implausible'), true) as has_tokens,
    from calls
    where day = $day
),

-- in nano-dollars per million tokens, rounded up; where no price tells the parts, one rate for both
model_rates as (
    select
        provider,
        model,
        case
            when has_one_rate
                then (sum(cost) * 1000000 + sum(input_tokens + output_tokens) - 1)
                    // nullif(sum(input_tokens + output_tokens), 0)
            else (sum(cost - output_cost + coalesce(cache_savings, 0)) * 1000000 + sum(input_tokens) - 1)
                // nullif(sum(input_tokens), 0)
        end as input_rate,
        case
            when has_one_rate
                then (sum(cost) * 1000000 + sum(input_tokens + output_tokens) - 1)
                    // nullif(sum(input_tokens + output_tokens), 0)
            else (sum(output_cost) * 1000000 + sum(output_tokens) - 1) // nullif(sum(output_tokens), 0)
        end as output_rate,
        max(cost) as dearest_call,
    from (
        select
            provider,
            model,
            cost,
            output_cost,
            cache_savings,
            coalesce(input_tokens, 0) as input_tokens,
            coalesce(output_tokens, 0) as output_tokens,
            output_cost is null as has_one_rate,
        from of_day
        where cost > 0
    )
    group by provider, model, has_one_rate
),

dearest as (
    select
        provider,
        max(input_rate) as input_rate,
        max(output_rate) as output_rate,
        max(dearest_call) as dearest_call,
    from model_rates
    group by provider
),

dearest_of_all as (
    select
        max(input_rate) as input_rate,
        max(output_rate) as output_rate,
        max(dearest_call) as dearest_call,
    from dearest
),

rated as (
    select
        of_day.*,
        case
            when $is_stated then cast($input_rate as hugeint)
            else coalesce(dearest.input_rate, dearest_of_all.input_rate, $input_rate)
        end as input_rate,
        case
            when $is_stated then cast($output_rate as hugeint)
            else coalesce(dearest.output_rate, dearest_of_all.output_rate, $output_rate)
        end as output_rate,
        coalesce(dearest.dearest_call, dearest_of_all.dearest_call, (cast($input_rate as hugeint) * 10 + $output_rate) // 1000)
            as dearest_call,
    from of_day
    left join dearest
        on of_day.provider = dearest.provider
    cross join dearest_of_all
)

select
    local_day, -- day on which the request started, in the budgets' time zone
    started_at, -- when the request started, UTC
    ended_at, -- when the response was complete, UTC
    status, -- OK, ERROR or UNSET
    trace_id, -- trace the request belongs to
    span_id, -- outermost span of the request
    request_model, -- model asked for
    model, -- model as priced
    provider, -- vendor that is paid
    org, -- organisation
    team, -- team
    customer_id, -- customer
    user_id, -- user
    key_id, -- virtual or API key
    tags, -- free tags
    agent_name, -- agent at the top of the run
    agent_run_id, -- the run
    coalesce(input_tokens, 0) + coalesce(output_tokens, 0) as tokens, -- sent and generated, tokens
    cost is null as is_unpriced, -- whether its cost is unknown
    coalesce(cost, 0) as cost, -- booked cost in nano-dollars; 0 where unknown
    case
        when cost is not null then 0
        when has_tokens
            then (
                coalesce(input_tokens, 0) * input_rate + coalesce(output_tokens, 0) * output_rate + 999999
            ) // 1000000
        else dearest_call
    end::bigint as bound, -- at most its cost in nano-dollars, where it is unknown
from rated
