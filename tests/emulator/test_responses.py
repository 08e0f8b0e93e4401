"""Responses as a client sees them, from the brain's reply to response.done, under the mock clock."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import pytest
import trio
from trio.testing import MockClock

from trealtime.emulator import (
    BrainReply,
    BrainRequest,
    CallFunction,
    Say,
    ScriptedBrain,
    ScriptedTranscriber,
    SpokenChunk,
)

TEXT = {"output_modalities": ["text"]}
LOOK = {"type": "function", "name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}}


class ListeningBrain:
    """Says nothing, and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[BrainRequest] = []

    async def reply(self, request: BrainRequest) -> BrainReply:
        self.requests.append(request)
        return BrainReply()


class SlowBrain:
    """Takes ten seconds."""

    async def reply(self, request: BrainRequest) -> BrainReply:
        await trio.sleep(10)
        return BrainReply((Say("At last."),))


class BrokenBrain:
    async def reply(self, request: BrainRequest) -> BrainReply:
        raise ValueError("no idea")


class BrokenVoice:
    """Says one word and breaks."""

    def speak(self, text: str, *, voice: str, speed: float) -> Any:
        yield SpokenChunk("Well ", np.ones(24_000, dtype=np.int16))
        raise RuntimeError("lost my voice")


async def test_a_text_turn_has_its_events_in_order(kit: Any, autojump_clock: MockClock) -> None:
    async with kit.client(brain=ScriptedBrain(["One two three."])) as client:
        await client.say("Count.")
        await client.send("response.create", {"response": TEXT})
        events = await client.rest()
    assert kit.without_runs(events) == [
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
        "rate_limits.updated",
    ]
    assert "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta") == "One two three."
    created, done = (e["response"] for e in events if e["type"] in ("response.created", "response.done"))
    assert created["status"] == "in_progress"
    assert (created["status_details"], created["usage"], created["output"]) == (None, None, [])
    assert (done["status"], done["status_details"]) == ("completed", None)
    assert done["conversation_id"] == created["conversation_id"]
    (item,) = done["output"]
    assert item["content"] == [{"type": "output_text", "text": "One two three."}]
    (added,) = [e for e in events if e["type"] == "conversation.item.added" and e["item"]["id"] == item["id"]]
    assert (added["item"]["status"], added["item"]["content"]) == ("in_progress", [])
    assert added["previous_item_id"] == events[0]["item"]["id"]


async def test_an_audio_turn_has_its_events_in_order_and_its_words_with_the_sound(
    kit: Any, autojump_clock: MockClock
) -> None:
    async with kit.client(brain=ScriptedBrain(["Hello my dear friend, how are you?"])) as client:
        await client.send("response.create")
        events = await client.rest()
    assert kit.without_runs(events) == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
        "rate_limits.updated",
    ]
    words = [e["delta"] for e in events if e["type"] == "response.output_audio_transcript.delta"]
    assert "".join(words) == "Hello my dear friend, how are you?"
    sounds = [len(base64.b64decode(e["delta"])) for e in events if e["type"] == "response.output_audio.delta"]
    assert set(sounds[:-1]) == {7200}  # 150 ms
    assert 1500 < sum(sounds) / 48 < 4500
    order = [e["type"] for e in events if e["type"].endswith(".delta")]
    last_word = len(order) - 1 - order[::-1].index("response.output_audio_transcript.delta")
    assert 0 < order.index("response.output_audio.delta") < last_word  # the words come as they are spoken
    assert events[-2]["response"]["output"][0]["content"] == [
        {"type": "output_audio", "transcript": "Hello my dear friend, how are you?"}
    ]


@pytest.mark.parametrize("factor, low, high", [(1.0, 0.85, 1.0), (8.0, 0.1, 0.13), (math.inf, 0, 0.001)])
async def test_speech_leaves_faster_than_it_plays(
    kit: Any, autojump_clock: MockClock, factor: float, low: float, high: float
) -> None:
    brain = ScriptedBrain(["One two three four five six seven eight nine ten eleven twelve."])
    async with kit.client(brain=brain, realtime_factor=factor, first_delta_delay_s=0) as client:
        began = trio.current_time()
        await client.send("response.create")
        events = await client.until("response.done")
        played_s = (
            sum(len(base64.b64decode(e["delta"])) for e in events if e["type"] == "response.output_audio.delta") / 48e3
        )
        assert low <= (trio.current_time() - began) / played_s <= high


