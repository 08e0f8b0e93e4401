"""A call in which the emulator sends nearly everything it can, against the schema and the official examples."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

from trio.testing import MockClock

from trealtime.emulator import BrainReply, BrainRequest, CallFunction, Say, open_emulator
from trealtime.transport.models import ConnectionTarget, RealtimeModel

EXPECTED = {
    "conversation.item.added",
    "conversation.item.deleted",
    "conversation.item.done",
    "conversation.item.input_audio_transcription.completed",
    "conversation.item.input_audio_transcription.delta",
    "conversation.item.retrieved",
    "conversation.item.truncated",
    "error",
    "input_audio_buffer.cleared",
    "input_audio_buffer.committed",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.timeout_triggered",
    "mcp_list_tools.failed",
    "mcp_list_tools.in_progress",
    "output_audio_buffer.cleared",
    "rate_limits.updated",
    "response.content_part.added",
    "response.content_part.done",
    "response.created",
    "response.done",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.delta",
    "response.output_audio_transcript.done",
    "response.output_item.added",
    "response.output_item.done",
    "response.output_text.delta",
    "response.output_text.done",
    "session.created",
    "session.updated",
}


class BusyBrain:
    async def reply(self, request: BrainRequest) -> BrainReply:
        return BrainReply((Say("Let me have a look at that."), CallFunction("look", '{"at": "that"}')))


async def test_a_call_with_everything_in_it_is_valid_throughout(
    kit: Any, schema: ModuleType, autojump_clock: MockClock
) -> None:
    async with (
        open_emulator(listen=False, brain=BusyBrain()) as emulator,
        emulator.connect(call_id="rtc_1") as wire,
    ):
        client = kit.client_of(wire)
        audio = {
            "input": {
                "transcription": {"model": "gpt-4o-transcribe"},
                "turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000},
            }
        }
        await client.update(
            {"audio": audio, "tools": [{"type": "mcp", "server_label": "s", "server_url": "https://a.b"}]}
        )
        await client.append(kit.pcm(700, loud=True) + kit.pcm(900))
        await client.until("response.done")
        await client.send("output_audio_buffer.clear")
        item_id = next(e["item_id"] for e in client.seen if e["type"] == "response.output_audio.delta")
        await client.send("conversation.item.truncate", {"item_id": item_id, "content_index": 0, "audio_end_ms": 100})
        await client.send("conversation.item.retrieve", {"item_id": item_id})
        await client.send("conversation.item.delete", {"item_id": item_id})
        await client.send("input_audio_buffer.clear")
        await client.send("nonsense")
        await client.until("input_audio_buffer.timeout_triggered")
        await client.until("response.done")
        await client.send("response.create", {"response": {"output_modalities": ["text"]}})
        await client.until("response.done")
        await client.until("rate_limits.updated")
    assert set(kit.types(client.seen)) == EXPECTED
    for event in client.seen:
        assert schema.validate("server", event) == []


def test_every_official_client_example_is_understood(kit: Any, schema: ModuleType) -> None:
    folder = Path(str(schema.__file__)).parent / "examples" / "client"
    problems = {}
    for path in sorted(folder.glob("*.json")):
        example = json.loads(path.read_text(encoding="utf-8"))
        for event in kit.engine()(example["type"], example):
            if event["type"] == "error":
                problems[example["type"]] = event["error"]["code"]
    # These speak of items, audio and responses that a new session does not have, or carry an ellipsis for base64.
    assert problems == {
        "conversation.item.delete": "item_delete_invalid_item_id",
        "conversation.item.retrieve": "item_retrieve_invalid_item_id",
        "conversation.item.truncate": "item_truncate_invalid_item_id",
        "input_audio_buffer.append": "invalid_value",
        "input_audio_buffer.commit": "input_audio_buffer_commit_empty",
        "output_audio_buffer.clear": "invalid_value",
        "response.cancel": "response_cancel_not_active",
        "response.create": "invalid_value",
    }


async def test_an_emulator_in_memory_is_a_model(kit: Any, autojump_clock: MockClock) -> None:
    async with open_emulator(listen=False, api_key="right") as emulator:
        model = emulator.memory_model()
        assert isinstance(model, RealtimeModel)
        async with model.connect(ConnectionTarget(model_name="gpt-realtime-2", api_key="right")) as wire:
            assert (await kit.client_of(wire).next())["session"]["model"] == "gpt-realtime-2"
