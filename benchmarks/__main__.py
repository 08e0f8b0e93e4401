"""Measure the library beside bare loops, and beside its rivals, on the same server, and print a table.

``python -m benchmarks [--peers] [--only SIDE] [--quick] [--json FILE] [NAME ...]``.
docs/understand/benchmarks.md says what the lines mean.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from . import compare, imports, interrupts, silence
from .load import QUICK, Load
from .report import Result, machine, table

ALONE: Mapping[str, Callable[[Load], list[Result]]] = {
    "imports": imports.run,
    "interrupts": interrupts.run,
    "silence": silence.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    known = [*compare.WORKS, *ALONE]
    sides = [side.name for side in compare.SIDES]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)} (default: all)")
    parser.add_argument("--peers", action="store_true", help="with the rivals, which are installed the first time")
    parser.add_argument(
        "--only", action="append", default=[], metavar="SIDE", help=f"with this one: {', '.join(sides)}"
    )
    parser.add_argument("--quick", action="store_true", help="show that everything runs; the figures mean little")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures of every round there")
    options = parser.parse_args()
    for given, allowed in ((options.names, known), (options.only, sides)):
        if unknown := [name for name in given if name not in allowed]:
            parser.error(f"unknown: {', '.join(unknown)} (choose from {', '.join(allowed)})")
    names = options.names or known

    load, effort = (QUICK, compare.QUICK) if options.quick else (Load(), compare.Effort())
    compared, versions = compare.run(
        [name for name in names if name in compare.WORKS], effort, peers=options.peers, only=options.only
    )
    alone = [result for name in names if name in ALONE for result in ALONE[name](load)]
    results = [*compared, *alone]
    slowest = imports.slowest() if "imports" in names else []
    print(", ".join(filter(None, (machine(), versions))))
    for each in filter(None, (compared, alone)):
        print()
        print(table(each))
    if slowest:
        print()
        print("Slowest imports of a session's program, each without what it imports in turn (ms under -X importtime):")
        print(", ".join(f"{name} {ms:.1f}" for name, ms in slowest))
    if options.json is not None:
        report = {
            "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "rivals": versions,
            "quick": options.quick,
            "results": [result.as_json() for result in results],
            "slowest_imports_ms": dict(slowest),
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
