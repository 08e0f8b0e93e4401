"""The echo gate: silence in place of the agent's own voice in the microphone, and an open gate for a louder voice.

Theory of operation
Both signals, the played and the heard one, are brought to 8 kHz and weighted like hearing (a first difference: rumble
and hum count little, the offset of a microphone's converter not at all). The gate decides once per frame of 20 ms.

1. *Nothing was played within the last 0.6 s: the gate is open.* It costs nothing then.
2. *How loud an echo may be.* The coupling is the loudness of the echo, compared to the played signal. It begins at
   -10 dB and is learned while the gate is closed: audio that was played between 1 and 0.5 s ago has its echo within the
   last second (for any delay up to 0.5 s), so the loudest heard frame of the last second over the loudest one played
   then is the most that the coupling can be. The coupling falls towards that by 40 dB a second and rises by 3, so that
   a person who speaks below the threshold does not close the gate for long. It never falls below -40 dB. An echo may be
   as loud as the loudest frame played within 0.6 s, times the coupling. A frame that is not `margin_db` louder than
   that is echo.
3. *The floor.* A microphone hears noise of its own and of the room. The floor is the quietest frame of the last second
   plus 2 dB: it falls at once and rises by 6 dB a second. A frame that is not `margin_db` louder than the floor is no
   voice. Without a floor, pauses in which the agent's voice goes on only as a hiss would let the noise open the gate,
   and the agent's next word would pass.
4. *Whether a loud frame is an echo after all* (the volume was turned up). The last 100 ms are searched for in the
   played signal: cross-correlation by FFT over all delays from 0 to 0.5 s, then a least-squares filter of 17 taps
   (2 ms) around the best, for delays between samples and the colour of loudspeaker and room. If that explains half of
   the frame or more, the frame is echo, and the coupling rises by 1 dB towards the measured one; no more, because two
   voices can look alike for some frames. Otherwise the unexplained rest has to be over the threshold, too.
5. Two such frames in a row open the gate; it closes 240 ms after the last one. While it is open everything passes as it
   was heard. While it is closed the microphone is silence of the same length, so that voice detection behind it keeps
   the time.
6. A word begins more quietly than the gate can tell from an echo. So when the gate opens, up to 200 ms from before are
   given out first, as they were heard. As much silence is left out later: the output is never further ahead of the time
   than that.

Its limits: it removes no echo while a person speaks over the agent, and a voice that is quieter than the echo in
the room is not heard until the agent pauses.
"""

from __future__ import annotations

import math
from collections import deque

import attrs
import numpy as np
from numpy.typing import NDArray

from trealtime.audio.resample import Resampler

__all__ = ["EchoGate", "EchoGateStatistics"]

_RATE = 8_000
_FRAME_MS = 20
_FRAME = _RATE * _FRAME_MS // 1000
_WEIGHT = 1.0

_LONGEST_DELAY_MS = 500
_DECAY_MS = 100
"""How long a room rings after an echo has ended."""

_HOLD_FRAMES = (_LONGEST_DELAY_MS + _DECAY_MS) // _FRAME_MS
_LEARN_FRAMES = 2 * _LONGEST_DELAY_MS // _FRAME_MS
_DELAY_FRAMES = _LONGEST_DELAY_MS // _FRAME_MS

_FIRST_COUPLING_DB, _LEAST_COUPLING_DB, _MOST_COUPLING_DB = -10.0, -40.0, 20.0
_FALL_DB, _RISE_DB = 40 * _FRAME_MS / 1000, 3 * _FRAME_MS / 1000
_JUMP_DB = 1.0
_QUIET_DB = -65.0
"""A played signal below this is silence."""

_FLOOR_FRAMES = 1_000 // _FRAME_MS
_FLOOR_FROM_FRAMES = 5
_FLOOR_OVER_QUIETEST_DB = 2.0
_FLOOR_RISE_DB = 6 * _FRAME_MS / 1000

_WINDOW = 100 * _RATE // 1000
_SEARCHED = _LONGEST_DELAY_MS * _RATE // 1000
_TAPS = 17
_ECHO_SHARE = 0.5

_ONSET_FRAMES = 2
_OPEN_FRAMES = 240 // _FRAME_MS
_BEFORE_FRAMES = 200 // _FRAME_MS


@attrs.frozen(kw_only=True)
class EchoGateStatistics:
    """Counts and estimates of a gate. `floor_dbfs` is the noise of microphone and room, weighted like hearing; minus
    infinity until it is known. `delay_ms` and `explained` are those of the last search; None before one."""

    is_open: bool
    coupling_db: float
    floor_dbfs: float
    delay_ms: float | None
    explained: float | None
    frames: int
    silenced_frames: int
    searches: int


