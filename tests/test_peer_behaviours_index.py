"""The catalogue of what the OpenAI Agents SDK does in its realtime layer, agents and all that belongs to them: each
behaviour has a test that names it, or a line of the page for people who come from there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CATALOGUE = ROOT.parent / "shared" / "reference" / "peer-behaviours.md"
SECTIONS = (*range(16, 27), 30)
"""4.16 to 4.26: tools, approvals, handoffs, guardrails, hooks, tracing, usage; 4.30: the scripted model."""


def behaviours(text: str) -> dict[int, str]:
    """What each numbered behaviour of the sections says."""
    found = {}
    for section in re.split(r"^### ", text, flags=re.MULTILINE):
        number = re.match(r"4\.(\d+) ", section)
        if number is not None and int(number[1]) in SECTIONS:
            found.update(
                {int(each[1]): each[2] for each in re.finditer(r"^- \*\*B(\d+)\*\* (.*)$", section, re.MULTILINE)}
            )
    return found


def numbers_named() -> set[int]:
    """The numbers in the names of tests (``test_b201_...``) and on the page."""
    names = " ".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py")))
    page = (ROOT / "docs" / "coming-from" / "agents-sdk-differences.md").read_text(encoding="utf-8")
    tests = re.findall(r"^ *(?:async )?def test_((?:b\d{3}_)+)", names, re.MULTILINE)
    return {int(number) for number in re.findall(r"b(\d{3})", " ".join(tests)) + re.findall(r"\bB(\d{3})\b", page)}


def test_each_behaviour_of_agents_has_a_test_that_names_it() -> None:
    if not CATALOGUE.exists():
        pytest.skip("the catalogue is not beside this checkout")
    wanted = behaviours(CATALOGUE.read_text(encoding="utf-8"))
    assert len(wanted) == 89 + 10
    missing = sorted(wanted.keys() - numbers_named())
    assert not missing, "\n".join(f"B{number}: {wanted[number]}" for number in missing)
