"""Prices: exact where the server tells everything, a range that holds the truth where it does not."""

from __future__ import annotations

from decimal import Decimal
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trealtime._core.usage import (
    Meter,
    ModelPrices,
    find_prices,
    parse_transcription_usage,
    parse_usage,
    read_amount,
    response_cost,
    transcription_cost,
)
from trealtime.protocol.validation import WrongValue, structure
from trealtime.usage import Cost, TranscriptionUsage, Usage

PRICES = structure(
    ModelPrices,
    {
        "text_input": 4,
        "text_cached_input": 0.4,
        "text_output": "16",
        "audio_input": Decimal(32),
        "audio_cached_input": "0.5",
        "audio_output": 64,
        "image_input": 5,
    },
)


def cost_of(prices=PRICES, **usage) -> Cost:
    parsed = parse_usage(usage)
    assert parsed is not None
    return response_cost(parsed, prices)


def exact(amount: str) -> Cost:
    return Cost(Decimal(amount), Decimal(amount))


def between(at_least: str, at_most: str) -> Cost:
    return Cost(Decimal(at_least), Decimal(at_most))


def test_a_response_with_all_its_details_has_an_exact_cost():
    cost = cost_of(
        input_tokens=132,
        output_tokens=121,
        input_token_details={
            "text_tokens": 119,
            "audio_tokens": 13,
            "image_tokens": 0,
            "cached_tokens": 64,
            "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 0},
        },
        output_token_details={"text_tokens": 30, "audio_tokens": 91},
    )
    expected = (55 * 4 + 64 * Decimal("0.4") + 13 * 32 + 30 * 16 + 91 * 64) / Decimal(1_000_000)
    assert cost == Cost(expected, expected)
    assert cost.exact
    assert str(cost) == "0.0069656"


@pytest.mark.parametrize(
    "details, cost",
    [
        (None, between("0.04", "3.2")),
        ({}, between("0.04", "3.2")),
        ({"text_tokens": 100_000, "cached_tokens": 0}, exact("0.4")),
        ({"text_tokens": 100_000, "cached_tokens": 100_000}, exact("0.04")),
        ({"text_tokens": 100_000, "cached_tokens": 50_000}, exact("0.22")),
        ({"text_tokens": 100_000}, between("0.04", "0.4")),
        ({"text_tokens": 60_000, "audio_tokens": 40_000, "cached_tokens": 0}, exact("1.52")),
        ({"text_tokens": 60_000, "audio_tokens": 40_000, "cached_tokens": 10}, between("0.044", "1.52")),
        ({"text_tokens": 60_000, "cached_tokens": 0}, between("0.256", "1.52")),
        ({"image_tokens": 100_000, "cached_tokens": 100_000}, exact("0.5")),
        ({"text_tokens": 100_000, "cached_tokens_details": {"text_tokens": 10**9}}, exact("0.04")),
        ({"text_tokens": "many", "cached_tokens": -1}, between("0.04", "3.2")),
    ],
)
def test_what_the_details_of_the_input_leave_open_is_a_range(details, cost):
    assert cost_of(input_tokens=100_000, input_token_details=details) == cost


@pytest.mark.parametrize(
    "details, cost",
    [
        (None, between("1.6", "6.4")),
        ({"text_tokens": 100_000}, exact("1.6")),
        ({"audio_tokens": 50_000}, between("4", "6.4")),
    ],
)
def test_what_the_details_of_the_output_leave_open_is_a_range(details, cost):
    assert cost_of(output_tokens=100_000, output_token_details=details) == cost


def test_a_price_of_cached_input_that_is_left_out_is_that_of_the_input():
    prices = structure(ModelPrices, {"text_input": 4})
    details = {"text_tokens": 100_000, "cached_tokens": 70_000}
    assert cost_of(prices, input_tokens=100_000, input_token_details=details) == exact("0.4")


def test_what_has_no_price_is_in_neither_bound_and_is_told():
    prices = structure(ModelPrices, {"text_input": 4})
    details = {"text_tokens": 50_000, "audio_tokens": 50_000, "cached_tokens": 0}
    cost = cost_of(prices, input_tokens=100_000, input_token_details=details)
    assert cost == Cost(Decimal("0.2"), Decimal("0.2"), unpriced=True)
    assert not cost.exact
    assert str(cost) == "0.2 and what has no price"
    assert cost_of(ModelPrices(), output_tokens=1) == Cost(unpriced=True)
    assert response_cost(Usage(1, 2, 3, 5), None) == Cost(unpriced=True)
    assert response_cost(Usage(1), None) == Cost()


