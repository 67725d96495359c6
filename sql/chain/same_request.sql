-- Pairs of candidates that describe one and the same model request, by its id or by nesting.
-- Conflicting ids are two ids of one family (chatcmpl-…, msg_…): libraries that make up their own id
-- use a family of their own, and do not contradict the provider's.
-- grain: one row per (span, other span, reason)
-- reads: candidates, ancestry
with

shared_ids as (
    select
        response_id,
        min(sid) as first_sid,
    from candidates
    where response_id is not null
    group by response_id
    -- an id on more spans than any stack of wrappers has identifies nothing
    having count(*) between 2 and 64
),

by_id as (
    select
        shared_ids.first_sid as sid,
        candidates.sid as other_sid,
        'same_response_id' as reason,
    from candidates
    inner join shared_ids
        on candidates.response_id = shared_ids.response_id and candidates.sid <> shared_ids.first_sid
),

nested as (
    select
        outers.sid,
        inners.sid as other_sid,
        'nested_same_usage' as reason,
    from ancestry
    inner join candidates as inners
        on ancestry.sid = inners.sid
    inner join candidates as outers
        on ancestry.ancestor_sid = outers.sid
    where
        (
            (outers.input_size = inners.input_size and outers.output_size = inners.output_size)
            or (
                outers.scope_name is distinct from inners.scope_name
                and (
                    (outers.input_size = inners.input_size and inners.input_size > 0)
                    or (outers.output_size = inners.output_size and inners.output_size > 0)
                )
            )
        )
        and not (
            outers.response_id is not null
            and inners.response_id is not null
            and outers.response_id <> inners.response_id
            and outers.response_id_family = inners.response_id_family
        )
    -- an outer span stands for one inner span of a scope: the likest, then the nearest, then the first
    qualify
        row_number() over (
            partition by outers.sid, inners.scope_name
            order by
                (outers.input_size = inners.input_size)::int + (outers.output_size = inners.output_size)::int desc,
                ancestry.distance,
                inners.started_at,
                inners.span_id
        ) = 1
)

from by_id
union all
from nested
