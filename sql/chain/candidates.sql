-- Spans and log records that may be billed: marked as a model call, with usage or cost, or with a log record that tells
-- it; or unmarked, but naming a model, where no span with usage stands below them (what is unmarked above a call is a
-- sum of it). A record of a request whose span holds an estimate tells nothing.
-- grain: one row per candidate span or log record
-- reads: model_spans, ancestry, log_spans
with

sums as (
    select distinct ancestry.ancestor_sid as sid
    from ancestry
    inner join model_spans
        on ancestry.sid = model_spans.sid
    where model_spans.class in ('model_call', 'unmarked') and (model_spans.has_usage or model_spans.reported_cost_usd > 0)
)

select
    model_spans.*,
    coalesce(model_spans.input_tokens, 0) as input_size,
    coalesce(model_spans.output_tokens, 0) as output_size,
from model_spans
left join sums
    on model_spans.sid = sums.sid
where
    (
        model_spans.has_usage
        or coalesce(model_spans.reported_cost_usd, 0) > 0
        or model_spans.sid in (select span_sid from log_spans where not is_estimated)
    )
    and model_spans.sid not in (select sid from log_spans where is_estimated)
    and (
        model_spans.class = 'model_call'
        or (
            model_spans.class = 'unmarked'
            and sums.sid is null
            and coalesce(model_spans.response_model, model_spans.request_model, model_spans.gateway_model) is not null
        )
    )
