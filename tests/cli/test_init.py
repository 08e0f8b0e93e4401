"""``trealtime init``: what it writes runs, and what is there stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trealtime.cli import main

ROOT = Path(__file__).resolve().parents[2]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    folder = tmp_path / "My Agent"
    assert main(["init", str(folder)]) == 0
    told = capsys.readouterr().out
    assert f"{folder / 'agent.py'}\n" in told
    assert "Next:" in told
    return folder


def test_its_tests_and_scenarios_pass(project: Path) -> None:
    tests = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    assert tests.returncode == 0, tests.stdout
    assert "3 passed" in tests.stdout
    scenarios = run(project, "-m", "trealtime", "eval", "scenarios")
    assert scenarios.returncode == 0, scenarios.stdout
    assert "3 scenario(s), 0 failed" in scenarios.stdout


def test_its_program_says_in_one_line_that_it_needs_a_key(project: Path) -> None:
    done = run(project, "agent.py")
    assert done.returncode == 1
    assert done.stderr.startswith("MissingApiKey: ")
    assert done.stderr.count("\n") == 1


def test_the_project_has_a_name_that_packaging_tools_take(project: Path) -> None:
    assert 'name = "my-agent"' in (project / "pyproject.toml").read_text(encoding="utf-8")
    assert (project / "README.md").read_text(encoding="utf-8").startswith("# my-agent\n")


def test_a_file_that_is_there_stays_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pyproject.toml").write_text("mine", encoding="utf-8")
    assert main(["init", str(tmp_path)]) == 2
    assert "pyproject.toml is there already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["pyproject.toml"]
    assert (tmp_path / "pyproject.toml").read_text(encoding="utf-8") == "mine"


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["init", str(tmp_path / "file" / "project")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
