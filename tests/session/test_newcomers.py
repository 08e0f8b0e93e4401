"""Mistakes of a first program: each error says what to write instead."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
import trio

from trealtime import RealtimeAgent, RealtimeRunner, SettingsError, function_tool, open_emulator

AGENT = RealtimeAgent(name="Otto")


async def test_a_block_that_was_not_entered_says_how(autojump_clock) -> None:
    async with open_emulator(listen=False) as emulator:
        runner = RealtimeRunner(AGENT, model=emulator.memory_model())
        session: Any = runner.session()
        with pytest.raises(AttributeError) as caught:
            session.ask("Hello")
        wanted = "write `async with runner.session() as session:`"
        assert str(caught.value) == f"runner.session() has no attribute 'ask': {wanted}"
        async with session as entered:
            response: Any = entered.respond("Hello")
            with pytest.raises(AttributeError, match=r"as response:`$"):
                response.text  # noqa: B018
            with pytest.raises(TypeError, match="object AsyncWith can't be used in 'await' expression"):
                await response
        with pytest.raises(RuntimeError, match="call it again for each `async with`"):
            await session.__aenter__()


async def test_a_block_is_no_other_thing_than_it_seems(autojump_clock) -> None:
    manager = open_emulator(listen=False)
    assert repr(manager) == "<open_emulator(), for `async with`>"
    assert not hasattr(copy.copy(manager), "__await__")
    with pytest.raises(KeyError, match="mine"):
        async with manager:
            raise KeyError("mine")


async def test_an_exception_of_the_body_has_no_frame_of_the_block(autojump_clock) -> None:
    with pytest.raises(KeyError) as caught:
        async with open_emulator(listen=False):
            raise KeyError("mine")
    assert not [each for each in caught.traceback if each.path.name == "_async_with.py"]  # type: ignore[union-attr]


def test_asyncio_is_told_apart() -> None:
    async def emulate() -> None:
        async with open_emulator(listen=False):
            pytest.fail("the body must not run")

    async def run() -> None:
        await RealtimeRunner(AGENT).run()

    for program in (emulate, run):
        with pytest.raises(RuntimeError, match=r"needs Trio: run the program with trio\.run\(main\), not with asyncio"):
            asyncio.run(program())
    session = trio.run(RealtimeRunner(AGENT).run)

    async def enter_session() -> None:
        async with session:
            pytest.fail("the body must not run")

    with pytest.raises(RuntimeError, match="a session needs Trio"):
        asyncio.run(enter_session())


class NoModel:
    def connect(self) -> None: ...


@pytest.mark.parametrize(
    "model, words",
    [
        ("gpt-realtime", "model: got 'gpt-realtime', allowed: a RealtimeModel"),
        ("gpt-realtime", '{"model_settings": {"model_name": ...}}'),
        (NoModel(), "emulator.memory_model()"),
        (NoModel().connect, "allowed: a RealtimeModel"),
        (3, "model: got 3,"),
    ],
)
def test_a_model_that_cannot_connect(model: Any, words: str) -> None:
    with pytest.raises(TypeError) as caught:
        RealtimeRunner(AGENT, model=model)
    assert words in str(caught.value)


async def test_an_emulator_in_place_of_its_model(autojump_clock) -> None:
    async with open_emulator(listen=False) as emulator:
        for model in (emulator, emulator.memory_model):
            with pytest.raises(TypeError, match=r"emulator\.memory_model\(\)"):
                RealtimeRunner(AGENT, model=model)  # type: ignore[arg-type]


def test_an_agent_that_is_none() -> None:
    with pytest.raises(TypeError, match="starting_agent: got 'Otto', allowed: a RealtimeAgent"):
        RealtimeRunner("Otto")  # type: ignore[arg-type]


def test_a_config_that_is_no_mapping() -> None:
    with pytest.raises(SettingsError) as caught:
        RealtimeRunner(AGENT, config="gpt-realtime")  # type: ignore[arg-type]
    assert "\n  - got 'gpt-realtime', allowed: a mapping or a RealtimeRunConfig" in str(caught.value)


@pytest.mark.parametrize("value", ["localhost:8765", "ftp://localhost/v1", "https:///v1"])
async def test_a_base_url_is_named_by_where_it_was_found(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", value)
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    with pytest.raises(SettingsError) as caught:
        async with RealtimeRunner(AGENT).session():
            pytest.fail("the body must not run")
    assert f"OPENAI_BASE_URL: got {value!r}, allowed: https://HOST/PATH or wss://HOST/PATH" in str(caught.value)


@pytest.mark.parametrize("value", [NoModel, "order_status", None.__class__])
def test_a_tool_that_is_no_function(value: Any) -> None:
    with pytest.raises(TypeError, match=r"function_tool: got .*, allowed: a function"):
        function_tool(value)
