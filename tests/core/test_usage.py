"""Usage: what a response took, what a session has, what transcription took, and the event that ported programs read."""

from __future__ import annotations

from decimal import Decimal

import attrs
import pytest

from trealtime._core.usage import MAX_ENTRIES, ModelPrices, add_usage, parse_transcription_usage, parse_usage
from trealtime.usage import Cost, TranscriptionUsage, Usage

DETAILED = {
    "total_tokens": 253,
    "input_tokens": 132,
    "output_tokens": 121,
    "input_token_details": {
        "text_tokens": 119,
        "audio_tokens": 13,
        "image_tokens": 0,
        "cached_tokens": 64,
        "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 0},
    },
    "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
}


def answer(talk, response_id="r1", usage=DETAILED, **fields):
    talk.created(response_id)
    talk.done(response_id, usage=usage, **fields)


def test_b256_a_response_tells_its_usage_with_the_details_of_each_modality(talk):
    answer(talk)
    (ended,) = talk.events_of("agent_end")
    assert (ended.usage.input_tokens, ended.usage.output_tokens, ended.usage.total_tokens) == (132, 121, 253)
    assert ended.usage.input_token_details == DETAILED["input_token_details"]
    assert ended.usage.output_token_details == {"text_tokens": 30, "audio_tokens": 91}
    assert ended.usage.cost is None


def test_b256_details_that_nobody_tells_are_none_and_not_zero(talk):
    answer(talk, "r1", {"input_tokens": 3})
    assert talk.core.usage.input_token_details is None
    answer(talk, "r2", {"input_token_details": {"audio_tokens": None, "text_tokens": 0}})
    answer(talk, "r3", {"input_token_details": {"audio_tokens": None, "cached_tokens": 2}})
    assert talk.core.usage.input_token_details == {"audio_tokens": None, "text_tokens": 0, "cached_tokens": 2}
    answer(talk, "r4", {"input_token_details": {"audio_tokens": 5}})
    assert talk.core.usage.input_token_details["audio_tokens"] == 5
    assert talk.core.usage.output_token_details is None


def test_b257_the_run_context_adds_up_and_keeps_an_entry_for_each_response(talk):
    assert talk.info.context.usage == Usage()
    answer(talk, "r1")
    answer(talk, "r2", {"input_tokens": 1, "output_tokens": 2}, status="cancelled")
    usage = talk.info.context.usage
    assert usage is talk.core.usage
    assert (usage.requests, usage.total_tokens) == (2, 256)
    assert [entry.total_tokens for entry in usage.request_usage_entries] == [253, 3]
    assert [entry.requests for entry in usage.request_usage_entries] == [1, 1]


def test_b257_entries_are_bounded_and_sums_are_not():
    total = Usage()
    for tokens in range(MAX_ENTRIES + 10):
        total = add_usage(total, Usage(1, total_tokens=tokens))
    assert total.requests == MAX_ENTRIES + 10
    assert total.total_tokens == sum(range(MAX_ENTRIES + 10))
    assert [entry.total_tokens for entry in total.request_usage_entries] == list(range(10, MAX_ENTRIES + 10))


def test_b258_ported_programs_read_a_usage_event_before_the_end_of_the_turn(make_talk):
    talk = make_talk(raw_events=True)
    talk.open()
    talk.created("r1")
    talk.forget()
    talk.done("r1", usage=DETAILED)
    frame, usage, ended = (event.data for event in talk.events_of("raw_model_event"))
    assert (frame.type, usage.type, ended.type) == ("raw_server_event", "usage", "turn_ended")
    assert usage.usage.total_tokens == 253
    assert usage.input_tokens_details["cached_tokens"] == 64
    assert usage.output_tokens_details == {"text_tokens": 30, "audio_tokens": 91}
    assert attrs.evolve(usage, usage=Usage(1, 2, 3, 5)).usage.output_tokens == 3