class EchoGate:
    """A gate for one microphone at `rate` samples per second, and the signal that is played beside it at that rate.

    `margin_db` is how much louder than the loudest possible echo, and than the noise, a voice has to be. Raises
    `ValueError` for a rate without whole frames of 20 ms and for a negative margin.
    """

    def __init__(self, rate: int, *, margin_db: float = 6.0) -> None:
        if not margin_db >= 0:
            raise ValueError(f"margin_db must be 0 or more, got {margin_db!r}")
        if not _is_rate(rate):
            raise ValueError(f"rate must be a multiple of {1000 // _FRAME_MS} samples per second, got {rate!r}")
        self._margin_db = margin_db
        self._frame = rate * _FRAME_MS // 1000
        self._waiting = np.zeros(0, np.int16)
        self._waiting_played = np.zeros(0, np.int16)
        self._heard = _Ear(rate, _WINDOW)
        self._played = _Ear(rate, _WINDOW + _SEARCHED)
        self._heard_db = deque([-math.inf], _LEARN_FRAMES)
        self._played_db = deque([-math.inf], _LEARN_FRAMES)
        self._coupling_db = _FIRST_COUPLING_DB
        self._floor_db = -math.inf
        self._loud_in_row = 0
        self._open_left = 0
        self._before: deque[NDArray[np.int16]] = deque(maxlen=_BEFORE_FRAMES)
        """The last frames in place of which silence was given out."""

        self._ahead = 0
        """How many frames more were given out than have been heard."""

        self._found: _Search | None = None
        self._frames = self._silenced = self._searches = 0

    def process(self, heard: NDArray[np.int16], played: NDArray[np.int16]) -> NDArray[np.int16]:
        """Return the microphone's next samples, or silence in their place, in whole frames of 20 ms; the rest waits.

        They are as many as have been heard, up to 200 ms more when the gate opens, and as many fewer while it is closed
        again. `heard` and `played` are mono int16 of shape (n,), of the same time. Raises `ValueError` when their
        lengths differ, and for another shape or dtype.
        """
        if len(heard) != len(played):
            raise ValueError(f"heard and played must be of the same length, got {len(heard)} and {len(played)} samples")
        for name, samples in (("heard", heard), ("played", played)):
            if samples.dtype.kind != "i" or samples.dtype.itemsize != 2 or samples.ndim != 1:
                raise ValueError(f"{name} must be int16 of shape (n,), got {samples.dtype} of shape {samples.shape}")
        self._waiting = np.concatenate((self._waiting, heard))
        self._waiting_played = np.concatenate((self._waiting_played, played))
        whole = len(self._waiting) // self._frame * self._frame
        taken, self._waiting = self._waiting[:whole], self._waiting[whole:]
        taken_played, self._waiting_played = self._waiting_played[:whole], self._waiting_played[whole:]
        out = [taken[:0]]
        for start in range(0, whole, self._frame):
            frame = taken[start : start + self._frame]
            self._frames += 1
            was_open = self._open_left > 0
            if self._passes(frame, taken_played[start : start + self._frame]):
                out += [*self._missed(was_open=was_open), frame]
                self._before.clear()
            else:
                self._before.append(frame)
                self._silenced += 1
                if self._ahead:
                    self._ahead -= 1
                else:
                    out.append(np.zeros_like(frame))
        return np.concatenate(out)

    def _missed(self, *, was_open: bool) -> list[NDArray[np.int16]]:
        """Return what was heard of a voice before the gate opened for it."""
        if was_open or not self._open_left:
            return []
        missed = list(self._before)
        missed = missed[max(0, len(missed) + self._ahead - _BEFORE_FRAMES) :]
        self._ahead += len(missed)
        self._silenced -= len(missed)
        return missed

    def statistics(self) -> EchoGateStatistics:
        """Return counts and estimates so far."""
        return EchoGateStatistics(
            is_open=self._open_left > 0 or self._echo_db() is None,
            coupling_db=self._coupling_db,
            floor_dbfs=self._floor_db,
            delay_ms=self._found.delay * 1000 / _RATE if self._found else None,
            explained=self._found.explained if self._found else None,
            frames=self._frames,
            silenced_frames=self._silenced,
            searches=self._searches,
        )

    def _passes(self, heard: NDArray[np.int16], played: NDArray[np.int16]) -> bool:
        self._played_db.append(self._played.take(played))
        self._heard_db.append(self._heard.take(heard))
        self._find_floor()
        echo_db = self._echo_db()
        if echo_db is None:
            self._loud_in_row = 0
            self._open_left = max(0, self._open_left - 1)
            return True
        if self._is_voice(max(echo_db, self._floor_db) + self._margin_db):
            self._loud_in_row += 1
            if self._loud_in_row >= _ONSET_FRAMES or self._open_left:
                self._open_left = _OPEN_FRAMES
        else:
            self._loud_in_row = 0
            self._open_left = max(0, self._open_left - 1)
        if not self._open_left:
            self._learn()
        return self._open_left > 0

    def _echo_db(self) -> float | None:
        """Return how loud an echo may be now; None when there can be none."""
        loudest_db = max(list(self._played_db)[-_HOLD_FRAMES:])
        return loudest_db + self._coupling_db if loudest_db > _QUIET_DB else None

    def _is_voice(self, threshold_db: float) -> bool:
        level_db = self._heard_db[-1]
        if level_db <= threshold_db:
            return False
        found = self._found = _search(self._heard.recent, self._played.recent)
        self._searches += 1
        if found.explained >= _ECHO_SHARE:
            if found.gain_db > self._coupling_db:
                self._coupling_db = min(found.gain_db, self._coupling_db + _JUMP_DB, _MOST_COUPLING_DB)
            return False
        return level_db + 10 * math.log10(1 - found.explained) > threshold_db

    def _learn(self) -> None:
        played_db = max(list(self._played_db)[:-_DELAY_FRAMES], default=-math.inf)
        if len(self._played_db) < _LEARN_FRAMES or played_db <= _QUIET_DB:
            return
        heard_db = max(self._heard_db)
        most_db = max(heard_db - played_db, _LEAST_COUPLING_DB)
        if most_db < self._coupling_db:
            self._coupling_db = max(most_db, self._coupling_db - _FALL_DB)
        elif heard_db > self._floor_db + self._margin_db:  # noise says nothing about the echo
            self._coupling_db = min(most_db, self._coupling_db + _RISE_DB)

    def _find_floor(self) -> None:
        # Digital silence is a device that has not begun yet, or is muted.
        levels_db = [each for each in list(self._heard_db)[-_FLOOR_FRAMES:] if each > -math.inf]
        if len(levels_db) < _FLOOR_FROM_FRAMES:
            return
        floor_db = min(levels_db) + _FLOOR_OVER_QUIETEST_DB
        known = self._floor_db > -math.inf
        self._floor_db = min(floor_db, self._floor_db + _FLOOR_RISE_DB) if known else floor_db


