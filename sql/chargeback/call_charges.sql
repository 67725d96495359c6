-- The cost of each charged call taken apart into its kinds of tokens, so that the charges sum to the call.
-- Each side of a call, input and output, is taken apart by list prices: whole nano-dollars, what is left on the largest.
-- A side that no list price takes apart is one charge of all its tokens; so is a call of which no price tells the sides.
-- grain: one row per (call, kind) that was used or cost
-- reads: charged_calls, token_kinds
with

weighed as (
    select
        call,
        is_output,
        sum(weight) as weight,
        min(weight) >= 0 as fits,
    from token_kinds
    group by call, is_output
),

sides as (
    select
        call,
        false as is_output,
        is_divided,
        sent_quantity as quantity,
        input_quantity >= 0 as fits,
        cost_nano - output_nano as side_nano,
    from charged_calls

    union all

    select
        call,
        true as is_output,
        is_divided,
        generated_quantity as quantity,
        output_quantity >= 0 as fits,
        output_nano as side_nano,
    from charged_calls
),

priced_sides as (
    select
        sides.* exclude (fits),
        sides.fits and coalesce(weighed.fits, true) as fits,
        coalesce(weighed.weight, 0) as weight,
    from sides
    left join weighed
        on sides.call = weighed.call
        and sides.is_output = weighed.is_output
),

judged_sides as (
    select
        *,
        is_divided and fits and (weight > 0 or side_nano = 0) as is_apart,
    from priced_sides
),

apart as (
    select
        token_kinds.call,
        token_kinds.place,
        token_kinds.kind,
        token_kinds.quantity,
        token_kinds.input_over,
        token_kinds.weight,
        case when token_kinds.is_listed then token_kinds.rate end as rate,
        judged_sides.side_nano,
        judged_sides.is_output,
        case when judged_sides.weight > 0 then judged_sides.side_nano * token_kinds.weight // judged_sides.weight else 0 end
            as floor_nano,
    from token_kinds
    inner join judged_sides
        on token_kinds.call = judged_sides.call
        and token_kinds.is_output = judged_sides.is_output
    where judged_sides.is_apart
),

whole as (
    select
        call,
        place,
        kind,
        quantity,
        input_over,
        rate,
        floor_nano
        + case
            when row_number() over (partition by call, is_output order by weight desc, place) = 1
                then side_nano - sum(floor_nano) over (partition by call, is_output)
            else 0
        end as cost_nano,
    from apart

    union all

    -- a side in one piece; where it has no tokens, what it cost is of the request
    select
        call,
        case when quantity > 0 then 10 else 1 end as place,
        case when quantity = 0 then 'request' when is_output then 'all_output' else 'all_input' end as kind,
        case when quantity > 0 then quantity else 1 end as quantity,
        0 as input_over,
        null as rate,
        side_nano as cost_nano,
    from judged_sides
    where is_divided and not is_apart and (quantity > 0 or side_nano > 0)

    union all

    select
        call,
        case when sent_quantity + generated_quantity > 0 then 11 else 1 end as place,
        case when sent_quantity + generated_quantity > 0 then 'all_tokens' else 'request' end as kind,
        case when sent_quantity + generated_quantity > 0 then sent_quantity + generated_quantity else 1 end as quantity,
        0 as input_over,
        null as rate,
        cost_nano,
    from charged_calls
    where not is_divided
),

shared as (
    select
        whole.*,
        charged_calls.list_nano,
        case
            when charged_calls.cost_nano > 0
                then charged_calls.list_nano * whole.cost_nano // charged_calls.cost_nano
            else 0
        end as list_floor_nano,
    from whole
    inner join charged_calls
        on whole.call = charged_calls.call
)

select
    call, -- number of the call
    kind, -- a kind of token; request; or all_input, all_output and all_tokens, which no price takes apart
    coalesce(input_over, 0) as input_over, -- the rate holds for calls that send more than this, tokens
    rate, -- list price of one that the call was booked under, USD; NULL where that is not known
    quantity, -- used of it, tokens; of a request 1
    cost_nano, -- booked cost of it, nano-dollars
    list_floor_nano
    + case
        when row_number() over (partition by call order by cost_nano desc, place) = 1
            then list_nano - sum(list_floor_nano) over (partition by call)
        else 0
    end as list_nano, -- its part of the call's list cost, nano-dollars
from shared
