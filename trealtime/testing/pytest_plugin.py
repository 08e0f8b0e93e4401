"""Fixtures for pytest with pytest-trio; load them with ``pytest_plugins = ["trealtime.testing.pytest_plugin"]`` in a
``conftest.py``. Nothing is loaded without that line, so other runs of pytest do not pay for it.

| fixture | what it is | change it by overriding |
|---|---|---|
| `emulator` | an emulator in memory | `emulator_options` |
| `scripted_server` | a scripted server in memory | `realtime_script`, `scripted_server_options` |
| `realtime_session` | an open session with the emulator | `realtime_agent`, `realtime_config` |
| `show_timeline` | ``show_timeline(session)``: show this session too where the test fails | |

`realtime_session` is recorded in memory. Where its test fails, the report has the call in words, and the address of a
page that draws it, in pytest's cache folder.

A test that also takes pytest-trio's `autojump_clock` runs in virtual time. It must be an argument of the test itself.
"""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from pathlib import Path
from typing import Any, Final, cast

import pytest

from trealtime._session.config_dicts import RunConfigDict
from trealtime._session.recording_settings import RecordingSettings
from trealtime._session.runner import RealtimeRunner
from trealtime._session.session import RealtimeSession
from trealtime.agents.agent import RealtimeAgent
from trealtime.emulator import Emulator, open_emulator
from trealtime.testing.script import Script
from trealtime.testing.scripted_server import ScriptedServer, open_scripted_server

__all__ = [
    "emulator",
    "emulator_options",
    "realtime_agent",
    "realtime_config",
    "realtime_script",
    "realtime_session",
    "scripted_server",
    "scripted_server_options",
    "show_timeline",
]

_SEED = 0
_UNIX_TIME_S = 1_800_000_000.0
_SESSIONS: Final = pytest.StashKey[list[RealtimeSession[Any]]]()
_LINES: Final = 60


@pytest.fixture
def emulator_options() -> Mapping[str, Any]:
    """Keyword arguments of `open_emulator` for the fixture `emulator`; override it."""
    return {}


@pytest.fixture
async def emulator(emulator_options: Mapping[str, Any]) -> AsyncIterator[Emulator]:
    """An emulator in memory, the same in each run: `emulator.memory_model()` is for a `RealtimeRunner`."""
    defaults = {"listen": False, "seed": _SEED, "unix_time_s": _UNIX_TIME_S}
    async with open_emulator(**{**defaults, **emulator_options}) as running:
        yield running


@pytest.fixture
def realtime_agent() -> RealtimeAgent[Any]:
    """The agent of `realtime_session`; override it with yours."""
    return RealtimeAgent(name="Assistant")


@pytest.fixture
def realtime_config() -> Mapping[str, Any]:
    """The run config of `realtime_session`; override it."""
    return {}


@pytest.fixture
def show_timeline(request: pytest.FixtureRequest) -> Callable[[RealtimeSession[Any]], None]:
    """Call it with a session, whose run config has to record it: the report shows its timeline if the test fails."""
    return request.node.stash.setdefault(_SESSIONS, []).append  # type: ignore[no-any-return]


@pytest.fixture
async def realtime_session(
    emulator: Emulator,
    realtime_agent: RealtimeAgent[Any],
    realtime_config: Mapping[str, Any],
    show_timeline: Callable[[RealtimeSession[Any]], None],
) -> AsyncIterator[RealtimeSession[Any]]:
    """An open session of `realtime_agent` with `emulator`."""
    config = {"record": RecordingSettings(), **realtime_config}
    runner = RealtimeRunner(
        realtime_agent,
        model=emulator.memory_model(),
        config=cast("RunConfigDict", config),
        rng=random.Random(_SEED),
    )
    async with runner.session() as session:
        show_timeline(session)
        yield session


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the timelines of the sessions to the report of a test that has failed."""
    report = yield
    if call.when == "call" and report.failed:
        sessions: list[RealtimeSession[Any]] = item.stash.get(_SESSIONS, [])
        for number, session in enumerate(sessions):
            try:
                report.sections.append(("timeline", _timeline(item, session, number)))
            except Exception as error:  # noqa: BLE001  # the test's own failure is what counts
                report.sections.append(("timeline", f"there is none: {type(error).__name__}: {error}"))
    return report


def _timeline(item: pytest.Item, session: RealtimeSession[Any], number: int) -> str:
    timeline = session.timeline()
    lines = timeline.text().splitlines()
    if len(lines) > _LINES:
        lines = [*lines[: _LINES // 2], f"... {len(lines) - _LINES} lines ...", *lines[-_LINES // 2 :]]
    cache = getattr(item.config, "cache", None)
    if cache is None:  # switched off
        return "\n".join(lines)
    name = re.sub(r"[^\w.-]+", "-", item.nodeid)[-150:] + (f"-{number + 1}" if number else "")
    page = Path(cache.mkdir("trealtime-timelines")) / f"{name}.html"
    page.write_text(timeline.html(title=item.nodeid), encoding="utf-8")
    return "\n".join([f"drawn in {page}", "", *lines])


@pytest.fixture
def realtime_script() -> Script:
    """The script of `scripted_server`; override it, or parametrize a test with it."""
    return ()


@pytest.fixture
def scripted_server_options() -> Mapping[str, Any]:
    """Keyword arguments of `open_scripted_server`; override it."""
    return {}


@pytest.fixture
async def scripted_server(
    realtime_script: Script, scripted_server_options: Mapping[str, Any]
) -> AsyncIterator[ScriptedServer]:
    """A scripted server in memory that plays `realtime_script`. A deviation from the script makes the test fail."""
    async with open_scripted_server(realtime_script, **scripted_server_options) as server:
        yield server
