"""The echo gate, with the emulator's voice detection behind it: what it hears is what would interrupt the agent."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np
import pytest

from trealtime.emulator.turn_detection import ServerVad, SpeechStarted
from trealtime.emulator.voice import VOICE_RATE, tones
from trealtime.endpoints.echo_gate import EchoGate

RATE = VOICE_RATE
STORY = "Once upon a time there was a small lighthouse at the end of a long road. Every evening its keeper climbed up."
NO = "Stop, please wait a moment now."


def spoken(text: str = STORY, *, voice: str = "cedar") -> np.ndarray:
    return np.concatenate([chunk.samples for chunk in tones(text, voice=voice, speed=1.0)])


def synthesised(seconds: float = 6.0, *, pitch_hz: float = 140.0, seed: int = 0) -> np.ndarray:
    """Speech as a formant synthesiser makes it: gliding vowels, hissing consonants, pauses; -20 dBFS."""
    rng = np.random.default_rng(seed)
    pieces: list[np.ndarray] = []
    while sum(map(len, pieces)) < seconds * RATE:
        n = int(rng.uniform(0.08, 0.25) * RATE)
        hz = pitch_hz * rng.uniform(0.8, 1.3) * np.linspace(1, rng.uniform(0.8, 1.2), n)
        phase = 2 * np.pi * np.cumsum(hz) / RATE
        formants = rng.uniform(250, 800), rng.uniform(800, 2400), rng.uniform(2400, 3400)
        vowel = np.zeros(n)
        for harmonic in range(1, int(4_000 / pitch_hz)):
            weight = sum(1 / (1 + ((harmonic * pitch_hz - formant) / 100) ** 2) for formant in formants)
            vowel += weight / harmonic**0.3 * np.sin(harmonic * phase)
        vowel *= np.hanning(n) / np.sqrt(np.mean(vowel**2))
        hiss = rng.normal(size=int(rng.uniform(0.02, 0.08) * RATE))
        pause = np.zeros(int(rng.choice([0.0, 0.02, 0.3], p=[0.5, 0.35, 0.15]) * RATE))
        pieces += [hiss * np.hanning(len(hiss)) * 0.3, vowel, pause]
    return at_level(np.concatenate(pieces)[: int(seconds * RATE)], -20)


def noise(seconds: float = 6.0) -> np.ndarray:
    return at_level(np.random.default_rng(1).normal(size=int(seconds * RATE)), -20)


def tone(seconds: float = 6.0, *, hz: float = 440.0) -> np.ndarray:
    """On and off, as a ringing is."""
    at = np.arange(int(seconds * RATE)) / RATE
    return at_level(np.sin(2 * np.pi * hz * at) * (np.sin(2 * np.pi * 1.3 * at) > -0.3), -20)


def at_level(samples: np.ndarray, dbfs: float) -> np.ndarray:
    scaled = samples / np.sqrt(np.mean(samples.astype(float) ** 2)) * 10 ** (dbfs / 20) * 32768
    return as_int16(scaled)


def as_int16(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)


AGENTS = {"voice": spoken(), "synthesised": synthesised(), "noise": noise(), "tone": tone()}


def echo(played: np.ndarray, *, db: float, delay_ms: float, direct_db: float | None = None) -> np.ndarray:
    """What a microphone hears of `played`: later, quieter, and with `direct_db` in a room, which rings for 200 ms that
    much below the direct sound."""
    heard = played.astype(float)
    if direct_db is not None:
        ringing = np.random.default_rng(2).normal(size=RATE // 5) * np.exp(-np.arange(RATE // 5) / (0.02 * RATE))
        ringing *= 10 ** (-direct_db / 20) / np.sqrt(np.sum(ringing**2))
        ringing[0] = 1.0
        heard = np.convolve(heard, ringing)[: len(heard)]
    delay = round(delay_ms * RATE / 1000)
    return np.concatenate((np.zeros(delay), heard))[: len(heard)] * 10 ** (db / 20)


def interruptions_ms(gate: EchoGate, heard: np.ndarray, played: np.ndarray, *, chunk: int = 240) -> list[int]:
    """At which times the server notices that somebody speaks."""
    vad = ServerVad()
    started: list[int] = []
    for begin in range(0, len(heard), chunk):
        passed = gate.process(heard[begin : begin + chunk], played[begin : begin + chunk])
        now_ms = (begin + chunk) * 1000 // RATE
        started += [now_ms for event in vad.feed(passed, RATE) if isinstance(event, SpeechStarted)]
    return started


def room_noise(n: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=n) * 10  # -70 dBFS


ROOMS = [(0, None), (1 / 24, 6.0), (40.3, None), (120.7, 0.0), (250, 6.0), (499, 0.0)]
"""Delay in ms (a sample is 1/24), and how much louder the direct sound is than the room's ringing."""


