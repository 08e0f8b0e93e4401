"""Speech in, speech out, with nothing but wheels: a call of spoken questions, judged by its recording."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from trealtime.emulator.options import SpeechEngines

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def spoken(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark that holds such calls."""
    monkeypatch.syspath_prepend(str(ROOT))
    import benchmarks.spoken as module

    return module


def word_errors(said: list[str], heard: list[str]) -> int:
    """The edit distance in words."""
    row = list(range(len(heard) + 1))
    for index, word in enumerate(said):
        diagonal, row[0] = row[0], index + 1
        for column, other in enumerate(heard):
            diagonal, row[column + 1] = (
                row[column + 1],
                min(row[column + 1] + 1, row[column] + 1, diagonal + (word != other)),
            )
    return row[-1]


async def test_ten_spoken_questions_are_understood_and_answered_aloud(
    engines: SpeechEngines, kit: Any, spoken: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words_of: Callable[[str], list[str]] = kit.words_of
    with trio.fail_after(180):
        report = await spoken.ask_aloud(tmp_path)
    assert len(report.questions) == 10
    for pairs in (
        [(words_of(each.said), words_of(each.heard)) for each in report.questions],
        [(words_of(each.answer), words_of(each.answer_heard)) for each in report.questions],
    ):
        errors = sum(word_errors(said, heard) for said, heard in pairs)
        assert errors <= 0.2 * sum(len(said) for said, _ in pairs), pairs
    assert "56" in report.questions[2].answer
    assert all(latency > 0 for latency in report.latencies_ms)
    with capsys.disabled():
        slow = spoken.percentile(report.latencies_ms, 90)
        print(
            f" end of speech to first audio: p50 {statistics.median(report.latencies_ms):.0f} ms, p90 {slow:.0f} ms",
            file=sys.stderr,
        )
