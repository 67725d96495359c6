"""Charges in the words of FOCUS, the FinOps Open Cost and Usage Specification, version 1.4: one row a charge.

Column names, allowed values and units are the specification's (Cost and Usage dataset); what is ours starts with x_.
Pure: charges in, columns out. The rules that hold between columns are in data/fixtures/focus/rules-1.4.toml.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

import pyarrow as pa

from ..models.windows import Window

VERSION = "1.4"
"""Ratified on 4 June 2026."""

MONEY = pa.decimal128(38, 9)
"""Costs that are the ledger's."""

PRICE = pa.decimal128(38, 24)
"""Prices of one unit, and quantities times prices."""

_NEGOTIATED = ("contract", "override")
_NANO = Decimal(1).scaleb(-9)
_PLACES = Decimal(1).scaleb(-18)
_EXACT = Context(prec=76, rounding=ROUND_HALF_UP)
_UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Meter:
    """What a kind of token is called, what it is counted in, and which way it went."""

    name: str
    unit: str = "Tokens"
    direction: str | None = None
    cache: str | None = None


METERS: Mapping[str, Meter] = {
    "request": Meter("Requests", unit="Requests"),
    "input": Meter("Input Tokens", direction="Input"),
    "cache_read": Meter("Cache Read Input Tokens", direction="Input", cache="Read"),
    "cache_write_5m": Meter("Cache Write Input Tokens (5 Minutes)", direction="Input", cache="Write"),
    "cache_write_1h": Meter("Cache Write Input Tokens (1 Hour)", direction="Input", cache="Write"),
    "audio_input": Meter("Audio Input Tokens", direction="Input"),
    "output": Meter("Output Tokens", direction="Output"),
    "reasoning": Meter("Reasoning Output Tokens", direction="Output"),
    "audio_output": Meter("Audio Output Tokens", direction="Output"),
    "all_input": Meter("All Input Tokens", direction="Input"),
    "all_output": Meter("All Output Tokens", direction="Output"),
    "all_tokens": Meter("All Tokens"),
}
"""By the kinds of chargeback/call_charges.sql."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who is billed: what FOCUS calls the billing account, and the dimension that is the sub account.

    Without an id the billing account is the provider's name: one account each, as far as spans tell.
    `is_billed` says whether BilledCost is the booked cost, else it is 0: we invoice nothing.
    """

    sub_account: str
    billing_account: str | None = None
    is_billed: bool = False


def schema(dimensions: Sequence[str]) -> pa.Schema:
    """The columns of an export, FOCUS' own first; each custom one has its meaning in its metadata."""
    custom = [
        ("x_ProviderId", pa.string(), "provider as the ledger names it"),
        ("x_Model", pa.string(), "model as priced"),
        ("x_TokenKind", pa.string(), "kind of token as call_charges.sql names it"),
        ("x_ServiceTier", pa.string(), "service tier that served the requests; null where it was not told"),
        ("x_IsBatch", pa.bool_(), "whether the requests went through a batch API"),
        ("x_CostBasis", pa.string(), "what EffectiveCost rests on: override, contract, reported or list"),
        ("x_IsListPriceKnown", pa.bool_(), "whether ListUnitPrice is on the price list, else it is an average"),
        ("x_CallCount", pa.int64(), "requests that used this kind of token; not to be summed over kinds"),
        *((custom_name(name), pa.string(), f"dimension {name} of the calls") for name in dimensions),
    ]
    fields = [pa.field(name, kind) for name, kind in _FOCUS]
    return pa.schema([*fields, *(pa.field(name, kind, metadata={"comment": said}) for name, kind, said in custom)])


def custom_name(dimension: str) -> str:
    """A dimension as a custom column.

    >>> custom_name("customer_id")
    'x_CustomerId'
    """
    return "x_" + "".join(word.capitalize() for word in dimension.split("_"))


def columns(
    charges: Iterable[Mapping[str, Any]],
    *,
    asked: Window,
    length: timedelta,
    dimensions: Sequence[str],
    account: Account,
    providers: Mapping[str, str],
) -> pa.Table:
    """The export: a row for each row of chargeback/charges.sql, its periods cut at the window's ends.

    `length` is an hour or a day, `providers` gives the names of those the price list knows.
    """
    made = [
        _row(
            charge,
            asked=asked,
            length=length,
            dimensions=dimensions,
            account=account,
            provider_name=providers.get(charge["provider"] or ""),
        )
        for charge in charges
    ]
    return pa.Table.from_pylist(made, schema(dimensions))


