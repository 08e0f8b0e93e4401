"""The library beside bare loops and beside its rivals: the same server, the same work, rounds that take turns.

The sides are the programs in `sides/`. Those of rivals run in environments of their own, made once in `.benchmarks/` of
this checkout; those of the library and of the bare loops run in this one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs
import trustme

from .report import Result, percentile
from .server import ROOT, Server, server

__all__ = ["QUICK", "SIDES", "WORKS", "Effort", "run"]

ENVIRONMENTS = ROOT / ".benchmarks"
OURS = "trealtime"


@attrs.frozen
class Side:
    """A program of `sides/`, and the packages that its environment needs (none: this environment)."""

    name: str
    program: str
    packages: tuple[str, ...] = ()


SIDES = (
    Side(OURS, "trealtime_side.py"),
    Side("websockets.trio loop", "bare_websockets_trio.py"),
    Side("trio-websocket loop", "bare_trio_websocket.py"),
    Side("openai-agents", "openai_agents.py", ("openai-agents", "openai[realtime]")),
    Side("openai", "openai_client.py", ("openai[realtime]",)),
    Side("pydantic-ai", "pydantic_ai_side.py", ("pydantic-ai-slim[openai-realtime]",)),
)


@attrs.frozen(kw_only=True)
class Effort:
    """How much of each work is done."""

    rounds: int = 12
    deltas: int = 2000
    chunks: int = 2000
    calls: int = 40
    seconds: float = 10.0
    call_rounds: int = 3
    settle_s: float = 1.5
    """The first moments of paced calls are not measured."""

    barge_in_calls: int = 60
    barge_in_seconds: float = 10.0
    most: Sequence[int] = (25, 50, 75, 100, 150)
    most_seconds: float = 30.0
    idle: int = 1000
    idle_seconds: float = 20.0
    """The interval of keep-alive of every side: a ping of each session, and its pong."""


QUICK = Effort(
    rounds=2,
    deltas=100,
    chunks=100,
    calls=5,
    seconds=0.5,
    call_rounds=1,
    settle_s=0.2,
    barge_in_calls=2,
    barge_in_seconds=2.3,
    most=(1, 2),
    most_seconds=0.5,
    idle=10,
    idle_seconds=0.5,
)

Figures = Mapping[str, Any]


class Worker:
    """The process of a side, which takes orders."""

    def __init__(self, side: Side, python: Path, environment: Mapping[str, str]) -> None:
        self.name = side.name
        self._process = subprocess.Popen(
            [python, ROOT / "benchmarks" / "sides" / side.program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(environment),
            cwd=ROOT,
        )

    def do(self, work: str, **order: Any) -> Figures:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"work": work, **order}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the side {self.name!r} has failed at {work!r}: its traceback is above")
        figures: Figures = json.loads(line)
        return figures

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()


@attrs.define
class Comparison:
    """The sides that take part, and what they have in common."""

    sides: Sequence[tuple[Side, Path]]
    effort: Effort
    certificate: Path
    environment: Mapping[str, str]

    @contextmanager
    def workers(self) -> Iterator[list[Worker]]:
        """A process for each side."""
        with ExitStack() as stack:
            workers = [Worker(side, python, self.environment) for side, python in self.sides]
            for worker in workers:
                stack.callback(worker.close)
            yield workers

    def alone(self, side: Side, python: Path, work: str, **order: Any) -> Figures:
        """Do one thing in a new process, which has no memory of earlier rounds."""
        worker = Worker(side, python, self.environment)
        try:
            return worker.do(work, settle_s=self.effort.settle_s, **order)
        finally:
            worker.close()


# ---- the works ------------------------------------------------------------------------------------------------------


def downstream(of: Comparison) -> list[Result]:
    with server() as running:
        return _flat_out(of, running, "downstream", "1000 audio deltas of 9,600 B as fast as they come")


def downstream_tls(of: Comparison) -> list[Result]:
    with server(of.certificate) as running:
        return _flat_out(of, running, "downstream", "1000 audio deltas of 9,600 B over TLS")


def upstream(of: Comparison) -> list[Result]:
    with server() as running:
        return _flat_out(of, running, "upstream", "1000 chunks of 20 ms as fast as they go")


def _flat_out(of: Comparison, running: Server, work: str, measure: str) -> list[Result]:
    amount = {"downstream": {"deltas": of.effort.deltas}, "upstream": {"chunks": of.effort.chunks}}[work]
    url = f"{running.url}/flood/deltas={of.effort.deltas}" if work == "downstream" else f"{running.url}/sink"
    rounds: dict[str, list[float]] = {side.name: [] for side, _ in of.sides}
    with of.workers() as workers:
        for worker in workers:  # imports and caches are warm from here on
            worker.do(work, url=url, **amount)
        for _ in range(of.effort.rounds):
            for worker in workers:
                rounds[worker.name].append(worker.do(work, url=url, **amount)["cpu_ms"])
    return [Result.of_medians(measure, "CPU ms", rounds)]


def duplex(of: Comparison) -> list[Result]:
    with server() as running:
        return _paced(of, running, "")


def duplex_tls(of: Comparison) -> list[Result]:
    with server(of.certificate) as running:
        return _paced(of, running, " over TLS")[:2]


def _paced(of: Comparison, running: Server, how: str) -> list[Result]:
    effort = of.effort
    cpu, kb, lag, late = ({side.name: list[float]() for side, _ in of.sides} for _ in range(4))
    for _ in range(effort.call_rounds):
        for side, python in of.sides:
            running.figures()
            order = {"calls": effort.calls, "seconds": effort.seconds}
            figures = of.alone(side, python, "calls", url=f"{running.url}/duplex", **order)
            late_ms = running.figures()["late_ms"]
            cpu[side.name].append(figures["cpu_ms"])
            kb[side.name].append(figures["kb"])
            lag[side.name].append(percentile(figures["lags_ms"], 99))
            late[side.name].append(_share_late(late_ms))
    what = f"{effort.calls} paced calls{how}"
    return [
        Result.of_medians(f"{what}: one second of one", "CPU ms", cpu),
        Result.of_medians(f"{what}: memory of one", "KB RSS", kb),
        Result.of_medians(f"{what}: lag of the event loop, p99", "ms", lag),
        Result.of_medians(f"{what}: frames more than 20 ms late at the server", "%", late),
    ]


def _share_late(late_ms: Sequence[float]) -> float:
    return 100 * sum(each > 20 for each in late_ms) / max(1, len(late_ms))


def barge_in(of: Comparison) -> list[Result]:
    """From the clock at which the server sends `speech_started` to that of the app's `audio_interrupted`."""
    rows: dict[int, dict[str, list[float]]] = {percent: {} for percent in (50, 99)}
    effort = of.effort
    latencies: dict[str, list[float]] = {side.name: [] for side, _ in of.sides}
    with server() as running:
        for _ in range(effort.call_rounds):
            for side, python in of.sides:
                running.figures()
                order = {"calls": effort.barge_in_calls, "seconds": effort.barge_in_seconds}
                told = of.alone(side, python, "calls", url=f"{running.url}/barge-in", **order)
                sent = running.figures()["interrupts"]
                for name, clocks in told["interrupts"].items():
                    # The server may have sent one more, which the app did not live to see.
                    latencies[side.name] += [
                        (heard - said) / 1e6
                        for said, heard in zip(sent[name], clocks, strict=False)
                        if said >= told["measured_from_s"] * 1e9
                    ]
    for percent, row in rows.items():
        for name, values in latencies.items():
            row[name] = [percentile(values, percent)] if values else []
    what = f"barge-in at {effort.barge_in_calls} paced calls"
    return [Result.of_medians(f"{what}: p{percent}", "ms", row) for percent, row in rows.items()]


