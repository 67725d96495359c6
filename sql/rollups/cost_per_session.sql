-- What each session or conversation costs, how long it lasted, and how it ended.
-- grain: one row per session
-- reads: calls, work_outcomes
-- group_by: feature, customer_id, team, org, user_id, key_id, developer, route, agent_name, agent_run_id, prompt_version, deployment, service_name, traffic_type, provider, model, operation, service_tier
with

spent as (
    select
        {% if by %}local_{{ by }} as {{ by }},{% endif %}
        session_id,
        {% for name in group_by %}{{ name }},{% endfor %}
        min(started_at) as started_at,
        max(ended_at) as ended_at,
        count(distinct work_id) as turns,
        count(*) as calls,
        sum(cost_usd) as cost_usd,
        count(*) filter (cost_usd is null) as unpriced_calls,
    from calls
    group by all
),

sessions as (
    select distinct
        session_id,
        work_id,
    from calls
    where session_id is not null
),

-- the last word on each outcome, whichever turn it was told of
verdicts as (
    select
        sessions.session_id,
        work_outcomes.outcome,
        work_outcomes.succeeded,
    from sessions
    inner join work_outcomes
        on sessions.work_id = work_outcomes.work_id
    qualify
        row_number() over (
            partition by sessions.session_id, work_outcomes.outcome
            order by work_outcomes.observed_at desc, work_outcomes.succeeded desc nulls last
        ) = 1
),

judged as (
    select
        session_id,
        string_agg(
            outcome || case when succeeded then ' yes' when not succeeded then ' no' else ' pending' end, ', '
            order by outcome
        ) as outcomes,
    from verdicts
    group by session_id
)

select
    {% if by %}spent.{{ by }}, -- {{ by }} of the call in the time zone asked for
    {% endif %}
    coalesce(spent.session_id, '(unattributed)') as session_id, -- session; (unattributed) where no span says it
    {% for name in group_by %}spent.{{ name }}, -- dimension asked for
    {% endfor %}
    spent.started_at, -- start of its first call, UTC
    spent.ended_at, -- end of its last call, UTC
    case
        when spent.session_id is not null then (epoch_us(spent.ended_at) - epoch_us(spent.started_at)) / 1000.0
    end as duration_ms, -- from first start to last end, pauses included, ms; empty for (unattributed)
    spent.turns, -- traces with calls, sessions where there is no trace
    spent.calls, -- billable requests to a model
    spent.cost_usd, -- booked cost, USD; NULL when none is known
    cast(round(spent.cost_usd / spent.turns, 9) as decimal(18, 9)) as cost_per_turn_usd, -- cost over turns, USD
    judged.outcomes, -- the last word on each outcome: yes, no or pending; empty where nothing was told
    spent.unpriced_calls, -- calls of unknown cost, not in cost_usd
from spent
left join judged
    on spent.session_id = judged.session_id
order by {% if by %}spent.{{ by }}, {% endif %}spent.cost_usd desc, session_id{% for name in group_by %}, spent.{{ name }}{% endfor %}
