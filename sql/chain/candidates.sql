-- Spans that may be billed: marked as a model call, or unmarked but naming a model, with usage or cost.
-- grain: one row per candidate span
-- reads: model_spans
select
    *,
    coalesce(input_tokens, 0) as input_size,
    coalesce(output_tokens, 0) as output_size,
from model_spans
where
    (has_usage or coalesce(reported_cost_usd, 0) > 0)
    and (class = 'model_call' or (class = 'unmarked' and coalesce(response_model, request_model, gateway_model) is not null))
