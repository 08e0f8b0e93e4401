"""Import time and memory, in fresh processes: the library against the packages that any such program needs."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import psutil

from .load import Load
from .report import Result
from .server import ROOT

__all__ = ["run", "slowest"]

BARE = "import trio, attrs, numpy"
PACKAGE = "import trealtime"
PROGRAM = "from trealtime import RealtimeAgent, RealtimeRunner"
"""What a program that runs sessions imports: public names are imported from their modules on first use."""


def run(load: Load) -> list[Result]:
    statements = (BARE, PACKAGE, PROGRAM)
    rounds: dict[str, list[tuple[float, float]]] = {statement: [] for statement in statements}
    for statement in statements:
        _import(statement)  # writes the byte code
    for _ in range(load.imports):
        for statement in statements:
            rounds[statement].append(_import(statement))
    times, sizes = ({each: [pair[i] for pair in pairs] for each, pairs in rounds.items()} for i in (0, 1))
    return [
        Result.of_rounds(f"{statement}: {what}", unit, {"library": figures[statement], BARE: figures[BARE]})
        for what, unit, figures in (("time", "CPU ms", times), ("process", "MB RSS", sizes))
        for statement in (PACKAGE, PROGRAM)
    ]


def _import(statement: str) -> tuple[float, float]:
    """CPU milliseconds that it takes, and megabytes of the whole process afterwards."""
    source = (
        "import sys, time; began = time.process_time()\n"
        f"{statement}\n"
        "print((time.process_time() - began) * 1000, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", source]
    # Where byte code may not be written, each import would compile the library anew.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        cpu_ms = float(process.stdout.readline())
        megabytes = psutil.Process(process.pid).memory_info().rss / 2**20
        process.stdin.close()
    return cpu_ms, megabytes


def slowest(count: int = 10) -> list[tuple[str, float]]:
    """The modules that cost a session's program most to import, without what they import in turn: (name, ms)."""
    command = [sys.executable, "-X", "importtime", "-c", PROGRAM]
    report = subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.PIPE, text=True).stderr
    lines = re.findall(r"^import time: +(\d+) \| +\d+ \| +(\S+)$", report, re.MULTILINE)
    return sorted(((name, int(us) / 1000) for us, name in lines), key=lambda each: -each[1])[:count]
