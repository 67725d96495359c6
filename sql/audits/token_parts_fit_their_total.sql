-- Cached, audio and reasoning tokens are parts of a total, and do not exceed it.
-- grain: one row per call whose parts are more than its total
-- reads: calls
-- next: the sender counts in a way of its own: look at the spelling with llmcost trace TRACE_ID and report the library
select
    trace_id, -- trace of the call
    span_id, -- its outermost span
    model, -- model as priced
    input_tokens, -- everything sent, tokens
    cache_read_tokens, -- read from the cache, tokens
    coalesce(cache_write_5m_tokens, 0) + coalesce(cache_write_1h_tokens, 0)
        as cache_write_tokens, -- written to the cache, tokens
    audio_input_tokens, -- audio in the input, tokens
    output_tokens, -- everything generated, tokens
    reasoning_tokens, -- reasoning in the output, tokens
    audio_output_tokens, -- audio in the output, tokens
from calls
where
    coalesce(cache_read_tokens, 0) + coalesce(cache_write_5m_tokens, 0) + coalesce(cache_write_1h_tokens, 0)
    > input_tokens
    or audio_input_tokens > input_tokens
    or reasoning_tokens > output_tokens
    or audio_output_tokens > output_tokens
order by trace_id, span_id