def calls_a_core(of: Comparison) -> list[Result]:
    """Frames late at the server, with the client on one core and the server on another, for each number of calls."""
    result: list[Result] = []
    most: dict[str, list[float]] = {side.name: [0.0] for side, _ in of.sides}
    several = (os.cpu_count() or 1) > 1
    with server(core=1 if several else None) as running:
        for count in of.effort.most:
            late: dict[str, list[float]] = {}
            for side, python in of.sides:
                running.figures()
                order = {"calls": count, "seconds": of.effort.most_seconds, "core": 0 if several else None}
                of.alone(side, python, "calls", url=f"{running.url}/duplex", **order)
                late_ms = running.figures()["late_ms"]
                late[side.name] = [_share_late(late_ms)]
                if late_ms and max(late_ms) <= 20 and most[side.name][0] == _before(of.effort.most, count):
                    most[side.name] = [float(count)]
            result.append(Result.of_medians(f"{count} calls on one core: frames more than 20 ms late", "%", late))
    what = f"most calls of {', '.join(map(str, of.effort.most))} with no late frame"
    return [*result, Result.of_medians(what, "calls", most)]


def _before(steps: Sequence[int], count: int) -> float:
    """The step before this one: a number of calls counts where all smaller ones have passed too."""
    return float(max((step for step in steps if step < count), default=0))


