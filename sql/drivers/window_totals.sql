-- What each window holds: its calls, and those that no decomposition can see.
-- grain: one row per side
-- reads: work_cells, requests
with

counted as (
    select
        side,
        sum(calls)::bigint as calls,
        sum(unpriced_calls)::bigint as unpriced_calls,
        sum(unpriced_tokens)::bigint as unpriced_tokens,
        sum(unsplit_calls)::bigint as unsplit_calls,
        sum(cost_usd) as cost_usd,
    from work_cells
    group by side
),

served as (
    select
        side,
        count(*) as requests,
        count(*) filter (is_success) as successes,
        count(*) filter (succeeded is null) as undecided,
    from requests
    group by side
)

select
    side, -- before or after: the window
    calls, -- calls of known cost, eval traffic included
    unpriced_calls, -- calls of unknown cost
    unpriced_tokens, -- what those sent and generated, tokens
    unsplit_calls, -- calls whose cost no price splits into input and output
    cost_usd, -- booked cost, USD
    coalesce(requests, 0) as requests, -- works with inference calls of known cost
    coalesce(successes, 0) as successes, -- of them, cases that reached the outcome
    coalesce(undecided, 0) as undecided, -- of them, those that nobody has said it of
from counted
left join served
    using (side)
