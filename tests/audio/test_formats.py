import subprocess
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trealtime.audio.formats import G711_ALAW, G711_ULAW, PCM16_24K, AudioFormat, parse_audio_format
from trealtime.errors import AudioFormatError, TrealtimeError

FORMATS = (PCM16_24K, G711_ULAW, G711_ALAW)


@pytest.mark.parametrize(
    "spelling, expected",
    [
        ("pcm16", PCM16_24K),
        ("pcm", PCM16_24K),
        ("audio/pcm", PCM16_24K),
        ("g711_ulaw", G711_ULAW),
        ("pcmu", G711_ULAW),
        ("audio/pcmu", G711_ULAW),
        ("g711_alaw", G711_ALAW),
        ("pcma", G711_ALAW),
        ("audio/pcma", G711_ALAW),
    ],
)
def test_every_spelling_is_understood_in_any_case_and_any_wrapping(spelling: str, expected: AudioFormat) -> None:
    assert parse_audio_format(spelling) is expected
    assert parse_audio_format(spelling.upper()) is expected
    assert parse_audio_format({"type": spelling}) is expected
    assert parse_audio_format({"type": spelling, "rate": None}) is expected
    assert parse_audio_format({"type": spelling, "rate": float(expected.rate)}) is expected
    assert parse_audio_format(SimpleNamespace(type=spelling)) is expected
    assert parse_audio_format(SimpleNamespace(type=spelling, rate=expected.rate)) is expected


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_wire_form_of_a_format_parses_to_itself(fmt: AudioFormat) -> None:
    assert parse_audio_format(fmt.to_wire()) is fmt
    assert parse_audio_format(fmt) is fmt


def test_the_wire_form_has_a_rate_for_pcm_only() -> None:
    assert PCM16_24K.to_wire() == {"type": "audio/pcm", "rate": 24000}
    assert G711_ULAW.to_wire() == {"type": "audio/pcmu"}
    assert G711_ALAW.to_wire() == {"type": "audio/pcma"}


@pytest.mark.parametrize("value", ["opus", "", None, 24000, {}, {"type": None}, {"rate": 24000}, ["pcm16"], object()])
def test_an_unknown_format_is_refused_with_the_allowed_spellings(value: object) -> None:
    with pytest.raises(AudioFormatError, match="pcm16, pcm, audio/pcm, g711_ulaw") as caught:
        parse_audio_format(value)
    assert isinstance(caught.value, TrealtimeError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "value, rate",
    [
        ({"type": "audio/pcm", "rate": 16000}, "16000"),
        ({"type": "audio/pcm", "rate": float("nan")}, "nan"),
        ({"type": "audio/pcmu", "rate": 24000}, "24000"),
    ],
)
def test_a_rate_that_the_api_does_not_have_is_refused(value: object, rate: str) -> None:
    with pytest.raises(AudioFormatError, match=f"rate {rate} is not possible"):
        parse_audio_format(value)


@pytest.mark.parametrize("fmt, n_bytes, ms", [(PCM16_24K, 9600, 200), (G711_ULAW, 160, 20), (G711_ALAW, 0, 0)])
def test_durations(fmt: AudioFormat, n_bytes: int, ms: float) -> None:
    assert fmt.duration_ms(n_bytes) == ms
    assert fmt.bytes_for_ms(ms) == n_bytes


@given(fmt=st.sampled_from(FORMATS), samples=st.integers(0, 24_000 * 3600))
def test_bytes_and_durations_convert_both_ways_without_loss(fmt: AudioFormat, samples: int) -> None:
    n_bytes = samples * fmt.bytes_per_sample
    assert fmt.bytes_for_ms(fmt.duration_ms(n_bytes)) == n_bytes


@given(fmt=st.sampled_from(FORMATS), ms=st.floats(0, 3_600_000))
def test_a_duration_gives_whole_samples_and_never_more_than_it(fmt: AudioFormat, ms: float) -> None:
    n_bytes = fmt.bytes_for_ms(ms)
    assert n_bytes % fmt.bytes_per_sample == 0
    assert ms - 1000 / fmt.rate < fmt.duration_ms(n_bytes) + 1e-3
    assert fmt.duration_ms(n_bytes) <= ms + 1e-3


def test_formats_and_bytes_need_no_numpy() -> None:
    program = (
        "import sys\n"
        "from trealtime.audio.formats import PCM16_24K\n"
        "from trealtime.audio.pcm import as_audio_bytes\n"
        "assert as_audio_bytes(bytearray(4), PCM16_24K) == bytes(4)\n"
        "sys.exit('numpy' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