def _is_rate(value: object) -> bool:
    return type(value) is int and value > 0 and value * _FRAME_MS % 1000 == 0  # a bool is no rate


class _Ear:
    """The last samples of one signal at 8 kHz, weighted like hearing."""

    def __init__(self, rate: int, length: int) -> None:
        self._resampler = Resampler(rate, _RATE)
        self._last = 0.0
        self.recent = np.zeros(length)

    def take(self, samples: NDArray[np.int16]) -> float:
        """Take the next frame. Return the level of the last one, in dBFS."""
        audio = self._resampler.process(samples).astype(np.float64) / 32768
        if len(audio):
            weighted = audio - _WEIGHT * np.concatenate(([self._last], audio[:-1]))
            self._last = float(audio[-1])
            self.recent = np.concatenate((self.recent[len(audio) :], weighted))
        frame = self.recent[-_FRAME:]
        power = float(frame @ frame) / _FRAME
        return 10 * math.log10(power) if power > 0 else -math.inf


@attrs.frozen
class _Search:
    """An echo: its share of the power, from 0 to 1 (`explained`), its `delay` in samples at 8 kHz, and `gain_db`."""

    delay: int
    explained: float
    gain_db: float


def _search(heard: NDArray[np.float64], played: NDArray[np.float64]) -> _Search:
    """Look for `heard` in `played`, which reaches back further by all possible delays."""
    n_heard, n_played = len(heard), len(played)
    size = 1 << (n_played - 1).bit_length()  # the wrapped part lies beyond the delays of interest
    products = np.fft.irfft(np.fft.rfft(played, size) * np.conj(np.fft.rfft(heard, size)), size)
    starts = np.arange(n_played - n_heard + 1)
    energy = np.concatenate(([0.0], np.cumsum(played * played)))
    energies = energy[starts + n_heard] - energy[starts]
    likeness = products[starts] ** 2 / (energies + 1e-9 * n_heard)
    best = int(np.argmax(likeness))

    first = max(0, min(best - _TAPS // 2, n_played - n_heard - _TAPS + 1))
    shifted = np.lib.stride_tricks.sliding_window_view(played[first : first + n_heard + _TAPS - 1], n_heard)
    gram = shifted @ shifted.T
    gram[np.diag_indices(_TAPS)] += 1e-6 * np.trace(gram) / _TAPS + 1e-12
    against = shifted @ heard
    echo = max(float(against @ np.linalg.solve(gram, against)), 1e-12)
    return _Search(
        delay=n_played - n_heard - best,
        explained=min(echo / (float(heard @ heard) + 1e-12), 1.0 - 1e-9),
        gain_db=10 * math.log10(echo / (energies[best] + 1e-9 * n_heard)),
    )
