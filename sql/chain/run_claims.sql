-- What agent and workflow spans say a run used, beside the calls below them: the difference is unexplained.
-- The outermost span that says anything about one run decides; what spans inside it repeat (the sum, the last
-- call, the parent's calls too) says nothing more. A span above several runs speaks for none of them.
-- A reported cost is compared with the calls' cost before any contract, which no library knows; a call of
-- unknown cost counts as nothing, so that what is said of it shows here. Without a cost, the tokens are
-- compared, and the excess is priced at what a token of the calls below it costs.
-- Up to 1% is rounding and explained: 0. Less than the calls is explained too: libraries leave calls out.
-- A span that lasts beyond the day after its first call's is compared with nothing: not all calls below it are here.
-- grain: one row per deciding span
-- reads: model_spans, ancestry, members, requests, calls
with

reporting as (
    select
        model_spans.sid,
        tree_spans.ended_at,
        model_spans.has_usage,
        coalesce(input_tokens, 0) + coalesce(output_tokens, 0) as tokens,
        reported_usd as reported_cost_usd,
    from model_spans
    inner join tree_spans
        on model_spans.sid = tree_spans.sid
    where model_spans.class in ('agent', 'workflow') and (has_usage or model_spans.reported_cost_usd > 0)
),

below as (
    select distinct
        reporting.sid,
        members.call_sid,
    from reporting
    inner join ancestry
        on reporting.sid = ancestry.ancestor_sid
    inner join members
        on ancestry.sid = members.sid
),

costed as (
    select
        requests.call_sid,
        calls.agent_run_id,
        calls.day,
        case
            when calls.cost_basis = 'contract' then coalesce(calls.reported_cost_usd, calls.list_cost_usd)
            else calls.cost_usd
        end as cost_usd,
        coalesce(calls.input_tokens, 0) + coalesce(calls.output_tokens, 0) as tokens,
    from requests
    inner join calls
        on requests.trace_id is not distinct from calls.trace_id
        and requests.span_id is not distinct from calls.span_id
        and requests.log_id is not distinct from calls.log_id
),

measured as (
    select
        below.sid,
        any_value(costed.agent_run_id) as agent_run_id,
        min(costed.day) as day,
        coalesce(sum(costed.cost_usd), 0) as cost_usd,
        sum(costed.tokens) as tokens,
        sum(costed.cost_usd) filter (costed.tokens > 0)
        / nullif(sum(costed.tokens) filter (costed.cost_usd is not null), 0) as usd_per_token,
    from below
    inner join costed
        on below.call_sid = costed.call_sid
    group by below.sid
    having count(distinct costed.agent_run_id) = 1 and count(costed.agent_run_id) = count(*)
),

inner_ones as (
    select distinct ancestry.sid
    from ancestry
    inner join measured
        on ancestry.ancestor_sid = measured.sid
)

select
    measured.agent_run_id,
    measured.day,
    reporting.sid,
    cast(
        round(
            case
                when reporting.reported_cost_usd > measured.cost_usd * 1.01
                    then cast(reporting.reported_cost_usd - measured.cost_usd as decimal(38, 18))
                when reporting.reported_cost_usd is not null then 0
                when reporting.tokens > measured.tokens * 1.01
                    then cast((reporting.tokens - measured.tokens) * measured.usd_per_token as decimal(38, 18))
                when measured.usd_per_token is not null then 0
            end,
            9
        ) as decimal(18, 9)
    ) as unexplained_usd,
from reporting
inner join measured
    on reporting.sid = measured.sid
anti join inner_ones
    on reporting.sid = inner_ones.sid
where reporting.ended_at < measured.day + interval 2 day
