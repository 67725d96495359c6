"""Amazon Bedrock in AWS Data Exports: CUR 2.0 and FOCUS, CSV or Parquet.

Shapes: AWS Data Exports User Guide, "CUR 2.0 table dictionary" and "FOCUS 1.2 with AWS columns"; Amazon Bedrock User
Guide, "Understanding your Amazon Bedrock Cost and Usage Report data": one line for each token type, told by its usage
type, `USE1-NovaPro-input-tokens-batch` or, through the Marketplace, `USE1-MP:USE1_CacheReadInputTokenCount-Units` of
the product "Claude Sonnet 4.5 (Amazon Bedrock Edition)". The legacy CUR's names (lineItem/UsageType) are read too.

Input of Bedrock excludes cache tokens. Lines without tokens (Marketplace fees, guardrails, tax) keep their money.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from .reports import Row, Usage, decimal, instant, text

_REGION = re.compile(r"^[A-Z]{2,4}\d?-")
_EDITION = re.compile(r"\s*\(Amazon Bedrock Edition\)\s*$")
_KIND = re.compile(
    r"^(?P<model>.*?)[-_]?(?:mantle[-_])?(?:million)?(?P<kind>(?:batch|flex|priority|cache|input|output)"
    r"(?:(?:read|write|1h|5m|input|output|response|batch|flex|priority)|[-_])*tokens?.*)$",
    re.IGNORECASE,
)
_TIERS = ("batch", "flex", "priority")


def cur(rows: Sequence[Row]) -> Iterator[Usage]:
    """Bedrock's lines of a Cost and Usage Report. Raises ReportError where a field is not what it is."""
    for row in rows:
        said = {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).replace("/", "_").lower(): row[name] for name in row}
        product = _mapping(said.get("product"))
        named = text(said.get("product_product_name")) or product.get("product_name") or product.get("servicename")
        code = text(said.get("line_item_product_code")) or ""
        usage_type = text(said.get("line_item_usage_type")) or ""
        if "bedrock" not in f"{code} {named} {said.get('product_servicecode') or ''}".lower():
            continue
        unit = f"{said.get('pricing_unit') or ''} {said.get('line_item_line_item_description') or ''}"
        yield _line(
            start=said.get("line_item_usage_start_date"),
            end=said.get("line_item_usage_end_date"),
            usage_type=usage_type,
            product=named,
            model=product.get("model"),
            account=said.get("line_item_usage_account_id"),
            quantity=said.get("line_item_usage_amount"),
            unit=unit,
            cost=said.get("line_item_unblended_cost"),
            currency=said.get("line_item_currency_code"),
            kind=text(said.get("line_item_line_item_type")),
        )


def focus(rows: Sequence[Row]) -> Iterator[Usage]:
    """Bedrock's lines of a FOCUS export. Raises ReportError where a field is not what it is."""
    for row in rows:
        words = ("ServiceName", "SkuMeter", "x_ServiceCode", "ChargeDescription", "ResourceType")
        if "bedrock" not in " ".join(str(row.get(word) or "") for word in words).lower():
            continue
        details = _mapping(row.get("SkuPriceDetails"))
        unit = ("ConsumedUnit", "PricingUnit", "ChargeDescription")
        yield _line(
            start=row.get("ChargePeriodStart"),
            end=row.get("ChargePeriodEnd"),
            usage_type=text(row.get("x_UsageType")) or text(row.get("SkuMeter")) or "",
            product=text(row.get("ServiceName")),
            model=details.get("x_Model") or details.get("model"),
            account=row.get("SubAccountId"),
            quantity=row.get("ConsumedQuantity"),
            unit=" ".join(str(row.get(word) or "") for word in unit),
            cost=row.get("BilledCost"),
            currency=row.get("BillingCurrency"),
            kind=text(row.get("ChargeCategory")),
        )


