"""Usage of a session: tokens, their cost by the user's prices, and the limits.

Theory of operation
1. Responses and transcriptions are counted apart: other models make transcriptions, at other prices.
2. Amounts are decimals, in the unit of the prices. Nothing is rounded: tokens times price is exact. No prices are
   shipped: they would be wrong before long.
3. A kind of tokens (text, audio, image) has its price; those of the input that were cached have another. The details of
   a response say how many there are of each. Where they do not, the amount lies between the cheapest and the dearest
   price that those tokens can have: `Cost.at_least` and `Cost.at_most`. Tokens without a price are in neither, and
   `Cost.unpriced` says that there were some.
4. Limits are checked after every input: tokens and cost change when a response is done or a turn of the user has been
   transcribed, time when a deadline has passed (`Limits.deadline`).
5. At the share `warn_at` of a limit the app gets an event, once for each limit.
6. At the limit the app gets an event, once, and nothing new begins: requests for a response fail, and a response that
   the server begins by itself is cancelled. The answer that is being made goes on. The session ends when that answer
   has been heard, or after `grace_s` (`EndAtLimit`).
"""

# ruff: noqa: RUF009  # `setting` makes an attrs field, as `attrs.field` does
from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

import attrs

from trealtime._core.effects import EndAtLimit
from trealtime._value import Shown, Value
from trealtime.errors import SessionClosed
from trealtime.events import LimitName, LimitUse, RealtimeLimitApproached, RealtimeLimitReached
from trealtime.protocol.validation import WrongValue, setting
from trealtime.usage import Cost, TranscriptionUsage, Usage

if TYPE_CHECKING:
    from trealtime._core.state import State

__all__ = [
    "Limits",
    "Meter",
    "ModelPrices",
    "Prices",
    "SessionLimits",
    "add_usage",
    "check_limits",
    "find_prices",
    "parse_transcription_usage",
    "parse_usage",
    "read_amount",
    "response_cost",
    "session_over",
    "transcription_cost",
]


MAX_ENTRIES: Final = 1_000
"""Entries that a sum keeps, the newest: more than an hour of conversation has."""


def parse_usage(usage: object) -> Usage | None:
    """The ``usage`` object of a response; None when the server sent none.

    A missing count is 0, a missing total is input plus output; details that are absent stay None.
    """
    if not isinstance(usage, Mapping):
        return None
    input_tokens, output_tokens = _count(usage.get("input_tokens")), _count(usage.get("output_tokens"))
    total = usage.get("total_tokens")
    return Usage(
        requests=1,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        total_tokens=_count(total) if total is not None else input_tokens + output_tokens,
        input_token_details=_details(usage.get("input_token_details")),
        output_token_details=_details(usage.get("output_token_details")),
    )


def parse_transcription_usage(usage: object) -> TranscriptionUsage | None:
    """The ``usage`` object of a transcription (tokens, or ``{"type": "duration", "seconds": ...}``); None: none."""
    tokens = parse_usage(usage)
    if tokens is None or not isinstance(usage, Mapping):
        return None
    seconds = usage.get("seconds")
    return TranscriptionUsage(
        requests=1,
        input_tokens=tokens.input_tokens,
        output_tokens=tokens.output_tokens,
        total_tokens=tokens.total_tokens,
        input_token_details=tokens.input_token_details,
        seconds=float(seconds) if isinstance(seconds, int | float) and 0 < seconds < float("inf") else 0.0,
    )


def add_usage(total: Usage, response: Usage) -> Usage:
    """The sum, with an entry for `response`; details are summed key by key."""
    return Usage(
        requests=total.requests + response.requests,
        input_tokens=total.input_tokens + response.input_tokens,
        output_tokens=total.output_tokens + response.output_tokens,
        total_tokens=total.total_tokens + response.total_tokens,
        input_token_details=_sum(total.input_token_details, response.input_token_details),
        output_token_details=_sum(total.output_token_details, response.output_token_details),
        cost=_sum_cost(total.cost, response.cost),
        request_usage_entries=(*total.request_usage_entries, response)[-MAX_ENTRIES:],
        replayed_tokens=total.replayed_tokens + response.replayed_tokens,
    )


@attrs.define(eq=False, repr=False)
class Meter(Shown):
    """Counts one session. `prices` None: it prices nothing, and every cost is None."""

    prices: Prices | None = None
    usage: Usage = attrs.field(init=False)
    transcription: TranscriptionUsage = attrs.field(init=False)
    cost: Cost | None = attrs.field(init=False)
    """Of all responses and transcriptions."""

    def __attrs_post_init__(self) -> None:
        self.cost = None if self.prices is None else Cost()
        self.usage = Usage(cost=self.cost)
        self.transcription = TranscriptionUsage(cost=self.cost)

    def resume(self, usage: Usage, transcription: TranscriptionUsage) -> None:
        """Another process has counted this much."""
        if self.prices is not None:  # what was counted without prices costs nothing that we know
            usage = attrs.evolve(usage, cost=Cost() if usage.cost is None else usage.cost)
            mine = transcription.cost
            transcription = attrs.evolve(transcription, cost=Cost() if mine is None else mine)
            self.cost = _sum_cost(usage.cost, transcription.cost)
        self.usage, self.transcription = usage, transcription

    def count_response(self, usage: Usage, model: str | None) -> Usage:
        """A response is done; its usage with its cost."""
        if self.prices is not None:
            usage = attrs.evolve(usage, cost=response_cost(usage, find_prices(self.prices, model)))
        self.usage = add_usage(self.usage, usage)
        self.cost = _sum_cost(self.cost, usage.cost)
        return usage

    def count_transcription(self, usage: TranscriptionUsage, model: str | None) -> None:
        """A turn of the user has been transcribed."""
        total = self.transcription
        cost = None
        if self.prices is not None:
            cost = transcription_cost(usage, find_prices(self.prices, model))
        self.transcription = TranscriptionUsage(
            requests=total.requests + usage.requests,
            input_tokens=total.input_tokens + usage.input_tokens,
            output_tokens=total.output_tokens + usage.output_tokens,
            total_tokens=total.total_tokens + usage.total_tokens,
            input_token_details=_sum(total.input_token_details, usage.input_token_details),
            seconds=total.seconds + usage.seconds,
            cost=_sum_cost(total.cost, cost),
        )
        self.cost = _sum_cost(self.cost, cost)


