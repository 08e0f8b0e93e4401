"""The benchmarks run. Nothing here depends on how fast: a busy machine would fail it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_scenario_runs_and_fills_the_table(tmp_path):
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--json", str(figures)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 0
    report = json.loads(figures.read_text(encoding="utf-8"))
    table = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(table) == 2 + len(report["results"]), "a head for each table"
    for word in (
        "audio deltas",
        "chunks",
        "paced calls",
        "barge-in",
        "one core",
        "idle",
        "TLS",
        "telemetry",
        "import",
        "interrupt",
    ):
        assert any(word in line for line in table)
    assert len(report["slowest_imports_ms"]) == 10
