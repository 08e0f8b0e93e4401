"""Fixtures for pytest with pytest-trio; load them with ``pytest_plugins = ["trealtime.testing.pytest_plugin"]`` in a
``conftest.py``. Nothing is loaded without that line, so other runs of pytest do not pay for it.

| fixture | what it is | change it by overriding |
|---|---|---|
| `emulator` | an emulator in memory | `emulator_options` |
| `scripted_server` | a scripted server in memory | `realtime_script`, `scripted_server_options` |
| `realtime_session` | an open session with the emulator | `realtime_agent`, `realtime_config` |

A test that also takes pytest-trio's `autojump_clock` runs in virtual time. It must be an argument of the test itself.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest

from trealtime._session.config_dicts import RunConfigDict
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
]

_SEED = 0
_UNIX_TIME_S = 1_800_000_000.0


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
async def realtime_session(
    emulator: Emulator, realtime_agent: RealtimeAgent[Any], realtime_config: Mapping[str, Any]
) -> AsyncIterator[RealtimeSession[Any]]:
    """An open session of `realtime_agent` with `emulator`."""
    model = emulator.memory_model()
    runner = RealtimeRunner(
        realtime_agent, model=model, config=cast("RunConfigDict", realtime_config), rng=random.Random(_SEED)
    )
    async with runner.session() as session:
        yield session


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
