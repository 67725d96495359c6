-- The chain of ancestors above every span that describes a model request.
-- grain: one row per (span, ancestor)
-- reads: model_spans, tree_spans
with recursive climbed as (
    select
        sid,
        parent_sid as ancestor_sid,
        1 as distance,
        false as crosses_work,
    from model_spans
    where parent_sid is not null

    union all

    select
        climbed.sid,
        tree_spans.parent_sid as ancestor_sid,
        climbed.distance + 1 as distance,
        climbed.crosses_work or tree_spans.class in ('agent', 'tool') as crosses_work,
    from climbed
    inner join tree_spans
        on climbed.ancestor_sid = tree_spans.sid
    -- 100 levels end a cycle that broken parent ids may form
    where tree_spans.parent_sid is not null and climbed.distance < 100
)

select
    sid,
    ancestor_sid,
    distance,
    crosses_work, -- an agent or a tool stands between: the span is work done inside the ancestor, not its echo
from climbed