@pytest.mark.parametrize("kind", ["audio/pcmu", "audio/pcma"])
async def test_a_response_speaks_in_its_own_format_and_voice(kit: Any, autojump_clock: MockClock, kind: str) -> None:
    output = {"format": {"type": kind}, "voice": "cedar"}
    async with kit.client(brain=ScriptedBrain(["Hello there."] * 2)) as client:
        await client.send("response.create", {"response": {"audio": {"output": output}}})
        narrow = await client.until("response.done")
        await client.send("response.create")
        wide = await client.until("response.done")
    assert narrow[-1]["response"]["audio"]["output"] == output
    assert wide[-1]["response"]["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24000}
    sizes = [
        sum(len(base64.b64decode(e["delta"])) for e in events if e["type"] == "response.output_audio.delta")
        for events in (narrow, wide)
    ]
    assert sizes[0] / 8_000 == pytest.approx(sizes[1] / 48_000, abs=0.2)


async def test_a_function_call_streams_its_arguments_and_waits_for_the_client(
    kit: Any, autojump_clock: MockClock
) -> None:
    arguments = json.dumps({"place": "the far end of the long garden", "carefully": True})
    brain = ScriptedBrain([[Say("Let me see."), CallFunction("look", arguments)], "A cat."])
    async with kit.client(brain=brain) as client:
        await client.send("response.create", {"response": {"tools": [LOOK]} | TEXT})
        events = await client.until("response.done")
        call = events[-1]["response"]["output"][1]
        assert (call["type"], call["name"], call["arguments"]) == ("function_call", "look", arguments)
        deltas = [e for e in events if e["type"] == "response.function_call_arguments.delta"]
        assert len(deltas) > 1
        assert "".join(e["delta"] for e in deltas) == arguments
        assert {e["output_index"] for e in deltas} == {1}
        (done,) = [e for e in events if e["type"] == "response.function_call_arguments.done"]
        assert (done["name"], done["arguments"], done["call_id"]) == ("look", arguments, call["call_id"])
        assert kit.types(await client.rest()) == ["rate_limits.updated"]
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "a cat"}
        await client.send("conversation.item.create", {"item": output})
        await client.send("response.create", {"response": TEXT})
        answer = (await client.get("response.done"))["response"]["output"][0]
    assert answer["content"][0]["text"] == "A cat."


async def test_the_brain_sees_the_session_the_response_and_the_conversation(
    kit: Any, autojump_clock: MockClock
) -> None:
    brain = ListeningBrain()
    async with kit.client(brain=brain, transcriber=ScriptedTranscriber(["what I said"])) as client:
        await client.update({"instructions": "Be kind.", "tools": [LOOK], "audio": {"input": {"turn_detection": None}}})
        await client.say("Hi")
        await client.append(kit.pcm(500, loud=True))
        await client.send("input_audio_buffer.commit")
        await client.send("response.create", {"response": {"metadata": {"a": "b"}, "tool_choice": "required"}})
        await client.until("response.done")
        await client.send("response.create", {"response": {"instructions": "Be brief.", "tools": [], "input": []}})
        await client.until("response.done")
    first, second = brain.requests
    assert (first.instructions, list(first.tools), first.tool_choice, first.metadata) == (
        "Be kind.",
        [LOOK],
        "required",
        {"a": "b"},
    )
    assert [item["content"][0] for item in first.items] == [
        {"type": "input_text", "text": "Hi"},
        {"type": "input_audio", "transcript": "what I said"},
    ]
    assert (second.instructions, tuple(second.tools), tuple(second.items)) == ("Be brief.", (), ())


async def test_an_out_of_band_response_leaves_the_conversation_alone(kit: Any, autojump_clock: MockClock) -> None:
    brain = ListeningBrain()
    async with kit.client(brain=brain) as client:
        await client.say("Hi")
        item_id = (await client.get("conversation.item.done"))["item"]["id"]
        extra = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Sum up."}]}
        given = [{"type": "item_reference", "id": item_id}, extra]
        params = {"conversation": "none", "input": given, "metadata": {"topic": "sum"}} | TEXT
        await client.send("response.create", {"response": params})
        events = await client.rest()
        await client.send("conversation.item.create", {"item": extra})
        added = await client.get("conversation.item.added")
    assert not [kind for kind in kit.types(events) if kind.startswith("conversation.")]
    response = events[-2]["response"]
    assert (response["conversation_id"], response["metadata"]) == (None, {"topic": "sum"})
    assert events[0]["response"]["metadata"] == {"topic": "sum"}
    assert [item["content"][0]["text"] for item in brain.requests[0].items] == ["Hi", "Sum up."]
    assert added["previous_item_id"] == item_id


