"""``trealtime eval``: conversations with an agent, from YAML files, checked.

Exit status: 0 when every scenario passed, 1 when one did not, 2 when none could be run.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trealtime._secrets import open_private
from trealtime.terminal import printable

if TYPE_CHECKING:
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.emulator.voice import Voice
    from trealtime.evals import Scenario, ScenarioResult

__all__ = ["add_parser"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of `trealtime`."""
    parser = commands.add_parser(
        "eval",
        help="run conversations with an agent, and check them",
        description="Run the scenarios in YAML files: on an emulator in this process, in virtual time, unless --url "
        "says where else.",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="DIR", help="folders, or single .yaml files")
    parser.add_argument("--url", help="a Realtime service, such as wss://api.openai.com/v1/realtime?model=gpt-realtime")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write the results as JUnit XML too")
    parser.add_argument(
        "--timelines", type=Path, metavar="DIR", help="where to draw the calls that failed (default: a new folder)"
    )
    parser.add_argument("-k", dest="only", metavar="WORDS", default="", help="only scenarios with this in their name")
    parser.add_argument("--real-time", action="store_true", help="for agents whose tools use the network")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the conversations that passed, too")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from trealtime.cli.options import AgentNotFound, load_agent
    from trealtime.errors import MissingDependency, ScenarioError
    from trealtime.evals import junit_report, read_scenarios

    try:
        scenarios = [each for each in read_scenarios(arguments.paths) if arguments.only.lower() in each.name.lower()]
        if not scenarios:
            return _refuse(f"no scenario has {arguments.only!r} in its name" if arguments.only else "no scenarios")
        _find_modules_in([*(scenario.file.parent for scenario in scenarios), *filter(Path.is_dir, arguments.paths)])
        agents: dict[tuple[Path, str], RealtimeAgent[Any]] = {}
        for scenario in scenarios:
            try:
                agents[scenario.file, scenario.agent] = load_agent(scenario.agent)
            except AgentNotFound as error:
                return _refuse(f"{scenario.file}:{scenario.line}: agent: {error}")
        results = _results(scenarios, agents, arguments)
    except (ScenarioError, MissingDependency) as error:
        return _refuse(str(error))
    if arguments.junit is not None:
        try:
            arguments.junit.write_text(junit_report(results), encoding="utf-8")
        except OSError as error:
            return _refuse(f"--junit {arguments.junit}: {error.strerror}")
    failed = sum(not result.passed for result in results)
    _say(f"{len(results)} scenario(s), {failed} failed")
    return 1 if failed else 0


def _find_modules_in(folders: list[Path]) -> None:
    """Let agents be found beside their scenarios, and in the folders that were named."""
    for folder in dict.fromkeys(str(folder.resolve()) for folder in folders):
        if folder not in sys.path:
            sys.path.append(folder)


def _results(
    scenarios: list[Scenario], agents: dict[tuple[Path, str], RealtimeAgent[Any]], arguments: argparse.Namespace
) -> list[ScenarioResult]:
    import trio

    from trealtime.evals import run_in_virtual_time, run_scenario, text_report

    async def run_all() -> list[ScenarioResult]:
        voice = await _voice(scenarios, arguments.url)
        results = []
        for scenario in scenarios:
            agent = agents[scenario.file, scenario.agent]
            result = await run_scenario(scenario, agent, model_config=_connection(arguments.url), voice=voice)
            results.append(result)
            _say(text_report(result, verbose=arguments.verbose))
            if result.timeline is not None:
                arguments.timelines = arguments.timelines or Path(tempfile.mkdtemp(prefix="trealtime-eval-"))
                _say(_draw(result, arguments.timelines, len(results)))
        return results

    return trio.run(run_all) if arguments.url or arguments.real_time else run_in_virtual_time(run_all)


def _draw(result: ScenarioResult, folder: Path, number: int) -> str:
    """Draw the call of a scenario that failed, and return a line that says where."""
    assert result.timeline is not None
    name = re.sub(r"[^\w-]+", "-", result.scenario.name).strip("-")[:80]
    page = folder / f"{number}-{name}.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open_private(page) as file:
            file.write(result.timeline.html(title=result.scenario.name).encode("utf-8"))
    except OSError as error:
        return f"       no timeline: {page}: {error.strerror}"
    return f"       timeline: {page}"


def _connection(url: str | None) -> dict[str, Any] | None:
    if url is None:
        return None
    return {"url": url} if os.environ.get("OPENAI_API_KEY") else {"url": url, "headers": {}}


async def _voice(scenarios: list[Scenario], url: str | None) -> Voice | None:
    """Return a voice with words, for a service that has to hear them; None for the emulator, which gets the words as
    text."""
    if url is None or not any(step.speak is not None for scenario in scenarios for step in scenario.steps):
        return None
    from trealtime.emulator.local import load_speech

    return (await load_speech()).voice


def _refuse(message: str) -> int:
    print(f"trealtime eval: {printable(message, newlines=True)}", file=sys.stderr)
    return 2


def _say(line: str) -> None:
    print(printable(line, newlines=True), flush=True)