@pytest.mark.parametrize("db", [-10, -20, -30])
@pytest.mark.parametrize("agent", AGENTS)
def test_the_agents_own_voice_never_interrupts_it(agent: str, db: float) -> None:
    played = np.concatenate((AGENTS[agent], np.zeros(RATE, np.int16)))
    for delay_ms, direct_db in ROOMS:
        heard = as_int16(echo(played, db=db, delay_ms=delay_ms, direct_db=direct_db) + room_noise(len(played)))
        assert interruptions_ms(EchoGate(RATE), heard, played) == [], (delay_ms, direct_db)


@pytest.mark.parametrize("agent", AGENTS)
def test_without_the_gate_the_same_echo_would_interrupt(agent: str) -> None:
    played = AGENTS[agent]
    heard = as_int16(echo(played, db=-20, delay_ms=120))
    silent = np.zeros_like(heard)  # nothing is known to be played: the gate is open
    assert interruptions_ms(EchoGate(RATE), heard, silent)


@pytest.mark.parametrize("over_db", [15, 20])
@pytest.mark.parametrize("db", [-10, -20, -30])
@pytest.mark.parametrize("agent", AGENTS)
def test_a_louder_voice_interrupts_within_a_quarter_of_a_second(agent: str, db: float, over_db: float) -> None:
    played, at = AGENTS[agent], 3 * RATE
    heard = echo(played, db=db, delay_ms=120) + room_noise(len(played))
    user = at_level(synthesised(2, pitch_hz=210, seed=5), -20 + db + over_db)[: len(heard) - at]
    heard[at : at + len(user)] += user
    started = interruptions_ms(EchoGate(RATE), as_int16(heard), played)
    assert started
    assert 0 < started[0] - 3_000 <= 250