async def test_out_of_band_responses_run_beside_the_one_in_the_conversation(
    kit: Any, autojump_clock: MockClock
) -> None:
    async with kit.client(brain=SlowBrain()) as client:
        for number in range(3):
            conversation = {"conversation": "none"} if number else {}
            await client.send("response.create", {"response": {"metadata": {"n": str(number)}} | conversation | TEXT})
        events = await client.rest()
    done = [e["response"] for e in events if e["type"] == "response.done"]
    assert sorted(response["metadata"]["n"] for response in done) == ["0", "1", "2"]
    assert all(response["status"] == "completed" for response in done)
    assert trio.current_time() < 40  # side by side, ten seconds each, and the quiet at the end


async def test_one_response_at_a_time_in_the_conversation(kit: Any, autojump_clock: MockClock) -> None:
    async with kit.client(brain=SlowBrain()) as client:
        await client.send("response.create")
        created = await client.get("response.created")
        await client.send("response.create", {"event_id": "second"})
        error = (await client.get("error"))["error"]
        assert (error["code"], error["event_id"]) == ("conversation_already_has_active_response", "second")
        assert created["response"]["id"] in error["message"]


def test_out_of_band_responses_are_bounded(kit: Any) -> None:
    engine = kit.engine()
    for _ in range(2):
        engine("response.create", {"response": {"conversation": "none"}})
    (event,) = engine("response.create", {"response": {"conversation": "none"}})
    assert event["error"]["code"] == "rate_limit_exceeded"
    engine.core.responses.end(engine.core.responses.started.popleft(), "completed")
    engine.take()
    assert engine("response.create", {"response": {"conversation": "none"}})[0]["type"] == "response.created"