def _sum_cost(left: Cost | None, right: Cost | None) -> Cost | None:
    if left is None or right is None:
        return right if left is None else left
    return left + right


def _sum(left: Mapping[str, Any] | None, right: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if left is None or right is None:
        return right if left is None else left
    both: dict[str, Any] = dict(left)
    for key, value in right.items():
        mine = both.get(key)
        if isinstance(value, Mapping):
            both[key] = _sum(mine if isinstance(mine, Mapping) else None, value)
        elif value is not None:
            both[key] = _count(mine) + _count(value)
        else:
            both.setdefault(key, None)
    return both


def _details(value: object) -> Mapping[str, Any] | None:
    return value if isinstance(value, Mapping) else None


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


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


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ModelPrices(Value):
    """Prices of a million tokens of one model, in a unit of yours.

    If the price of cached input is left out, cached input costs as much as other input; any other price that is left
    out is unknown. For a model of transcription `audio_minute` is the price of one minute, where the model counts time
    in place of tokens.
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
    """Return the cost of one response."""
    if prices is None:
        return _unknown(usage.total_tokens)
    paid_in, paid_out = _input_prices(prices), _output_prices(prices)
    return _input_cost(usage.input_tokens, usage.input_token_details or {}, paid_in) + _output_cost(
        usage.output_tokens, usage.output_token_details or {}, paid_out
    )


def transcription_cost(usage: TranscriptionUsage, prices: ModelPrices | None) -> Cost:
    """Return the cost of one transcription: its model caches nothing and writes text."""
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
    """Tokens of an unknown kind: it may be any that has a price."""
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


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SessionLimits(Value):
    """Limits at which a session ends. None: no such limit."""

    max_tokens: int | None = setting(default=None, at_least=1)
    """Tokens of all responses, input and output."""

    max_cost: Decimal | None = setting(default=None, read=read_amount)
    """The most that responses and transcriptions may cost, in the unit of `prices`. If a cost is a range, its upper end
    counts."""

    max_duration_s: float | None = setting(default=None, at_least=0)
    """Seconds since the session was ready."""

    warn_at: float | None = setting(default=0.8, at_least=0, at_most=1)
    """The share of a limit at which ``limit_approached`` comes. None: it does not."""

    grace_s: float = setting(default=10.0, at_least=0)
    """Seconds for which the current answer may go on, until it has been heard, once a limit is reached."""


@attrs.define(eq=False, repr=False)
class Limits(Shown):
    """The usage of a session against its limits."""

    policy: SessionLimits = attrs.field(factory=SessionLimits)
    began_at: float | None = attrs.field(default=None, init=False)
    """When the session was ready."""

    reached: LimitUse | None = attrs.field(default=None, init=False)
    _approached: frozenset[LimitName] = attrs.field(default=frozenset(), init=False)

    def begin(self, now: float) -> None:
        """The session is ready."""
        self.began_at = now

    def uses(self, usage: Usage, cost: Cost | None, now: float) -> Iterator[LimitUse]:
        """The share used of each limit that is set."""
        policy = self.policy
        if policy.max_tokens is not None:
            yield LimitUse("max_tokens", usage.total_tokens, policy.max_tokens)
        if policy.max_cost is not None and cost is not None:
            yield LimitUse("max_cost", cost.at_most, policy.max_cost)
        if policy.max_duration_s is not None and self.began_at is not None:
            yield LimitUse("max_duration_s", _whole_us(now - self.began_at), policy.max_duration_s)

    def approaches(self, use: LimitUse) -> bool:
        """Whether to tell the app now that this limit is near; True once."""
        share = self.policy.warn_at
        if share is None or use.name in self._approached:
            return False
        if float(use.used) < _whole_us(share * float(use.allowed)):
            return False
        self._approached = self._approached.union((use.name,))
        return True

    @property
    def deadline(self) -> float | None:
        """The time to look at the duration again."""
        allowed, share = self.policy.max_duration_s, self.policy.warn_at
        if allowed is None or self.began_at is None or self.reached is not None:
            return None
        warns = share is not None and "max_duration_s" not in self._approached
        return self.began_at + (_whole_us(share * allowed) if share is not None and warns else allowed)


def check_limits(state: State, now: float) -> None:
    """Tell the app of the limits that are near or reached."""
    limits = state.limits
    if limits.reached is not None:
        return
    for use in limits.uses(state.meter.usage, state.meter.cost, now):
        if use.used >= use.allowed:
            limits.reached = use
            state.emit(RealtimeLimitReached(limit=use, info=state.info))
            state.do(EndAtLimit(use))
            return
        if limits.approaches(use):
            state.emit(RealtimeLimitApproached(limit=use, info=state.info))


def session_over(limit: LimitUse) -> SessionClosed:
    """The error for what comes too late, one for each place where it is raised."""
    return SessionClosed(f"this session is over: it has reached its limit, {limit}")


def _whole_us(seconds: float) -> float:
    """Without the error of adding floats: a deadline that has passed has been reached."""
    return round(seconds, 6)
