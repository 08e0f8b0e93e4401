"""Measure the library against a bare loop on the same server, and print a table.

``python -m benchmarks [--quick] [--json FILE] [NAME ...]``. docs/understand/benchmarks.md says what the lines mean.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from . import downstream, duplex, imports, interrupts, upstream
from .load import QUICK, Load
from .report import Result, machine, table

SCENARIOS: Mapping[str, Callable[[Load], list[Result]]] = {
    "downstream": downstream.run,
    "upstream": upstream.run,
    "duplex": duplex.run,
    "imports": imports.run,
    "interrupts": interrupts.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SCENARIOS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="show that everything runs; the figures mean little")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures of every round there")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in SCENARIOS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)} (choose from {', '.join(SCENARIOS)})")
    names = options.names or list(SCENARIOS)

    load = QUICK if options.quick else Load()
    results = [result for name in names for result in SCENARIOS[name](load)]
    slowest = imports.slowest() if "imports" in names else []
    print(machine())
    print()
    print(table(results))
    if slowest:
        print()
        print("Slowest imports of a session's program, each without what it imports in turn (ms under -X importtime):")
        print(", ".join(f"{name} {ms:.1f}" for name, ms in slowest))
    if options.json is not None:
        report = {
            "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "quick": options.quick,
            "results": [result.as_json() for result in results],
            "slowest_imports_ms": dict(slowest),
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
