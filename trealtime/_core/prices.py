"""What tokens cost, by prices of the user's. None are shipped: they would be wrong before long.

Theory of operation
1. Amounts are decimals, in whatever unit the prices are in. Nothing is rounded: tokens times price is exact.
2. A kind of tokens (text, audio, image) has its price; those of the input that were cached have another. The details of
   a response say how many there are of each. Where they do not, the amount lies between the cheapest and the dearest
   price that those tokens can have: `Cost.at_least` and `Cost.at_most`.
3. What nobody has given a price for is in neither, and `Cost.unpriced` says that there was some.
"""

# ruff: noqa: RUF009  # `setting` makes an attrs field, as `attrs.field` does
from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

import attrs

from trealtime.protocol.validation import WrongValue, setting
from trealtime.usage import Cost

if TYPE_CHECKING:
    from trealtime.usage import TranscriptionUsage, Usage

__all__ = ["ModelPrices", "Prices", "find_prices", "read_amount", "response_cost", "transcription_cost"]

_DATE: Final = "-0000-00-00"


def read_amount(value: object) -> Decimal:
    """A reader for settings: an amount as a number or its text; a float is what it prints as, so 0.4 is 0.4."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
            raise InvalidOperation
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise WrongValue("an amount of 0 or more: a number, a Decimal or its text")
    return amount


def _price() -> Any:
    return setting(default=None, read=read_amount)


@attrs.frozen(kw_only=True)
class ModelPrices:
    """What a million tokens of one model cost, in a unit of yours.

    A price of cached input that is left out is that of the input; any other that is left out is not known. For a model
    of transcription `audio_minute` is the price of one minute, where the model counts time in place of tokens.
    """

    text_input: Decimal | None = _price()
    text_cached_input: Decimal | None = _price()
    text_output: Decimal | None = _price()
    audio_input: Decimal | None = _price()
    audio_cached_input: Decimal | None = _price()
    audio_output: Decimal | None = _price()
    image_input: Decimal | None = _price()
    image_cached_input: Decimal | None = _price()
    audio_minute: Decimal | None = _price()


Prices = Mapping[str, ModelPrices]
"""Prices by the names of models."""


def find_prices(prices: Prices, model: str | None) -> ModelPrices | None:
    """The prices of `model`, by its own name or, for a dated snapshot (``name-2026-01-31``), by the name without."""
    if model is None:
        return None
    name, date = model[: -len(_DATE)], model[-len(_DATE) :]
    dated = "".join("0" if each.isdigit() else each for each in date) == _DATE
    return prices.get(model) or (prices.get(name) if dated else None)


def response_cost(usage: Usage, prices: ModelPrices | None) -> Cost:
    """What one response cost."""
    if prices is None:
        return _unknown(usage.total_tokens)
    paid_in, paid_out = _input_prices(prices), _output_prices(prices)
    return _input_cost(usage.input_tokens, usage.input_token_details or {}, paid_in) + _output_cost(
        usage.output_tokens, usage.output_token_details or {}, paid_out
    )


def transcription_cost(usage: TranscriptionUsage, prices: ModelPrices | None) -> Cost:
    """What one transcription cost: its model caches nothing and writes text."""
    if prices is None:
        return _unknown(usage.total_tokens or usage.seconds)
    details = {**(usage.input_token_details or {}), "cached_tokens": 0}
    cost = _input_cost(usage.input_tokens, details, _input_prices(prices))
    cost += _output_cost(usage.output_tokens, {"text_tokens": usage.output_tokens}, _output_prices(prices))
    if not usage.seconds:
        return cost
    if prices.audio_minute is None:
        return cost + _unknown(usage.seconds)
    amount = prices.audio_minute * Decimal(str(usage.seconds)) / 60
    return cost + Cost(amount, amount)


# ---- tokens of one side ---------------------------------------------------------------------------------------------

_Kinds = Mapping[str, tuple[Decimal | None, Decimal | None]]
"""By kind of token, its price and that of cached ones."""


def _input_prices(prices: ModelPrices) -> _Kinds:
    return {
        "text_tokens": (prices.text_input, _either(prices.text_cached_input, prices.text_input)),
        "audio_tokens": (prices.audio_input, _either(prices.audio_cached_input, prices.audio_input)),
        "image_tokens": (prices.image_input, _either(prices.image_cached_input, prices.image_input)),
    }


def _output_prices(prices: ModelPrices) -> _Kinds:
    return {
        "text_tokens": (prices.text_output, prices.text_output),
        "audio_tokens": (prices.audio_output, prices.audio_output),
    }


def _either(first: Decimal | None, second: Decimal | None) -> Decimal | None:
    return second if first is None else first


def _input_cost(count: int, details: Mapping[str, Any], prices: _Kinds) -> Cost:
    cached = _number(details.get("cached_tokens"))
    by_kind = details.get("cached_tokens_details")
    cost, named = Cost(), 0
    for kind, (price, cached_price) in prices.items():
        tokens = _number(details.get(kind)) or 0
        named += tokens
        cached_here = _number(by_kind.get(kind)) if isinstance(by_kind, Mapping) else None
        if cached_here is None and (cached == 0 or tokens == count):
            cached_here = cached
        if cached_here is None:
            cost += _tokens(tokens, price, cached_price)
        else:
            cached_here = min(cached_here, tokens)
            cost += _tokens(cached_here, cached_price) + _tokens(tokens - cached_here, price)
    return cost + _unnamed(count - named, prices)


def _output_cost(count: int, details: Mapping[str, Any], prices: _Kinds) -> Cost:
    cost, named = Cost(), 0
    for kind, (price, _) in prices.items():
        tokens = _number(details.get(kind)) or 0
        named += tokens
        cost += _tokens(tokens, price)
    return cost + _unnamed(count - named, prices)


def _unnamed(count: int, prices: _Kinds) -> Cost:
    """Tokens of which nobody says what they are: of any kind that has a price."""
    known = [price for kind in prices.values() for price in kind if price is not None]
    return _tokens(count, *known) if known else _unknown(count)


def _tokens(count: int, *prices: Decimal | None) -> Cost:
    """So many tokens, each at one of these prices per million."""
    known = [price for price in prices if price is not None]
    if count <= 0:
        return Cost()
    if len(known) < len(prices):
        return _unknown(count)
    return Cost(count * min(known).scaleb(-6), count * max(known).scaleb(-6))


def _unknown(count: float) -> Cost:
    return Cost(unpriced=count > 0)


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None
