"""The architecture page tells the truth: what it names exists, and a word of the user goes the way that it says."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
import trio

from trealtime import RealtimeAgent, RealtimeRunner
from trealtime._core import turns
from trealtime._session.subscription import Subscription
from trealtime.emulator import open_emulator

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "understand" / "architecture.md").read_text(encoding="utf-8")


def functions_named(text: str) -> list[str]:
    """``_room.module.Class.function`` in the order of the text."""
    return re.findall(r"`(_(?:core|session)(?:\.\w+)+)`", text)


def resolve(dotted: str) -> object:
    room, module, *names = dotted.split(".")
    found: object = importlib.import_module(f"trealtime.{room}.{module}")
    for name in names:
        found = getattr(found, name)
    return found


def calls_down_to(frame: FrameType | None) -> list[str]:
    """The functions of the package that are running, from the outermost to `frame`."""
    named = []
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("trealtime."):
            named.append(f"{module.removeprefix('trealtime.')}.{frame.f_code.co_qualname}")
        frame = frame.f_back
    return named[::-1]


@pytest.mark.parametrize("dotted", dict.fromkeys(functions_named(PAGE)))
def test_every_function_on_the_page_exists(dotted: str) -> None:
    assert resolve(dotted) is not None


async def test_speech_started_takes_the_seven_calls_of_the_page(autojump_clock, monkeypatch) -> None:
    section = PAGE.partition("### `speech_started`")[2].partition("\n### ")[0]
    told = [functions_named(step)[0] for step in re.split(r"^\d+\. ", section, flags=re.MULTILINE)[1:]]
    assert len(told) == 1 + 7

    put, begin = Subscription.put, turns.Turns.begin
    to_the_app: list[list[str]] = []
    to_the_rule: list[list[str]] = []

    def noting_put(self, event, *args):
        if event.type == "speech_started":
            to_the_app.append(calls_down_to(inspect.currentframe().f_back))
        put(self, event, *args)

    def noting_begin(self, *args, **kwargs):
        to_the_rule.append(calls_down_to(inspect.currentframe().f_back))
        begin(self, *args, **kwargs)

    monkeypatch.setattr(Subscription, "put", noting_put)
    monkeypatch.setattr(turns.Turns, "begin", noting_begin)
    speech = (np.random.default_rng(1).normal(size=24_000) * 6_000).astype(np.int16)
    async with open_emulator(listen=False) as emulator:
        runner = RealtimeRunner(RealtimeAgent(name="Assistant"), model=emulator.memory_model())
        with trio.fail_after(60):
            async with runner.session() as session:
                await session.send_audio(speech)
                async for event in session:
                    if event.type == "speech_started":
                        break

    assert to_the_app, "no subscription was given the event"
    in_the_task = to_the_app[0].index(told[0])
    assert [*to_the_app[0][in_the_task:], told[-1]] == [*told[:3], *told[5:]]
    assert to_the_rule[0][in_the_task:] == told[:5]
