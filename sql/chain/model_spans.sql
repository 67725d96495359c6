-- Spans that describe a model request, or repeat its usage: those that tell it in attributes, and the few whose
-- provider's answer is the only word on a request.
-- grain: one row per span with usage, cost or a model call's operation
-- reads: told_spans, dumped_spans
from told_spans
union all by name
from dumped_spans
