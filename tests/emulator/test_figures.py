"""Figures of the turns that were answered, and recordings on the server's side."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trealtime.emulator import CallFunction, ScriptedBrain, ScriptedTranscriber, open_emulator
from trealtime.emulator.turn_figures import TurnFigures
from trealtime.recording import RecordedEvent, read_recording

MANUAL = {"audio": {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}}}


async def test_each_turn_has_its_figures(kit: Any, autojump_clock: MockClock) -> None:
    brain = ScriptedBrain(["Hello there.", CallFunction("look", "{}"), "It is there."])
    async with (
        open_emulator(
            listen=False, brain=brain, transcriber=ScriptedTranscriber(["Where is it?"]), first_delta_delay_s=0.25
        ) as emulator,
        emulator.connect() as wire,
    ):
        client = kit.client_of(wire)
        await client.update(MANUAL)
        await client.say("Hi")
        await client.send("response.create")
        done = await client.get("response.done")
        await client.append(kit.pcm(900, loud=True))
        await client.send("input_audio_buffer.commit")
        await trio.sleep(1)
        await client.send("response.create", {"response": {"tools": [{"type": "function", "name": "look"}]}})
        call = (await client.get("response.done"))["response"]["output"][0]
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "here"}
        await client.send("conversation.item.create", {"item": output})
        await client.send("response.create", {"response": {"output_modalities": ["text"]}})
        await client.get("response.done")
        await client.send("response.create", {"response": {"conversation": "none"}})
        await client.get("response.done")
        (session,) = emulator.sessions
        text, speech, tool = session.turns
    assert [turn.number for turn in session.turns] == [1, 2, 3]
    assert [turn.source for turn in session.turns] == ["text", "speech", "tool"]
    assert text.first_audio_s == pytest.approx(0.25)
    said = sum(len(event["delta"]) * 3 // 4 for event in client.seen if event["type"] == "response.output_audio.delta")
    assert text.audio_s == pytest.approx(said / 48_000, abs=0.01)
    assert (text.input_tokens, text.output_tokens) == (
        done["response"]["usage"]["input_tokens"],
        done["response"]["usage"]["output_tokens"],
    )
    assert speech.transcribed_at is not None
    assert speech.calls == ("look",)
    assert speech.created_at - speech.asked_at == pytest.approx(1)
    assert (tool.first_audio_at, tool.first_text_at is None) == (None, False)
    assert str(text).startswith("turn 1, text, completed; first audio after 0.25 s; ")
    assert "calls look" in str(speech)


async def test_the_length_of_the_audio_is_that_of_its_format(kit: Any, autojump_clock: MockClock) -> None:
    lengths: list[float] = []
    async with open_emulator(listen=False, brain=ScriptedBrain(["Hello there."] * 2)) as emulator:
        for format_ in ({"type": "audio/pcm", "rate": 24_000}, {"type": "audio/pcmu"}):
            async with emulator.connect() as wire:
                client = kit.client_of(wire)
                await client.update({"audio": {"output": {"format": format_}}})
                await client.send("response.create")
                await client.get("response.done")
                (turn,) = emulator.sessions[0].turns
                lengths.append(turn.audio_s)
            await trio.sleep(1)
    assert lengths[0] > 0.3
    assert lengths[1] == pytest.approx(lengths[0], abs=0.01)


async def test_a_cancelled_answer_says_so(kit: Any, autojump_clock: MockClock) -> None:
    async with (
        open_emulator(listen=False, brain=ScriptedBrain(["word " * 500])) as emulator,
        emulator.connect() as wire,
    ):
        client = kit.client_of(wire)
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        await client.send("response.cancel")
        await client.get("response.done")
        (turn,) = emulator.sessions[0].turns
    assert (turn.source, turn.status) == ("request", "cancelled")


async def test_each_session_is_recorded_in_a_file_of_its_own(
    kit: Any, autojump_clock: MockClock, tmp_path: Path
) -> None:
    folder = tmp_path / "calls"
    async with open_emulator(listen=False, record=folder, realtime_factor=math.inf) as emulator:
        for words in ("One", "Two"):
            async with emulator.connect() as wire:
                client = kit.client_of(wire)
                await client.say(words)
                await client.send("response.create")
                await client.get("response.done")
    files = sorted(folder.iterdir())
    assert len(files) == 2
    texts = set()
    for file in files:
        lines = [line for line in read_recording(file) if isinstance(line, RecordedEvent)]
        events = [(line.sent_by, line.event["type"]) for line in lines]
        assert events[0] == ("server", "session.created")
        assert events[1] == ("client", "conversation.item.create")
        assert ("server", "response.done") in events
        texts |= {
            line.event["item"]["content"][0]["text"]
            for line in lines
            if line.sent_by == "client" and "item" in line.event
        }
    assert texts == {"One", "Two"}


async def test_a_folder_that_cannot_be_made_is_told_and_the_session_goes_on(
    kit: Any, autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    async with open_emulator(listen=False, record=file) as emulator, emulator.connect() as wire:
        assert (await kit.client_of(wire).next())["type"] == "session.created"
    assert "is not recorded" in caplog.text


def test_words_that_come_after_the_answer_has_begun_are_those_of_its_turn() -> None:
    figures = TurnFigures()
    created = {"type": "response.created", "response": {"id": "resp_1", "conversation_id": "conv_1"}}
    heard = {"type": "conversation.item.input_audio_transcription.completed"}
    figures.note_server({"type": "input_audio_buffer.committed"}, 1.0)
    figures.note_server(created, 1.5)
    figures.note_server(heard, 2.0)
    figures.note_server(heard, 3.0)  # of another turn, to which nothing has been answered
    figures.note_server({"type": "response.done", "response": {"id": "resp_1", "status": "completed"}}, 4.0)
    [turn] = figures.turns
    assert (turn.source, turn.asked_at, turn.created_at, turn.transcribed_at) == ("speech", 1.0, 1.5, 2.0)


def test_words_that_come_before_the_answer_are_those_of_its_turn_too() -> None:
    figures = TurnFigures()
    created = {"type": "response.created", "response": {"id": "resp_1", "conversation_id": "conv_1"}}
    figures.note_server({"type": "input_audio_buffer.committed"}, 1.0)
    figures.note_server({"type": "conversation.item.input_audio_transcription.completed"}, 1.2)
    figures.note_server(created, 1.5)
    figures.note_server({"type": "response.done", "response": {"id": "resp_1", "status": "completed"}}, 4.0)
    [turn] = figures.turns
    assert turn.transcribed_at == 1.2