def test_a_response_without_usage_has_no_usage_event(make_talk):
    talk = make_talk(raw_events=True)
    talk.open()
    talk.created("r1")
    talk.forget()
    talk.done("r1", usage=None)
    assert [event.data.type for event in talk.events_of("raw_model_event")] == ["raw_server_event", "turn_ended"]
    assert talk.events_of("agent_end")[0].usage is None


def test_an_interrupted_response_whose_end_comes_too_late_is_billed_once(talk):
    talk.speak("r1", "a")
    talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
    talk.wait(5.0)
    assert talk.events_of("agent_end")
    assert talk.core.usage.requests == 0
    talk.done("r1", "cancelled", usage=DETAILED)
    talk.done("r1", "cancelled", usage=DETAILED)
    assert (talk.core.usage.requests, talk.core.usage.total_tokens) == (1, 253)
    assert len(talk.events_of("agent_end")) == 1


# ---- transcription --------------------------------------------------------------------------------------------------


def transcribed(talk, item_id, usage):
    talk.server(
        "conversation.item.input_audio_transcription.completed",
        item_id=item_id,
        content_index=0,
        transcript="Hello",
        usage=usage,
    )


def test_b259_transcription_is_counted_apart_from_responses(talk):
    tokens = {"type": "tokens", "total_tokens": 22, "input_tokens": 13, "output_tokens": 9}
    transcribed(talk, "u1", {**tokens, "input_token_details": {"text_tokens": 0, "audio_tokens": 13}})
    transcribed(talk, "u2", tokens)
    transcribed(talk, "u3", {"type": "duration", "seconds": 2.5})
    transcribed(talk, "u4", None)
    assert talk.core.usage == Usage()
    usage = talk.core.transcription_usage
    assert (usage.requests, usage.input_tokens, usage.output_tokens, usage.total_tokens) == (3, 26, 18, 44)
    assert usage.input_token_details == {"text_tokens": 0, "audio_tokens": 13}
    assert usage.seconds == 2.5
    assert usage.cost is None


@pytest.mark.parametrize("seconds", [-1, "2", None, float("nan"), float("inf")])
def test_seconds_that_are_none_count_as_nothing(seconds):
    usage = parse_transcription_usage({"type": "duration", "seconds": seconds})
    assert usage is not None
    assert usage.seconds == 0.0


def test_what_is_no_usage_object_is_none():
    assert parse_usage(7) is None
    assert parse_transcription_usage(7) is None


@pytest.mark.parametrize(
    "counted",
    [
        {},
        {"usage": Usage(requests=2, total_tokens=100)},
        {"transcription_usage": TranscriptionUsage(seconds=7.0)},
        {"usage": Usage(requests=2, total_tokens=100), "transcription_usage": TranscriptionUsage(seconds=7.0)},
    ],
)
def test_what_another_process_has_counted_is_counted_on(talk, counted):
    talk.app.begin_with([], **counted)
    answer(talk, usage={"total_tokens": 5})
    before = counted.get("usage", Usage())
    assert (talk.core.usage.requests, talk.core.usage.total_tokens) == (before.requests + 1, before.total_tokens + 5)
    assert talk.core.transcription_usage == counted.get("transcription_usage", TranscriptionUsage())


@pytest.mark.parametrize("before, mine", [(None, None), ("1.5", None), (None, "0.25"), ("1.5", "0.25")])
def test_so_is_what_it_has_cost_where_that_is_known(make_talk, before, mine):
    """What was counted without prices costs nothing that we know."""

    def cost(amount: str | None) -> Cost | None:
        return None if amount is None else Cost(Decimal(amount), Decimal(amount))

    talk = make_talk(prices={"any": ModelPrices()})
    talk.app.begin_with([], usage=Usage(cost=cost(before)), transcription_usage=TranscriptionUsage(cost=cost(mine)))
    total = Decimal(before or 0) + Decimal(mine or 0)
    assert talk.core.cost == Cost(total, total)
    assert talk.core.usage.cost == Cost(Decimal(before or 0), Decimal(before or 0))
    assert talk.core.transcription_usage.cost == Cost(Decimal(mine or 0), Decimal(mine or 0))