def test_a_range_says_both_ends():
    assert str(cost_of(output_tokens=100_000)) == "1.6 to 6.4"
    assert cost_of(output_tokens=100_000) + exact("1") == between("2.6", "7.4")


def test_a_transcription_costs_its_tokens_or_its_time():
    tokens = TranscriptionUsage(input_tokens=1_000, output_tokens=1_000, input_token_details={"audio_tokens": 1_000})
    assert transcription_cost(tokens, PRICES) == exact("0.048")
    seconds = TranscriptionUsage(seconds=90)
    assert transcription_cost(seconds, structure(ModelPrices, {"audio_minute": "0.006"})) == exact("0.009")
    assert transcription_cost(seconds, PRICES) == Cost(unpriced=True)
    assert transcription_cost(seconds, None) == Cost(unpriced=True)


@pytest.mark.parametrize(
    "model, found",
    [
        ("gpt-realtime", "family"),
        ("gpt-realtime-2025-08-28", "family"),
        ("gpt-realtime-2026-01-31", "snapshot"),
        ("gpt-realtime-mini", None),
        ("gpt-realtime-2", None),
        ("2025-08-28", None),
        ("", None),
        (None, None),
    ],
)
def test_a_snapshot_has_the_prices_of_its_model_unless_it_has_its_own(model, found):
    table = {"gpt-realtime": ModelPrices(text_input=Decimal(1)), "gpt-realtime-2026-01-31": ModelPrices()}
    named = {"family": table["gpt-realtime"], "snapshot": table["gpt-realtime-2026-01-31"], None: None}
    assert find_prices(table, model) is named[found]


@pytest.mark.parametrize("value", [True, "dear", "NaN", "Infinity", float("inf"), -1, [], "-0.1"])
def test_what_is_no_amount_is_refused(value):
    with pytest.raises(WrongValue, match="an amount of 0 or more"):
        read_amount(value)


def test_a_float_is_the_amount_that_it_prints_as():
    assert read_amount(0.1) == Decimal("0.1")


_COUNT = st.integers(0, 10**7)
_NAMES = (
    "input_tokens",
    "output_tokens",
    "input_token_details",
    "output_token_details",
    "text_tokens",
    "audio_tokens",
    "cached_tokens",
    "cached_tokens_details",
    "seconds",
)


@given(
    text=_COUNT,
    audio=_COUNT,
    image=_COUNT,
    shares=st.tuples(*[st.floats(0, 1)] * 3),
    shown=st.sets(st.sampled_from(["text_tokens", "audio_tokens", "image_tokens", "cached_tokens", "by_kind"])),
)
def test_whatever_a_server_leaves_out_the_range_holds_the_cost(text, audio, image, shares, shown):
    counts = {"text_tokens": text, "audio_tokens": audio, "image_tokens": image}
    cached = {kind: int(count * share) for (kind, count), share in zip(counts.items(), shares, strict=True)}
    whole = {**counts, "cached_tokens": sum(cached.values()), "cached_tokens_details": cached}
    total = sum(counts.values())
    truth = cost_of(input_tokens=total, input_token_details=whole)
    assert truth.exact
    names = {"by_kind": "cached_tokens_details"}
    part = {names.get(name, name): whole[names.get(name, name)] for name in shown}
    told = cost_of(input_tokens=total, input_token_details=part)
    assert told.at_least <= truth.at_least <= told.at_most


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(_NAMES), inner),
    max_leaves=8,
)


@given(usages=st.lists(st.dictionaries(st.sampled_from(_NAMES), _ANYTHING), max_size=4))
def test_whatever_a_server_sends_as_usage_has_a_cost_and_adds_up(usages):
    meter = Meter({"model": PRICES})
    for usage in usages:
        response, transcription = parse_usage(usage), parse_transcription_usage(usage)
        assert response is not None
        assert transcription is not None
        meter.count_response(response, "model")
        meter.count_transcription(transcription, "model")
    assert meter.usage.requests == meter.transcription.requests == len(usages)
    assert Decimal(0) <= meter.cost.at_least <= meter.cost.at_most


def test_many_small_costs_add_up_without_an_error_of_rounding():
    cost = Cost()
    for _, _ in product(range(100), range(100)):
        cost += cost_of(input_tokens=1, input_token_details={"text_tokens": 1, "cached_tokens": 1})
    assert cost == exact("0.004")
