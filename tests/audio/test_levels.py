import math

import numpy as np
import pytest

from trealtime.audio.levels import peak_dbfs, rms_dbfs


def test_a_full_scale_square_wave_is_0_dbfs() -> None:
    square = np.array([-32768, 32767] * 100, dtype=np.int16)
    assert rms_dbfs(square) == pytest.approx(0, abs=0.001)
    assert peak_dbfs(square) == 0


@pytest.mark.parametrize("peak, rms, peak_level", [(32767, -3.01, 0.0), (3277, -23.01, -20.0), (328, -43.0, -40.0)])
def test_a_sine_is_3_db_under_its_peak(peak: int, rms: float, peak_level: float) -> None:
    sine = np.rint(peak * np.sin(2 * np.pi * np.arange(2400) / 24)).astype(np.int16)
    assert rms_dbfs(sine) == pytest.approx(rms, abs=0.05)
    assert peak_dbfs(sine) == pytest.approx(peak_level, abs=0.05)


@pytest.mark.parametrize("samples", [np.zeros(0, dtype=np.int16), np.zeros(10, dtype=np.int16)])
def test_silence_and_nothing_are_minus_infinity(samples: np.ndarray) -> None:
    assert rms_dbfs(samples) == peak_dbfs(samples) == -math.inf