@pytest.mark.parametrize("by_id", [True, False])
async def test_cancel_ends_every_item_and_comes_at_once(kit: Any, autojump_clock: MockClock, *, by_id: bool) -> None:
    async with kit.client(brain=ScriptedBrain(["A long story. " * 50])) as client:
        await client.send("response.create")
        response_id = (await client.get("response.created"))["response"]["id"]
        await client.until("response.output_audio.delta")
        await client.until("response.output_audio.delta")
        before = trio.current_time()
        await client.send("response.cancel", {"response_id": response_id} if by_id else {})
        events = await client.until("response.done")
        assert trio.current_time() - before < 0.05
        ends = [name for name in kit.without_runs(events) if name != "response.output_audio.delta"]
        assert ends == [
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "conversation.item.done",
            "response.done",
        ]
        response = events[-1]["response"]
        assert response["status"] == "cancelled"
        assert response["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        assert response["output"][0]["status"] == "incomplete"
        assert kit.types(await client.rest()) == ["rate_limits.updated"]
        await client.send("response.cancel", {"event_id": "again"})
        error = (await client.get("error"))["error"]
        assert (error["code"], error["event_id"]) == ("response_cancel_not_active", "again")


async def test_a_response_can_be_cancelled_before_the_brain_has_answered(kit: Any, autojump_clock: MockClock) -> None:
    async with kit.client(brain=SlowBrain()) as client:
        await client.send("response.create")
        await client.send("response.cancel")
        events = await client.rest()
    assert kit.types(events) == ["response.created", "response.done", "rate_limits.updated"]
    assert events[1]["response"]["output"] == []


async def test_an_unknown_response_cannot_be_cancelled(kit: Any, autojump_clock: MockClock) -> None:
    async with kit.client(brain=SlowBrain()) as client:
        await client.send("response.create")
        await client.send("response.cancel", {"response_id": "resp_nobody"})
        assert (await client.get("error"))["error"]["code"] == "response_cancel_not_active"
        assert "response.done" in kit.types(await client.rest())


@pytest.mark.parametrize("modality", ["audio", "text"])
@pytest.mark.parametrize("limit", [1, 5, 30])
async def test_max_output_tokens_ends_a_response_as_incomplete(
    kit: Any, autojump_clock: MockClock, modality: str, limit: int
) -> None:
    async with kit.client(brain=ScriptedBrain(["A long story that goes on. " * 30])) as client:
        params = {"max_output_tokens": limit, "output_modalities": [modality]}
        await client.send("response.create", {"response": params})
        response = (await client.get("response.done"))["response"]
    assert response["status"] == "incomplete"
    assert response["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert response["max_output_tokens"] == limit
    assert response["output"][0]["status"] == "incomplete"
    assert response["usage"]["output_tokens"] <= limit


@pytest.mark.parametrize(
    "engines, n_items",
    [({"brain": BrokenBrain()}, 0), ({"brain": ScriptedBrain(["Hi"]), "voice": BrokenVoice()}, 1)],
)
async def test_an_engine_that_fails_fails_its_response_and_not_the_session(
    kit: Any, autojump_clock: MockClock, engines: dict[str, Any], n_items: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with kit.client(**engines) as client:
        await client.send("response.create")
        response = (await client.get("response.done"))["response"]
        assert response["status"] == "failed"
        assert response["status_details"]["error"] == {"type": "server_error", "code": "engine_failed"}
        assert [item["status"] for item in response["output"]] == ["incomplete"] * n_items
        await client.say("Still there?")
        await client.until("conversation.item.done")
    assert "failed" in caplog.text


async def test_usage_counts_what_was_read_and_made(kit: Any, autojump_clock: MockClock) -> None:
    async with kit.client(brain=ScriptedBrain(["Good day to you."] * 2)) as client:
        await client.update({"instructions": "x" * 400, "audio": {"input": {"turn_detection": None}}})
        await client.append(kit.pcm(1000, loud=True))
        await client.send("input_audio_buffer.commit")
        await client.send("response.create")
        events = await client.until("rate_limits.updated")
        await client.send("response.create")
        second = (await client.get("response.done"))["response"]["usage"]
    usage, limits = events[-2]["response"]["usage"], events[-1]["rate_limits"]
    played_ms = (
        sum(len(base64.b64decode(e["delta"])) for e in events if e["type"] == "response.output_audio.delta") / 48
    )
    assert usage["input_token_details"]["text_tokens"] == 100
    assert usage["input_token_details"]["audio_tokens"] == 10
    assert usage["output_token_details"] == {"text_tokens": 4, "audio_tokens": math.ceil(played_ms / 50)}
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert [limit["name"] for limit in limits] == ["requests", "tokens"]
    assert limits[0]["remaining"] == limits[0]["limit"] - 1
    assert second["input_token_details"]["cached_tokens_details"]["text_tokens"] == 64
    assert second["input_token_details"]["audio_tokens"] == 10 + math.ceil(played_ms / 50)


async def test_the_voice_is_locked_once_the_session_has_spoken(kit: Any, autojump_clock: MockClock) -> None:
    async with kit.client(brain=ScriptedBrain(["Hi."] * 4)) as client:
        voice = {"audio": {"output": {"voice": "cedar"}}}
        await client.update(voice)
        await client.until("session.updated")
        await client.send("response.create")
        await client.until("response.done")
        await client.update(voice)
        await client.until("session.updated")  # the same voice is no change
        await client.update({"audio": {"output": {"voice": "ash"}}})
        error = (await client.get("error"))["error"]
        assert (error["code"], error["param"]) == ("cannot_update_voice", "session.audio.output.voice")
        await client.send("response.create", {"response": {"audio": {"output": {"voice": "ash"}}}})
        assert (await client.get("error"))["error"]["param"] == "response.audio.output.voice"
        other = {"audio": {"output": {"voice": "ash"}}, "conversation": "none"}
        await client.send("response.create", {"response": other})
        assert (await client.get("response.done"))["response"]["status"] == "completed"


@pytest.mark.parametrize(
    "params, code, param",
    [
        ({"colour": 1}, "unknown_parameter", "response.colour"),
        ({"conversation": "conv_1"}, "invalid_value", "response.conversation"),
        ({"metadata": {"a": 1}}, "invalid_type", "response.metadata.a"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "invalid_value", "response.metadata"),
        ({"metadata": {"k" * 65: "x"}}, "invalid_value", "response.metadata"),
        ({"metadata": {"k": "x" * 513}}, "invalid_value", "response.metadata.k"),
        ({"input": [{"type": "item_reference"}]}, "missing_required_parameter", "response.input[0].id"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "invalid_value", "response.input[0].id"),
        ({"input": [{"type": "item_reference", "id": []}]}, "invalid_type", "response.input[0].id"),
        ({"input": [{"type": "message", "role": "user"}]}, "missing_required_parameter", "response.input[0].content"),
        ({"output_modalities": ["text", "audio"]}, "invalid_value", "response.output_modalities"),
        ({"audio": {"output": {"speed": 1}}}, "unknown_parameter", "response.audio.output.speed"),
        ({"prompt": {}}, "missing_required_parameter", "response.prompt.id"),
    ],
)
def test_wrong_parameters_start_nothing(kit: Any, params: dict[str, Any], code: str, param: str) -> None:
    engine = kit.engine()
    error = engine.refused("response.create", {"response": params})
    assert (error["code"], error["param"]) == (code, param)
    assert not engine.core.responses.running


async def test_a_spoken_turn_is_transcribed_and_answered(kit: Any, autojump_clock: MockClock) -> None:
    brain = ListeningBrain()
    async with kit.client(brain=brain, transcriber=ScriptedTranscriber(["how do you do"])) as client:
        await client.update(
            {
                "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe", "language": "en"}}},
                "include": ["item.input_audio_transcription.logprobs"],
            }
        )
        await client.append(kit.pcm(600, loud=True) + kit.pcm(1000))
        events = await client.rest()
    prefix = "conversation.item.input_audio_transcription."
    said = [e for e in events if e["type"].startswith(prefix)]
    assert kit.types(said) == [f"{prefix}delta"] * 4 + [f"{prefix}completed"]
    assert "".join(e["delta"] for e in said[:-1]) == said[-1]["transcript"] == "how do you do"
    assert [entry["token"] for entry in said[-1]["logprobs"]] == ["how", " do", " you", " do"]
    assert said[-1]["usage"]["type"] == "tokens"
    committed = next(e for e in events if e["type"] == "input_audio_buffer.committed")
    assert {e["item_id"] for e in said} == {committed["item_id"]}
    assert "response.done" in kit.types(events)
    assert brain.requests[0].items[-1]["content"][0]["transcript"] == "how do you do"


