"""The fixtures, as a user's own suite loads them: in another pytest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = """
pytest_plugins = ["trealtime.testing.pytest_plugin"]
"""

SUITE = '''
import pytest
import trio

from trealtime import RealtimeAgent, RealtimeRunner, function_tool
from trealtime.emulator import CallFunction, ScriptedBrain
from trealtime.testing import a_response, accept, called, said


@pytest.fixture
def realtime_agent():
    @function_tool
    async def table_for(guests: int) -> str:
        """Book a table."""
        return "Table 7"

    return RealtimeAgent(name="Host", tools=[table_for])


@pytest.fixture
def emulator_options():
    return {"brain": ScriptedBrain([CallFunction("table_for", '{"guests": 4}'), "You have table 7."])}


async def test_a_session(realtime_session, emulator, autojump_clock):
    await realtime_session.ask("A table for four.")
    await trio.sleep(600)
    called(realtime_session, "table_for", guests=4)
    said(realtime_session, "table 7")
    assert emulator.sessions[0].id


SCRIPT = [accept("conversation.item.create"), accept("response.create"), a_response("Hi.")]


@pytest.mark.parametrize("realtime_script", [SCRIPT])
async def test_a_script(scripted_server, realtime_agent, autojump_clock):
    async with RealtimeRunner(realtime_agent, model=scripted_server.memory_model()).session() as session:
        assert (await session.ask("Hello?")).text == "Hi."
'''

FAILING = """
import trio
import pytest

from trealtime import RealtimeAgent, RealtimeRunner
from trealtime.testing import accept


@pytest.mark.parametrize("realtime_script", [[accept("response.cancel")]])
async def test_a_script_that_is_not_followed(scripted_server, autojump_clock):
    async with RealtimeRunner(RealtimeAgent(name="A"), model=scripted_server.memory_model()).session() as session:
        await session.send_message("Hello?")
        await trio.sleep_forever()


@pytest.mark.parametrize("realtime_script", [[accept("response.cancel")]])
async def test_a_script_that_nobody_plays(scripted_server, autojump_clock):
    pass
"""


def run_suite(folder: Path, suite: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (folder / "test_agent.py").write_text(suite, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\ntrio_mode = true\nfilterwarnings = error\n", encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-m", "pytest", *(options or ("-p", "no:cacheprovider")), str(folder)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_a_users_suite_gets_sessions_and_scripts(tmp_path: Path) -> None:
    done = run_suite(tmp_path, SUITE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_a_script_that_is_not_followed_or_not_played_fails_the_test(tmp_path: Path) -> None:
    done = run_suite(tmp_path, FAILING)
    assert "2 failed" in done.stdout, done.stdout + done.stderr
    assert "the client sent something else than the script expects" in done.stdout
    assert "3 of 3 steps of the script were not played" in done.stdout


def test_the_plugin_loads_where_nothing_else_does(pytestconfig: pytest.Config) -> None:
    assert not pytestconfig.pluginmanager.has_plugin("trealtime.testing.pytest_plugin")


DISAPPOINTED = """
from trealtime import RealtimeRunner
from trealtime.settings import RecordingSettings


async def test_an_agent_that_says_something_else(realtime_session, emulator, show_timeline, autojump_clock):
    config = {"record": RecordingSettings()}
    runner = RealtimeRunner(realtime_session.current_agent, model=emulator.memory_model(), config=config)
    async with runner.session() as other:
        show_timeline(other)
        await other.ask("Who are you, other?")
    turn = await realtime_session.ask("Who are you?")
    assert turn.text == "Nobody."
"""


def test_a_test_that_fails_shows_the_timelines_of_its_sessions(tmp_path: Path) -> None:
    result = run_suite(tmp_path, DISAPPOINTED, "-p", "cacheprovider")
    assert result.returncode == 1, result.stdout
    assert result.stdout.count("timeline") >= 2
    assert "user   writes: Who are you?" in result.stdout
    pages = sorted((tmp_path / ".pytest_cache" / "d" / "trealtime-timelines").iterdir())
    assert len(pages) == 2
    assert str(pages[0]) in result.stdout
    texts = [page.read_text(encoding="utf-8") for page in pages]
    assert all(text.startswith("<!DOCTYPE html>") for text in texts)
    assert [text.count("Who are you, other?") > 0 for text in texts] == [True, False]


def test_without_a_cache_folder_the_call_is_shown_in_words(tmp_path: Path) -> None:
    result = run_suite(tmp_path, DISAPPOINTED)
    assert "user   writes: Who are you?" in result.stdout
    assert ".html" not in result.stdout
