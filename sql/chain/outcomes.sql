-- What was said about how work ended: every outcome.<name> told that day by a span, a span event, a log
-- or a file.
-- A later row for the same trace and outcome revises an earlier one; readers take the latest.
-- grain: one row per telling of one outcome
-- reads: source_spans, source_events
with

told as (
    select
        day,
        trace_id,
        span_id,
        session_id,
        response_id,
        ended_at as observed_at,
        received_at,
        'span' as carrier,
        outcome_attributes,
    from source_spans
    where outcome_attributes is not null and cardinality(outcome_attributes) > 0

    union all

    select
        day,
        trace_id,
        span_id,
        session_id,
        response_id,
        occurred_at as observed_at,
        received_at,
        carrier,
        outcome_attributes,
    from source_events
    where outcome_attributes is not null and cardinality(outcome_attributes) > 0
),

entries as (
    select
        told.*,
        unnest(map_entries(told.outcome_attributes)) as entry,
    from told
),

named as (
    select
        *,
        entry.key as outcome,
        lower(trim(entry.value)) as word,
    from entries
    where entry.key not in ('value', 'value_usd', 'name', 'success', 'reason', 'comment', 'id')

    union all

    -- the two-attribute form: outcome.name = "resolved", outcome.success = true
    select
        *,
        outcome_attributes['name'] as outcome,
        lower(trim(entry.value)) as word,
    from entries
    where entry.key = 'success' and outcome_attributes['name'] is not null
)

select distinct
    day, -- UTC day it was told
    trace_id, -- trace it is about, 32 hex digits; NULL when told by session or response
    span_id, -- span that told it
    session_id, -- session it is about
    response_id, -- response it is about
    outcome, -- which outcome: resolved, accepted, …
    case
        when word in ('true', '1', 'yes', 'pass', 'passed', 'success', 'succeeded') then true
        when word in ('false', '0', 'no', 'fail', 'failed', 'failure') then false
    end as succeeded, -- whether it was reached; NULL while pending
    cast(
        try_cast(
            coalesce(outcome_attributes[outcome || '.value_usd'], outcome_attributes['value_usd'], outcome_attributes['value'])
            as decimal(38, 9)
        ) as decimal(18, 9)
    ) as value_usd, -- what it is worth, USD; NULL when not told
    observed_at, -- when it was told, UTC
    received_at, -- when it was acknowledged, UTC
    carrier, -- span, span_event, log or file
from named
where
    word in ('true', '1', 'yes', 'pass', 'passed', 'success', 'succeeded', 'false', '0', 'no', 'fail', 'failed', 'failure')
    or word in ('pending', 'unknown', '')
order by observed_at, trace_id, outcome
