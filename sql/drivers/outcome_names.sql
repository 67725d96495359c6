-- The outcomes told for requests of the two windows, the one told most often first.
-- grain: one row per outcome
-- reads: work_cells, told_outcomes
select
    outcome, -- which outcome
    count(*) as requests, -- requests it was told for
from told_outcomes
where work_id in (select work_id from work_cells where not is_eval and calls > 0)
group by outcome
order by requests desc, outcome