def _row(
    charge: Mapping[str, Any],
    *,
    asked: Window,
    length: timedelta,
    dimensions: Sequence[str],
    account: Account,
    provider_name: str | None,
) -> dict[str, Any]:
    meter = METERS[charge["kind"]]
    provider, model = charge["provider"] or _UNKNOWN, charge["model"] or _UNKNOWN
    vendor = provider_name or provider
    booked = _EXACT.multiply(Decimal(charge["cost_nano"]), _NANO)
    quantity = Decimal(charge["quantity"])
    list_price = charge["rate"] if charge["rate"] is not None else _average(charge["list_nano"], quantity)
    price = _average(charge["cost_nano"], quantity) if charge["cost_basis"] in _NEGOTIATED else list_price
    tier = charge["service_tier"] or "standard"
    sku = f"{provider}/{model}/{charge['kind']}"
    owner = charge[account.sub_account]
    begins = charge["begins_at"]
    month = begins.astimezone(UTC).replace(day=1, hour=0)
    return {
        "BilledCost": booked if account.is_billed else Decimal(0),
        "BillingAccountId": account.billing_account or vendor,
        "BillingCurrency": "USD",
        "BillingPeriodStart": month,
        "BillingPeriodEnd": _month_after(month),
        "ChargeCategory": "Usage",
        "ChargeDescription": f"{model}: {meter.name}" + (", batch" if charge["is_batch"] else ""),
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": max(begins, asked.since),
        "ChargePeriodEnd": min(begins + length, asked.until),
        "ConsumedQuantity": quantity,
        "ConsumedUnit": meter.unit,
        "ContractedCost": _EXACT.multiply(price, quantity),
        "ContractedUnitPrice": price,
        "EffectiveCost": booked,
        "HostProviderName": vendor,
        "InvoiceIssuerName": vendor,
        "ListCost": _EXACT.multiply(list_price, quantity),
        "ListUnitPrice": list_price,
        "PricingCategory": "Standard",
        "PricingQuantity": quantity,
        "PricingUnit": meter.unit,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": f"{vendor} models",
        "ServiceProviderName": vendor,
        "ServiceSubcategory": "Generative AI",
        "SkuId": sku,
        "SkuMeter": meter.name,
        "SkuPriceDetails": _json(_details(charge, meter, model, tier)),
        "SkuPriceId": "/".join([sku, tier, *_price_marks(charge)]),
        "SubAccountId": owner,
        "SubAccountName": owner,
        "SubAccountType": None if owner is None else account.sub_account,
        "Tags": _json(dict(_tags(charge, dimensions))) or None,
        "x_ProviderId": charge["provider"],
        "x_Model": charge["model"],
        "x_TokenKind": charge["kind"],
        "x_ServiceTier": charge["service_tier"],
        "x_IsBatch": charge["is_batch"],
        "x_CostBasis": charge["cost_basis"],
        "x_IsListPriceKnown": charge["rate"] is not None,
        "x_CallCount": charge["calls"],
        **{custom_name(name): charge[name] for name in dimensions},
    }


def _average(nano: Decimal, quantity: Decimal) -> Decimal:
    """USD a unit, to 18 places."""
    return _EXACT.quantize(_EXACT.divide(_EXACT.multiply(Decimal(nano), _NANO), quantity), _PLACES)


def _month_after(month: datetime) -> datetime:
    return (month + timedelta(days=32)).replace(day=1)


def _details(charge: Mapping[str, Any], meter: Meter, model: str, tier: str) -> dict[str, Any]:
    """Properties of the price: FOCUS 1.4 defines none for tokens, so all of them are custom."""
    told = {
        "x_Model": model,
        "x_TokenDirection": meter.direction,
        "x_TokenCacheAction": meter.cache,
        "x_ServiceTier": tier,
        "x_IsBatch": bool(charge["is_batch"]),
        "x_InputTokensOver": charge["input_over"] or None,
    }
    return {name: value for name, value in told.items() if value is not None}


def _price_marks(charge: Mapping[str, Any]) -> Iterator[str]:
    if charge["is_batch"]:
        yield "batch"
    if charge["input_over"]:
        yield f"over-{charge['input_over']}"


def _tags(charge: Mapping[str, Any], dimensions: Sequence[str]) -> Iterator[tuple[str, str | bool]]:
    """Free tags have no value, which FOCUS writes as true; a dimension of the name of a tag wins."""
    yield from ((tag, True) for tag in charge["tags"] or () if tag)
    yield from ((name, charge[name]) for name in dimensions if charge[name] is not None)


def _json(told: Mapping[str, Any]) -> str:
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")) if told else ""


_INSTANT = pa.timestamp("us", "UTC")
_FOCUS: tuple[tuple[str, pa.DataType], ...] = (
    ("BilledCost", MONEY),
    ("BillingAccountId", pa.string()),
    ("BillingAccountName", pa.string()),
    ("BillingCurrency", pa.string()),
    ("BillingPeriodEnd", _INSTANT),
    ("BillingPeriodStart", _INSTANT),
    ("ChargeCategory", pa.string()),
    ("ChargeClass", pa.string()),
    ("ChargeDescription", pa.string()),
    ("ChargeFrequency", pa.string()),
    ("ChargePeriodEnd", _INSTANT),
    ("ChargePeriodStart", _INSTANT),
    ("ConsumedQuantity", pa.decimal128(38, 0)),
    ("ConsumedUnit", pa.string()),
    ("ContractedCost", PRICE),
    ("ContractedUnitPrice", PRICE),
    ("EffectiveCost", MONEY),
    ("HostProviderName", pa.string()),
    ("InvoiceId", pa.string()),
    ("InvoiceIssuerName", pa.string()),
    ("ListCost", PRICE),
    ("ListUnitPrice", PRICE),
    ("PricingCategory", pa.string()),
    ("PricingQuantity", pa.decimal128(38, 0)),
    ("PricingUnit", pa.string()),
    ("ServiceCategory", pa.string()),
    ("ServiceName", pa.string()),
    ("ServiceProviderName", pa.string()),
    ("ServiceSubcategory", pa.string()),
    ("SkuId", pa.string()),
    ("SkuMeter", pa.string()),
    ("SkuPriceDetails", pa.string()),
    ("SkuPriceId", pa.string()),
    ("SubAccountId", pa.string()),
    ("SubAccountName", pa.string()),
    ("SubAccountType", pa.string()),
    ("Tags", pa.string()),
)
"""FOCUS' own columns in the specification's order: all mandatory ones, and the conditional ones that apply here."""