def idle(of: Comparison) -> list[Result]:
    cpu, kb = ({side.name: list[float]() for side, _ in of.sides} for _ in range(2))
    effort = of.effort
    with server() as running:
        for side, python in of.sides:
            order = {"calls": effort.idle, "seconds": effort.idle_seconds}
            figures = of.alone(side, python, "idle", url=f"{running.url}/sink", **order)
            cpu[side.name].append(figures["cpu_ms"] * effort.idle)
            kb[side.name].append(figures["kb"])
    what = f"{effort.idle} idle sessions"
    return [
        Result.of_medians(f"{what}: one second of all", "CPU ms", cpu),
        Result.of_medians(f"{what}: memory of one", "KB RSS", kb),
    ]


def telemetry(of: Comparison) -> list[Result]:
    """What spans and metrics cost in calls in which a turn is interrupted every two seconds, with and without."""
    ours = of.sides[0]
    pair = (("with telemetry", Side("with telemetry", "trealtime_telemetry.py")), ("without", ours[0]))
    rounds: dict[str, list[float]] = {name: [] for name, _ in pair}
    effort = of.effort
    with server() as running:
        for _ in range(2 * effort.call_rounds):
            for name, side in pair:
                order = {"calls": effort.calls, "seconds": effort.seconds}
                figures = of.alone(side, ours[1], "calls", url=f"{running.url}/barge-in", **order)
                rounds[name].append(figures["cpu_ms"])
    what = f"{effort.calls} paced calls with telemetry: one second of one"
    return [Result.of_medians(what, "CPU ms", rounds)]


WORKS: Mapping[str, Callable[[Comparison], list[Result]]] = {
    "downstream": downstream,
    "upstream": upstream,
    "duplex": duplex,
    "barge-in": barge_in,
    "calls-a-core": calls_a_core,
    "idle": idle,
    "downstream-tls": downstream_tls,
    "duplex-tls": duplex_tls,
    "telemetry": telemetry,
}


# ---- environments ---------------------------------------------------------------------------------------------------


def run(names: Sequence[str], effort: Effort, *, peers: bool, only: Sequence[str]) -> tuple[list[Result], str]:
    """Do the works of these names; their results, and the versions of the rivals that took part."""
    chosen = [
        side for side in SIDES if side.name == OURS or (side.name in only if only else peers or not side.packages)
    ]
    sides = [(side, _python_with(side) if side.packages else Path(sys.executable)) for side in chosen]
    with tempfile.TemporaryDirectory() as folder:
        authority = trustme.CA()
        certificate = Path(folder) / "server.pem"
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        authority.cert_pem.write_to_path(str(Path(folder) / "ca.pem"))
        # Every side's TLS takes its authorities from there.
        environment = {**os.environ, "SSL_CERT_FILE": str(Path(folder) / "ca.pem"), "PYTHONPATH": str(ROOT)}
        comparison = Comparison(sides, effort, certificate, environment)
        results: list[Result] = []
        for name in names:
            for result in WORKS[name](comparison):
                print(result.as_line(), file=sys.stderr, flush=True)  # the whole takes its time
                results.append(result)
    return results, _versions(sides)


def _python_with(side: Side) -> Path:
    """The interpreter of an environment that has the side's packages, made where there is none."""
    folder = ENVIRONMENTS / Path(side.program).stem
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not (folder / "complete").exists():
        print(f"making an environment with {', '.join(side.packages)} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", "psutil", *side.packages], check=True)
        (folder / "complete").touch()
    return python


def _versions(sides: Sequence[tuple[Side, Path]]) -> str:
    found = []
    for side, python in sides:
        if side.packages:
            package = side.packages[0].partition("[")[0]
            program = f"import importlib.metadata as m; print(m.version({package!r}))"
            done = subprocess.run([python, "-c", program], check=True, capture_output=True, text=True)
            found.append(f"{package} {done.stdout.strip()}")
    return ", ".join(found)
