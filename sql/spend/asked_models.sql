-- What models that were asked for turned out to be: the names that requests and prices have for them.
-- grain: one row per request_model and model
-- reads: bounded_calls
select distinct
    request_model, -- model asked for
    model, -- model as priced
from bounded_calls
where request_model is not null and model is not null and request_model != model
