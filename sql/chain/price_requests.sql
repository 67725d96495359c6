-- The distinct things calls say about what they should cost.
-- grain: one row per (provider, models, tier, batch)
-- reads: requests
select distinct
    provider,
    response_model,
    gateway_model,
    request_model,
    service_tier,
    is_batch,
from requests
