"""``trealtime doctor``: is everything there, and does the service answer? With advice for each thing that fails.

Exit status: 0 when nothing failed, 1 when something did, 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from trealtime.terminal import printable

if TYPE_CHECKING:
    from trealtime.cli.doctor_checks import Finding

__all__ = ["add_parser"]

_MARKS = {"ok": "ok", "note": "--", "failed": "FAILED", "skipped": "skipped"}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of `trealtime`."""
    parser = commands.add_parser(
        "doctor",
        help="check this machine, and the way to the service",
        description="Check Python, packages, sound devices, and the way to OpenAI's service, or to URL: DNS, TCP, TLS, "
        "the handshake, the first event. Without --turns it costs nothing. Exit status: 1 where something failed.",
    )
    parser.add_argument(
        "url", nargs="?", metavar="URL", help="a Realtime server, such as ws://127.0.0.1:8765/v1/realtime"
    )
    parser.add_argument(
        "--turns", action="store_true", help="also one turn in text and one spoken: on OpenAI's service they cost money"
    )
    parser.add_argument("--model", help="the model to ask for")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import trio

    from trealtime.cli.doctor_checks import examine

    def tell(finding: Finding) -> None:
        if not arguments.json:
            print(_line(finding), flush=True)

    findings = trio.run(lambda: examine(arguments.url, model=arguments.model, turns=arguments.turns, tell=tell))
    failed = [each for each in findings if each.status == "failed"]
    if arguments.json:
        json.dump({"ok": not failed, "checks": [each.as_json() for each in findings]}, sys.stdout, indent=1)
        print()
    elif failed:
        print(f"\n{len(failed)} of {len(findings)} checks failed.")
    else:
        print("\nNothing failed.")
    return 1 if failed else 0


def _line(finding: Finding) -> str:
    took = f"  ({finding.took_ms:.0f} ms)" if finding.took_ms is not None else ""
    line = f"{_MARKS[finding.status]:8} {finding.name:22} {printable(finding.detail)}{took}"
    if finding.advice:
        line += f"\n{'':9}{'':22} -> {printable(finding.advice)}"
    return line