@pytest.mark.parametrize("onset_ms, chunk", [(0, 480), (100, 4_800)])
def test_the_beginning_of_a_word_is_not_lost_and_the_time_is_made_up_for(onset_ms: int, chunk: int) -> None:
    played = np.concatenate((AGENTS["synthesised"], AGENTS["synthesised"]))
    heard = echo(played, db=-20, delay_ms=120) + room_noise(len(played))
    user = at_level(synthesised(1.5, pitch_hz=210, seed=5), -20)
    user = user * np.minimum(1, np.arange(1, len(user) + 1) / (1 + onset_ms * RATE / 1000))
    times = 3 * RATE, 8 * RATE
    for at in times:
        heard[at : at + len(user)] += user
    heard = as_int16(heard)
    gate = EchoGate(RATE)
    parts: list[np.ndarray] = []
    ahead: list[int] = []
    for begin in range(0, len(heard), chunk):
        parts.append(gate.process(heard[begin : begin + chunk], played[begin : begin + chunk]))
        ahead.append(sum(map(len, parts)) - (begin + chunk) // 480 * 480)
    out = np.concatenate(parts).tobytes()
    for at in times:  # the first word from its first sample on, as it was heard
        assert heard[at : at + RATE * 2 // 5].tobytes() in out
    assert max(ahead) == RATE // 5
    assert (ahead[0], ahead[7 * RATE // chunk], ahead[-1]) == (0, 0, 0)


@pytest.mark.parametrize("offset", [-0.3, 0.1])
def test_the_offset_of_a_converter_changes_nothing(offset: float) -> None:
    played, at = AGENTS["synthesised"], 3 * RATE
    heard = echo(played, db=-20, delay_ms=120) + room_noise(len(played)) + offset * 32768
    assert interruptions_ms(EchoGate(RATE), as_int16(heard), played) == []
    user = at_level(synthesised(2, pitch_hz=210, seed=5), -25)
    heard[at : at + len(user)] += user
    started = interruptions_ms(EchoGate(RATE), as_int16(heard), played)
    assert started
    assert 0 < started[0] - 3_000 <= 250


@pytest.mark.parametrize("voice", ["cedar", "marin"])  # the agent's own voice, and another
def test_a_voice_of_the_same_kind_interrupts_too(voice: str) -> None:
    played, at = AGENTS["voice"], 3 * RATE
    heard = echo(played, db=-20, delay_ms=120)
    user = spoken(NO, voice=voice)[: len(heard) - at] * 10 ** (-10 / 20)
    heard[at : at + len(user)] += user
    started = interruptions_ms(EchoGate(RATE), as_int16(heard), played)
    assert started
    assert 0 < started[0] - 3_000 <= 250


def test_a_voice_that_begins_with_the_agents_first_words_interrupts() -> None:
    played = AGENTS["voice"]
    heard = echo(played, db=-20, delay_ms=120)
    user = at_level(synthesised(2, pitch_hz=210, seed=5), -15)
    heard[RATE // 4 :][: len(user)] += user
    assert interruptions_ms(EchoGate(RATE), as_int16(heard), played)[0] <= 500


def test_when_nothing_was_played_everything_passes_as_it_was_heard() -> None:
    gate = EchoGate(RATE)
    heard = as_int16(room_noise(RATE))
    passed = np.concatenate([gate.process(part, np.zeros_like(part)) for part in np.split(heard, 100)])
    assert (passed == heard).all()
    assert gate.statistics().silenced_frames == 0
    assert gate.statistics().searches == 0


def test_a_quiet_answer_after_the_agent_has_ended_is_heard_within_0_7_seconds() -> None:
    agent = AGENTS["voice"]
    played = np.concatenate((agent, np.zeros(3 * RATE, np.int16)))
    heard = echo(played, db=-10, delay_ms=120)
    answer = at_level(synthesised(2, pitch_hz=210, seed=5), -38)
    heard[len(agent) : len(agent) + len(answer)] += answer
    started = interruptions_ms(EchoGate(RATE), as_int16(heard), played)
    assert started
    assert 0 < started[0] - len(agent) * 1000 / RATE <= 900


def test_silence_takes_the_place_of_an_echo_sample_for_sample() -> None:
    gate = EchoGate(RATE)
    played = AGENTS["noise"][: 2 * RATE]
    heard = as_int16(echo(played, db=-20, delay_ms=100))
    pieces = [gate.process(heard[at : at + 333], played[at : at + 333]) for at in range(0, len(heard), 333)]
    passed = np.concatenate(pieces)
    assert len(passed) == len(heard) // 480 * 480
    assert not passed.any()


def test_an_echo_that_is_found_raises_the_coupling_to_20_db_and_no_more() -> None:
    """Beyond that it is only learned, slowly: here everything is heard 30 dB louder than it is played."""
    gate = EchoGate(RATE)
    played = at_level(AGENTS["synthesised"], -45)
    gate.process(as_int16(echo(played, db=30, delay_ms=100)), played)
    assert 20 <= gate.statistics().coupling_db < 22


def test_clicks_do_not_add_up_to_a_voice() -> None:
    """A key that is pressed is loud for a part of one frame: only frames in a row are a voice."""
    gate = EchoGate(RATE)
    played = AGENTS["noise"][: 4 * RATE]
    heard = echo(played, db=-20, delay_ms=100) + room_noise(len(played))
    click = at_level(np.random.default_rng(4).normal(size=RATE // 250), -8)
    for at in range(2 * RATE, len(heard) - RATE // 10, RATE // 10):
        heard[at : at + len(click)] += click
    passed = gate.process(as_int16(heard), played)
    assert not passed[RATE:].any()


@pytest.mark.parametrize("chunk", [37, 160, 480, 9_600])
def test_the_sizes_of_the_chunks_change_nothing(chunk: int) -> None:
    played, at = AGENTS["synthesised"][: 4 * RATE], 2 * RATE
    heard = echo(played, db=-15, delay_ms=77)
    heard[at : at + RATE] += at_level(synthesised(1, pitch_hz=210, seed=5), -15)
    heard = as_int16(heard)

    def passed(size: int) -> np.ndarray:
        gate = EchoGate(RATE)
        parts: Iterable[int] = range(0, len(heard), size)
        return np.concatenate([gate.process(heard[at : at + size], played[at : at + size]) for at in parts])

    assert (passed(chunk) == passed(480)[: len(passed(chunk))]).all()


def test_the_volume_turned_up_by_20_db_is_taken_for_an_echo_still() -> None:
    played = np.concatenate((AGENTS["synthesised"], AGENTS["synthesised"]))
    half = len(played) // 2
    heard = echo(played, db=-30, delay_ms=77)
    heard[half:] *= 10
    gate = EchoGate(RATE)
    assert interruptions_ms(gate, as_int16(heard), played) == []
    assert gate.statistics().coupling_db == pytest.approx(-10, abs=3)
    assert gate.statistics().delay_ms == pytest.approx(77, abs=1)


@pytest.mark.parametrize("db", [-10, -20, -30])
def test_the_coupling_is_learned_while_the_agent_speaks(db: float) -> None:
    played = AGENTS["synthesised"]
    gate = EchoGate(RATE)
    interruptions_ms(gate, as_int16(echo(played, db=db, delay_ms=200)), played)
    assert gate.statistics().coupling_db == pytest.approx(db, abs=2)


def white(n: int, dbfs: float, *, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n) * 10 ** (dbfs / 20) * 32768


def with_hissing_pauses(agent: np.ndarray) -> np.ndarray:
    """A voice that pauses for 1.2 s every two seconds, in which it goes on as a hiss of -60 dBFS."""
    pause = np.zeros(round(1.2 * RATE))
    pieces = [np.concatenate((agent[at : at + 2 * RATE], pause)) for at in range(0, len(agent), 2 * RATE)]
    spoken = np.concatenate(pieces)
    return as_int16(spoken + white(len(spoken), -60, seed=7))


@pytest.mark.parametrize("noise_dbfs", [-60, -50, -45])
@pytest.mark.parametrize("agent", ["voice", "synthesised"])
@pytest.mark.parametrize("delay_ms, direct_db", [(40.3, None), (120.7, 0.0)])
def test_the_noise_of_the_room_does_not_open_the_gate_in_the_agents_pauses(
    agent: str, noise_dbfs: float, delay_ms: float, direct_db: float | None
) -> None:
    played = with_hissing_pauses(AGENTS[agent])
    heard = echo(played, db=-20, delay_ms=delay_ms, direct_db=direct_db)
    gate = EchoGate(RATE)
    assert interruptions_ms(gate, as_int16(heard + white(len(heard), noise_dbfs, seed=8)), played) == []
    # Of noise up to 12 kHz a third is below 4 kHz, and the weighting adds 2.6 dB.
    assert gate.statistics().floor_dbfs == pytest.approx(noise_dbfs - 2.2, abs=2)


@pytest.mark.parametrize("noise_dbfs", [-60, -50])
def test_a_voice_over_the_noise_of_the_room_interrupts_still(noise_dbfs: float) -> None:
    played, at = with_hissing_pauses(AGENTS["synthesised"]), 3 * RATE  # in a pause
    heard = echo(played, db=-20, delay_ms=40.3) + white(len(played), noise_dbfs, seed=8)
    user = at_level(synthesised(2, pitch_hz=210, seed=5), -25)
    heard[at : at + len(user)] += user
    started = interruptions_ms(EchoGate(RATE), as_int16(heard), played)
    assert started
    assert 0 < started[0] - 3_000 <= 300


def test_the_floor_follows_noise_that_becomes_louder_or_softer() -> None:
    gate = EchoGate(RATE)
    floors = []
    for dbfs in (-60, -45, -60):
        noise = as_int16(white(4 * RATE, dbfs, seed=9))
        gate.process(noise, np.zeros_like(noise))
        floors.append(gate.statistics().floor_dbfs)
    assert floors == pytest.approx([-62.2, -47.2, -62.2], abs=2)


def test_with_headphones_a_quiet_voice_interrupts() -> None:
    played, at = AGENTS["voice"], 3 * RATE
    heard = room_noise(len(played))
    user = at_level(synthesised(2, pitch_hz=210, seed=5), -40)[: len(heard) - at]
    heard[at : at + len(user)] += user
    started = interruptions_ms(EchoGate(RATE), as_int16(heard), played)
    assert started
    assert started[0] - 3_000 <= 300


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000, 96_050])
def test_other_rates_work_as_well(rate: int) -> None:
    from trealtime.audio.resample import resample

    played = resample(AGENTS["voice"], RATE, rate)
    delay = rate // 10
    heard = as_int16(np.concatenate((np.zeros(delay), played[:-delay] * 0.1)))
    gate = EchoGate(rate)
    assert not gate.process(heard, played).any()


def test_a_frame_costs_little() -> None:
    """Some 0.3 ms at worst, of 20 ms; the bound allows for machines that are slow or busy."""
    played = AGENTS["synthesised"]
    heard = as_int16(echo(played, db=0, delay_ms=100))  # the most expensive case: every frame is searched for
    gate = EchoGate(RATE)
    began = time.process_time()
    interruptions_ms(gate, heard, played)
    per_frame_ms = (time.process_time() - began) * 1000 / gate.statistics().frames
    assert per_frame_ms < 5


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: EchoGate(RATE, margin_db=-1), "margin_db"),
        (lambda: EchoGate(11_025), "rate"),
        (lambda: EchoGate(0), "rate"),
        (lambda: EchoGate(24_000.0), "rate"),  # type: ignore[arg-type]
        (lambda: EchoGate(RATE).process(np.zeros(3), np.zeros(3)), "heard must be int16"),
        (lambda: EchoGate(RATE).process(np.zeros(3, np.int16), np.zeros(4, np.int16)), "same length"),
    ],
)
def test_bad_input_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
