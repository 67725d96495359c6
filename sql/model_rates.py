"""What each model of a window costs by the price book, for rollups that price calls on another model.

Not of the chain: it is resolved when it is asked for, and books nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from ..models.prices import KEYS, PriceBook, PriceKey
from ..models.windows import Window
from .database import parquet_by_day

_USED = """
    select
        provider,
        model,
        service_tier,
        is_batch,
        coalesce(max(output_tokens), 0) > 0 as generates
    from {source}
    where started_at >= $since and started_at < $until and model is not null
    group by provider, model, service_tier, is_batch
"""
_KNOWN = pa.schema(
    [
        *(pa.field(name, KEYS.field(name).type) for name in ("price_key", "provider")),
        pa.field("model", pa.string()),
        *(KEYS.field(name) for name in ("service_tier", "is_batch")),
        pa.field("generates", pa.bool_()),
    ]
)


def offer_model_rates(con: duckdb.DuckDBPyConnection, files: Sequence[Path], asked: Window, book: PriceBook) -> None:
    """Create `model_rates`: the list prices of every model in the calls of `files` that started in the window.

    Columns: provider and model as `calls` names them; service_tier and is_batch, each that a call of the window has,
    so that a batch is compared with a batch; generates, whether the model gave output tokens; and those of RATES: of
    the rows of one model, tier and batch exactly one holds for any call. A model without a price has no row.
    """
    used = []
    if files:
        query = _USED.format(source=parquet_by_day(files))
        used = con.execute(query, {"since": asked.since, "until": asked.until}).fetchall()
    generating = {(provider, model) for provider, model, _, _, generates in used if generates}
    models = sorted({(row[0], row[1]) for row in used}, key=repr)
    ways = sorted({(row[2], row[3]) for row in used}, key=repr)
    keys = [
        PriceKey(provider, model, None, None, tier, is_batch)
        for (provider, model), (tier, is_batch) in itertools.product(models, ways)
    ]
    known = [
        {
            "price_key": number,
            "provider": key.provider,
            "model": key.response_model,
            "service_tier": key.service_tier,
            "is_batch": key.is_batch,
            "generates": (key.provider, key.response_model) in generating,
        }
        for number, key in enumerate(keys)
    ]
    con.register("rated_models", pa.Table.from_pylist(known, schema=_KNOWN))
    con.register("rates_of_models", book.tables(keys).rates)
    con.execute(
        """
        create temp view model_rates as
        select rated_models.* exclude (price_key), rates_of_models.* exclude (price_key)
        from rated_models
        inner join rates_of_models
            on rated_models.price_key = rates_of_models.price_key
        """
    )