async def test_without_a_transcriber_the_transcript_is_an_honest_placeholder(
    kit: Any, autojump_clock: MockClock
) -> None:
    async with kit.client(connect={"intent": "transcription"}) as client:
        audio = {"input": {"transcription": {"model": "whisper-1"}, "turn_detection": None}}
        await client.send("session.update", {"session": {"type": "transcription", "audio": audio}})
        await client.append(kit.pcm(1500, loud=True))
        await client.send("input_audio_buffer.commit")
        events = await client.rest()
    assert (events[-1]["transcript"], events[-1]["usage"]) == ("(speech, 1.5 s)", {"type": "duration", "seconds": 2})
    assert "logprobs" not in events[-1]


async def test_transcription_is_silent_unless_it_is_configured(kit: Any, autojump_clock: MockClock) -> None:
    async with kit.client() as client:
        await client.append(kit.pcm(600, loud=True) + kit.pcm(1000))
        events = await client.rest()
    assert not [kind for kind in kit.types(events) if "transcription" in kind]
    assert "response.done" in kit.types(events)


async def test_a_transcriber_that_fails_is_told_and_the_turn_is_answered(
    kit: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Deaf:
        async def transcribe(self, samples: Any, rate: int, *, language: Any = None, prompt: Any = None) -> str:
            raise RuntimeError("no ears")

    async with kit.client(transcriber=Deaf(), brain=ScriptedBrain(["Pardon?"])) as client:
        await client.update({"audio": {"input": {"transcription": {"model": "whisper-1"}}}})
        await client.append(kit.pcm(600, loud=True) + kit.pcm(1000))
        events = await client.rest()
    (failed,) = [e for e in events if e["type"].endswith("transcription.failed")]
    assert "no ears" in failed["error"]["message"]
    assert next(e for e in events if e["type"] == "response.done")["response"]["status"] == "completed"
    assert "transcribing" in caplog.text


async def test_the_rule_brain_answers_by_default(kit: Any, autojump_clock: MockClock) -> None:
    async with kit.client() as client:
        await client.say("Count from one to three.")
        await client.send("response.create", {"response": TEXT})
        text = (await client.get("response.done"))["response"]["output"][0]["content"][0]["text"]
    assert "two" in text.lower() or "2" in text


async def test_null_in_a_response_or_an_item_is_the_same_as_leaving_it_out(kit: Any, autojump_clock: MockClock) -> None:
    async with kit.client() as client:
        part = {"type": "input_text", "text": "count to 2", "audio": None, "transcript": None, "image_url": None}
        item = {"id": None, "type": "message", "role": "user", "content": [part], "status": None, "object": None}
        item |= {"call_id": None, "name": None, "arguments": None, "output": None}
        await client.send("conversation.item.create", {"event_id": None, "previous_item_id": None, "item": item})
        done = (await client.get("conversation.item.done"))["item"]
        assert done["content"] == [{"type": "input_text", "text": "count to 2"}]
        fields = ["output_modalities", "instructions", "audio", "tools", "tool_choice", "parallel_tool_calls"]
        fields += ["reasoning", "max_output_tokens", "conversation", "metadata", "prompt", "input"]
        for response in (None, dict.fromkeys(fields), {"output_modalities": ["text"], "audio": {"output": None}}):
            await client.send("response.create", {"response": response})
            said = (await client.get("response.done"))["response"]["output"][0]["content"][0]
            assert (said.get("transcript") or said.get("text")) == "1, 2."
