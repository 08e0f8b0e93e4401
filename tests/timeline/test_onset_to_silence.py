"""How long the agent talks on: read off the sound at the far side of each endpoint, and what the figures say."""

from __future__ import annotations

import os

import pytest

from benchmarks.silence import ENDPOINTS, LATENCY_S, measure
from trealtime.timeline import read_timeline

TIMES = int(os.environ.get("TREALTIME_TIMES", "10")) // 10 or 1


@pytest.mark.parametrize("name", ENDPOINTS)
def test_the_figure_of_an_interrupt_is_what_the_sound_says(name: str, tmp_path) -> None:
    for number in range(TIMES):
        path = tmp_path / f"{number}.jsonl.gz"
        (trial,) = measure(name, 1, record=path)
        assert LATENCY_S < trial.latency_s < 0.25
        call = read_timeline(path).call
        assert call.header["clock"]["trio_s"] < trial.onset_s
        turn = next(turn for turn in call.turns if turn.interrupted_by)
        assert turn.interrupted_by == "speech"
        began_s = call.header["clock"]["trio_s"]
        assert turn.silent_s + began_s == pytest.approx(trial.silent_s, abs=0.02)
        assert turn.silence_latency_s == pytest.approx(trial.latency_s, abs=0.02)
        for own in trial.session.turns:
            shown = next(each for each in call.turns if each.number == own.number)
            assert shown.silence_latency_s == pytest.approx(own.silence_latency_s, abs=1e-5)
            assert shown.response_latency_s == pytest.approx(own.response_latency_s, abs=1e-5)
