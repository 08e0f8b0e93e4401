"""What a program gets that asks for the impossible: at the public API, each error with the words that it says."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import trio

import trealtime
from trealtime import (
    ConnectFailed,
    RealtimeAgent,
    RealtimeRunner,
    RealtimeSession,
    SettingsError,
)
from trealtime.errors import (
    AudioFormatError,
    MissingApiKey,
    SessionClosed,
    SessionNotOpen,
)
from trealtime.testing import MemoryEndpoint

# ---- no key ---------------------------------------------------------------------------------------------------------


async def test_without_a_key_the_error_names_the_variable_the_parameter_and_the_emulator(monkeypatch) -> None:
    async def no_socket(*args: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(trio, "open_tcp_stream", no_socket)
    runner = RealtimeRunner(RealtimeAgent(name="Assistant"))
    with pytest.raises(MissingApiKey) as caught:
        async with runner.session():
            pytest.fail("the body must not run")
    assert str(caught.value) == (
        "no API key: set the environment variable OPENAI_API_KEY, or pass api_key in model_config. To try things out "
        "without one, run the emulator: `python -m trealtime emulate`, or open_emulator() in a program"
    )


# ---- audio and messages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "audio, error, words",
    [
        (b"\0\0\0", AudioFormatError, "3 bytes do not make whole samples: pcm16 has 2 each"),
        (
            np.zeros(4, dtype=np.float32),
            AudioFormatError,
            "got float32 with 1: for float samples in [-1, 1] use (samples * 32767).astype('int16')",
        ),
        (
            np.zeros((4, 2), dtype=np.int16),
            AudioFormatError,
            "an array of audio must be int16 with one dimension, got int16 with 2: make it mono with",
        ),
        (
            np.zeros(4, dtype=np.int32),
            AudioFormatError,
            "an array of audio must be int16 with one dimension, got int32 with 1",
        ),
        ("sound", TypeError, "audio is bytes or an int16 array, got str"),
        (None, TypeError, "audio is bytes or an int16 array, got NoneType"),
    ],
)
async def test_audio_that_would_be_noise(autojump_clock, kit, audio, error, words) -> None:
    async with kit.talk() as talk, talk.runner.session() as session:
        for call in (session.send_audio, _awaited(session.send_audio_nowait)):
            with pytest.raises(error) as caught:
                await call(audio)
            assert words in str(caught.value)
        assert not talk.of("input_audio_buffer.append")


@pytest.mark.parametrize("method", ["send_message", "ask", "create_item"])
async def test_a_content_type_that_cannot_be_sent(autojump_clock, kit, method) -> None:
    content = [{"type": "input_text", "text": "Look:"}, {"type": "input_video", "video": "x"}, {"type": "input_text"}]
    async with kit.talk() as talk, talk.runner.session() as session:
        with pytest.raises(SettingsError) as caught:
            await getattr(session, method)({"type": "message", "role": "user", "content": content})
        assert str(caught.value) == (
            "message: 2 problems\n"
            "  - content[1].type: got 'input_video', allowed: 'input_text', 'input_image', 'input_audio'\n"
            "  - content[2].text: got None, allowed: a string"
        )
        assert not talk.of("conversation.item.create", "response.create")


# ---- the wrong moment -----------------------------------------------------------------------------------------------

ARGUMENTS: dict[str, Any] = {
    "agent": RealtimeAgent(name="Another"),
    "audio": b"\0\0",
    "audio_end_ms": 0,
    "call_id": "call_x",
    "endpoint": MemoryEndpoint(),
    "event": {"type": "input_audio_buffer.clear"},
    "history": [],
    "item": "note",
    "item_id": "item_x",
    "message": "Hello",
    "settings": {"instructions": "x"},
}
"""What the parameters without a default are given, by name."""

AT_ANY_TIME = {"enter", "export", "history_of", "statistics", "timeline"}
"""`enter` always raises; the others only look."""


def calls_of(session: RealtimeSession[Any]) -> dict[str, Callable[[], Any]]:
    """A call of every public method of a session."""
    calls = {}
    for name, _ in inspect.getmembers(type(session), inspect.isfunction):  # some properties raise too early
        if name.startswith("_") or name in AT_ANY_TIME:
            continue
        method = getattr(session, name)
        parameters = inspect.signature(method).parameters.values()
        needed = [
            each
            for each in parameters
            if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        ]
        named = {each.name: ARGUMENTS[each.name] for each in needed if each.kind is each.KEYWORD_ONLY}
        rest = [ARGUMENTS[each.name] for each in needed if each.kind is not each.KEYWORD_ONLY]
        calls[name] = _called(method, *rest, **named)
    assert {"send_message", "send_audio", "ask", "respond", "subscribe", "update_settings", "close"} <= set(calls)
    return calls


def _called(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[[], Any]:
    async def call() -> None:
        result = method(*args, **kwargs)
        if hasattr(result, "__aenter__") and not inspect.isawaitable(result):
            async with result:
                pass
        elif hasattr(result, "__enter__"):
            with result:
                pass
        elif inspect.isawaitable(result):
            await result

    return call


def _awaited(method: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any) -> Any:
        return method(*args)

    return call


async def test_every_call_before_entry_says_what_is_missing_and_changes_nothing(autojump_clock, kit) -> None:
    async with kit.talk() as talk:
        session = await talk.runner.run()
        for name, call in calls_of(session).items():
            with trio.fail_after(1), pytest.raises(SessionNotOpen) as caught:
                await call()
            assert "async with" in str(caught.value) or "never entered" in str(caught.value), name
        async with session:
            assert (await session.ask("What is 1 plus 1?")).text == "1 plus 1 is 2."


async def test_every_call_after_the_end_says_so(autojump_clock, kit) -> None:
    async with kit.talk() as talk:
        async with talk.runner.session() as session:
            pass
        for name, call in calls_of(session).items():
            with trio.fail_after(1):
                if name in ("close", "wait_closed"):
                    await call()
                    continue
                with pytest.raises(SessionClosed, match=r"closed|over"):
                    await call()
        assert session.outcome == await session.wait_closed()


async def test_a_session_that_never_opened_is_closed(autojump_clock, kit) -> None:
    async with kit.talk(api_key="right") as talk:
        session = await talk.runner.run(model_config={"api_key": "wrong"})
        with pytest.raises(ConnectFailed):
            async with session:
                pytest.fail("the body must not run")
        assert session.outcome is None
        for name, call in calls_of(session).items():
            with trio.fail_after(1):
                if name == "close":
                    await call()
                    continue
                with pytest.raises(SessionClosed):
                    await call()


async def test_entering_twice(autojump_clock, kit) -> None:
    words = "^this session has been entered before: a session is entered once, build another$"
    async with kit.talk() as talk:
        session = await talk.runner.run()
        async with session:
            with pytest.raises(RuntimeError, match=words):
                await session.__aenter__()
            async with trio.open_nursery() as nursery:

                async def enter_too() -> None:
                    with pytest.raises(RuntimeError, match=words):
                        await session.__aenter__()

                nursery.start_soon(enter_too)
            assert (await session.ask("What is 1 plus 1?")).text == "1 plus 1 is 2."
        with pytest.raises(RuntimeError, match=words):
            async with session:
                pytest.fail("the body must not run")


async def test_leaving_from_another_task(autojump_clock, kit) -> None:
    async with kit.talk() as talk, talk.runner.session() as session, trio.open_nursery() as nursery:

        async def leave() -> None:
            with pytest.raises(RuntimeError, match="left by the task that entered it"):
                await session.__aexit__(None, None, None)

        nursery.start_soon(leave)


# ---- settings -------------------------------------------------------------------------------------------------------


def test_unknown_keys_are_named_with_the_nearest_known_one_all_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        RealtimeRunner(
            RealtimeAgent(name="Assistant"),
            config={
                "barge_inn": "off",
                "subscription_overflow": "drop",
                "model_settings": {"turn_detection": {"type": "server_vad", "treshold": 0.5}, "voice": 7},
            },
        )
    assert {problem.path: problem.suggestion for problem in caught.value.problems} == {
        "barge_inn": "barge_in",
        "subscription_overflow": None,
        "model_settings.turn_detection.treshold": "threshold",
        "model_settings.voice": None,
    }


async def test_unknown_keys_of_a_run_and_of_an_update(autojump_clock, kit) -> None:
    async with kit.talk() as talk:
        with pytest.raises(SettingsError, match=r"api_keey.*did you mean 'api_key'"):
            await talk.runner.run(model_config={"api_keey": "sk-1"})
        async with talk.runner.session() as session:
            with pytest.raises(SettingsError, match=r"unknown key 'instruction'; did you mean 'instructions'"):
                await session.update_settings({"instruction": "x"})
            with pytest.raises(SettingsError, match=r"output_modalities: got .*speech with its transcript"):
                await session.ask("Hi", output_modalities=["smell"])
            with pytest.raises(ValueError, match=r"'audio_interupted'.*'audio_interrupted'"):
                session.subscribe("audio_interupted")
        with pytest.raises(SettingsError, match=r"ping_intervall.*did you mean 'ping_interval'"):
            trealtime.OpenAIRealtimeWebSocketModel(transport_config={"ping_intervall": 5})
