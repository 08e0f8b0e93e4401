"""Import time and memory, in fresh processes: the library against the packages that any such program needs.

The library holds back the garbage collector while its modules load, which saves time in the packages that load
meanwhile, too. So what a program pays is the difference of two whole processes; what the library takes by itself is
read in two stricter ways as well: with the collector as usual, and alone, after the packages.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

import psutil

from .load import Load
from .report import Result
from .server import ROOT

__all__ = ["run", "slowest"]

BARE = "import trio, attrs, numpy"
PACKAGE = "import trealtime"
PROGRAM = "from trealtime import RealtimeAgent, RealtimeRunner"
"""What a program that runs sessions imports: public names are imported from their modules on first use."""


_COLLECTING: Final = "import gc; gc.disable = lambda: None; gc.collect = lambda generation=2: 0"
"""Lets nobody rule the garbage collector."""

_CASES: Final[Mapping[str, tuple[str, str]]] = {
    BARE: ("", BARE),
    PACKAGE: ("", PACKAGE),
    PROGRAM: ("", PROGRAM),
    "collecting": (_COLLECTING, PROGRAM),
    "alone": (BARE, PROGRAM),
    "alone, collecting": (f"{BARE}; {_COLLECTING}", PROGRAM),
}
"""What is run before time counts, and what is measured."""


def run(load: Load) -> list[Result]:
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in _CASES}
    for before, statement in _CASES.values():
        _import(before, statement)  # writes the byte code
    for _ in range(load.imports):
        for name, (before, statement) in _CASES.items():
            rounds[name].append(_import(before, statement))
    times, sizes = ({each: [pair[i] for pair in pairs] for each, pairs in rounds.items()} for i in (0, 1))
    above = {
        name: [mine - bare for mine, bare in zip(times[name], times[BARE], strict=True)]
        for name in (PROGRAM, "collecting")
    }
    readings = (
        (f"above `{BARE}`, of whole processes", above[PROGRAM]),
        ("the same, collector as usual", above["collecting"]),
        (f"alone, after `{BARE}`", times["alone"]),
        ("the same, collector as usual", times["alone, collecting"]),
    )
    return [
        *(
            Result.of_rounds(f"{statement}: {what}", unit, {"library": figures[statement], BARE: figures[BARE]})
            for what, unit, figures in (("time", "CPU ms", times), ("process", "MB RSS", sizes))
            for statement in (PACKAGE, PROGRAM)
        ),
        *(Result.of_medians(f"{PROGRAM}: {what}", "CPU ms", {"library": each}) for what, each in readings),
    ]


def _import(before: str, statement: str) -> tuple[float, float]:
    """CPU milliseconds that it takes after `before`, and megabytes of the whole process afterwards.

    Of the thread that imports: those of numpy's linear algebra wait in a busy loop at first, some 60 ms.
    """
    source = (
        f"import sys, time; {before}\n"
        "began = time.thread_time()\n"
        f"{statement}\n"
        "print((time.thread_time() - began) * 1000, flush=True); sys.stdin.read()"
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