def _line(
    *,
    start: object,
    end: object,
    usage_type: str,
    product: str | None,
    model: str | None,
    account: object,
    quantity: object,
    unit: str,
    cost: object,
    currency: object,
    kind: str | None,
) -> Usage:
    begin = instant(start, "the line's start")
    until = instant(end, "the line's end")
    until = until if until > begin else begin + timedelta(hours=1)
    name, what, tier = told_by(usage_type, product)
    per = _tokens_per(unit)
    is_usage = kind is None or kind.lower() in ("usage", "discountedusage", "savingsplancoveredusage")
    amount = decimal(quantity, "the line's quantity")
    tokens = int((amount * per).to_integral_value()) if amount is not None and per and what and is_usage else None
    counted: dict[str, Any] = {} if tokens is None or what is None else _counted(what, tokens)
    is_told = bool(counted)
    return Usage(
        "bedrock",
        begin,
        until,
        "aws",
        model=(model or name) if is_told else None,
        project_id=text(account),
        service_tier=tier if is_told else None,
        line_item=None if is_told else (usage_type if is_usage else kind) or product,
        cost=decimal(cost, "the line's cost"),
        currency=text(currency),
        **counted,
    )


def _counted(what: str, tokens: int) -> dict[str, int]:
    """A line's tokens as columns; what is no token of a kind is 0, so that a line tells all of its own."""
    if what == "output_tokens":
        return {"output_tokens": tokens, "input_tokens": 0}
    return {"input_tokens": tokens, "output_tokens": 0} | ({} if what == "input_tokens" else {what: tokens})


def told_by(usage_type: str, product: str | None) -> tuple[str | None, str | None, str]:
    """(model, which tokens, tier) of a usage type; tokens are None where it counts none.

    >>> told_by("USE1-NovaPro-input-tokens-batch", "Amazon Bedrock")
    ('NovaPro', 'input_tokens', 'batch')
    >>> told_by("USE1-MP:USE1_CacheWriteInputTokenCount-Units", "Claude Sonnet 4.5 (Amazon Bedrock Edition)")
    ('Claude Sonnet 4.5', 'cache_write_5m_tokens', 'standard')
    >>> told_by("USE1-Claude4Sonnet-cache-read-input-token-count", None)
    ('Claude4Sonnet', 'cache_read_tokens', 'standard')
    >>> told_by("USE1-Guardrail-ContentPolicyUnitsConsumed", "Amazon Bedrock")
    (None, None, 'standard')
    """
    plain = _REGION.sub("", usage_type)
    marketplace = re.fullmatch(r"MP:[A-Z0-9]+_(.+?)(?:-Units)?", plain)
    found = _KIND.match(marketplace[1] if marketplace else plain)
    if found is None:
        return None, None, "standard"
    edition = product if product and _EDITION.search(product) else None
    model = _EDITION.sub("", edition) if edition else found["model"].strip("-_") or None
    kind = re.sub(r"[-_]", "", found["kind"].lower())
    tier = next((word for word in _TIERS if word in kind), "standard")
    if "cacheread" in kind:
        return model, "cache_read_tokens", tier
    if "cachewrite" in kind:
        return model, "cache_write_1h_tokens" if "1h" in kind else "cache_write_5m_tokens", tier
    return model, "output_tokens" if "output" in kind or "response" in kind else "input_tokens", tier


def _tokens_per(unit: str) -> Decimal | None:
    """How many tokens one unit is; None where it is not said.

    >>> [str(_tokens_per(word)) for word in ("1K tokens", "Million Input Tokens", "Tokens", "Units per 1K tokens")]
    ['1000', '1000000', '1', '1000']
    >>> _tokens_per("Units")
    """
    said = unit.lower()
    if re.search(r"\b(million|1m)\b", said):
        return Decimal(1_000_000)
    if re.search(r"\b(1k|1,?000|thousand)\b", said):
        return Decimal(1000)
    return Decimal(1) if "token" in said else None


def _mapping(value: object) -> dict[str, str]:
    """A nested column: a struct or map of Parquet, or JSON in a CSV; empty where it is neither."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    if isinstance(value, list):
        value = dict(pair for pair in value if isinstance(pair, tuple))
    return {str(k): str(v) for k, v in value.items() if v is not None} if isinstance(value, Mapping) else {}
