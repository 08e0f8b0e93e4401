"""Recognition: Moonshine (base, English, MIT), run from the weights in the ``moonshine-cpp`` wheel by onnxruntime.

An encoder reads the samples as they are (16 kHz, float); a decoder writes one token after another, greedily, fed with
its own keys and values. The weights are used and not that wheel's library, which keeps memory of every utterance.

A token costs the decoder some 50 ms, the encoder a second of speech some 25 ms, and to check twenty tokens at once
costs hardly more than to write one. So the tokens of a stretch are kept as a draft for the same stretch with more
audio: the decoder checks them in one go, writes those that are new or differ, and takes up the draft again where it
fits. The words are those that it writes without a draft.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
import onnxruntime  # pyright: ignore[reportMissingImports]
import trio
from numpy.typing import NDArray

from trealtime.audio.resample import resample

__all__ = ["Moonshine", "MoonshineStretch"]

_RATE: Final = 16_000
_START, _END = 1, 2
_TOKENS_PER_S: Final = 6.5  # the model's own bound: it repeats itself beyond
_LONGEST_S: Final = 28.0
_SHORTEST_S: Final = 0.1
_FRAME: Final = _RATE // 50
_SILENCE_POWER: Final = 10 ** (-55 / 10)
_DRAFTED_AT_ONCE: Final = 16
_LOOKED_AHEAD: Final = 4
_FEWEST_DRAFTED: Final = 2


class Moonshine:
    """A `Transcriber` of English. All sessions share it; `concurrency` recognitions run at a time, in threads.

    Make it in a thread of Trio's, as `load_speech` does. Audio longer than 28 s is cut where it is quietest. A
    cancelled recognition stops at its next token. It is a `StagedTranscriber`.
    """

    def __init__(self, *, concurrency: int = 1) -> None:
        spec = importlib.util.find_spec("moonshine_cpp")
        assert spec is not None
        assert spec.origin is not None  # the loader has looked for it
        folder = Path(spec.origin).parent / "models" / "base-en"
        self._encoder = _session(folder / "encoder_model.ort")
        self._decoder = _session(folder / "decoder_model_merged.ort")
        self._pieces = _read_pieces(folder / "tokenizer.bin")
        self._limiter = trio.CapacityLimiter(concurrency)
        # The first call allocates, for a second: do that now, and not in a conversation.
        self._words(np.zeros(_RATE, np.float32), [])

    async def transcribe(
        self, samples: NDArray[np.int16], rate: int, *, language: str | None = None, prompt: str | None = None
    ) -> str:
        """The words in `samples`, as a sentence with capitals and stops; `language` and `prompt` change nothing."""
        return await trio.to_thread.run_sync(self._write_down, samples, rate, limiter=self._limiter)

    def begin(self, *, language: str | None = None, prompt: str | None = None) -> MoonshineStretch:
        """Begin a stretch of speech; the hints change nothing."""
        return MoonshineStretch(self, self._limiter)

    def write_down(self, samples: NDArray[np.int16], rate: int, drafts: list[list[int]]) -> str:
        """Return the words in `samples`; blocks. `drafts` has the tokens of each piece, and gets those of this time."""
        audio = (resample(samples, rate, _RATE) if rate != _RATE else samples).astype(np.float32) / np.float32(32768)
        words = []
        for number, piece in enumerate(_cut(_without_edges(audio))):
            if number == len(drafts):
                drafts.append([])
            words.append(self._words(piece, drafts[number]))
        return " ".join(filter(None, words))

    def _write_down(self, samples: NDArray[np.int16], rate: int) -> str:
        return self.write_down(samples, rate, [])

    def _words(self, audio: NDArray[np.float32], draft: list[int]) -> str:
        if len(audio) < _SHORTEST_S * _RATE:
            return ""
        trio.from_thread.check_cancelled()
        decoding = _Decoding(self._decoder, self._encoder.run(None, {"input_values": audio[None]})[0])
        earlier, longest = draft.copy(), int(_TOKENS_PER_S * len(audio) / _RATE) + 1
        ahead, at = earlier[: longest - 1], 0
        while len(decoding.tokens) <= longest:
            trio.from_thread.check_cancelled()
            agreed = decoding.step(ahead)
            written = decoding.tokens[1:]
            if written[-1] == _END:
                written.pop()
                draft[:] = written
                break
            if len(written) > len(draft):
                draft[:] = written
            at += agreed
            # Where the draft goes on with this token, what follows it may be right again.
            found = [n for n in range(at, min(at + _LOOKED_AHEAD, len(earlier))) if earlier[n] == written[-1]]
            at = found[0] + 1 if found else at
            ahead = earlier[at : at + min(_DRAFTED_AT_ONCE, longest - len(written))] if found else []
            ahead = ahead if len(ahead) >= _FEWEST_DRAFTED else []
        return self._text(decoding.tokens[: longest + 1])

    def _text(self, tokens: list[int]) -> str:
        data = b"".join(self._pieces[token] for token in tokens if token not in (_START, _END))
        return data.decode("utf-8", "replace").replace("\N{LOWER ONE EIGHTH BLOCK}", " ").strip()


@attrs.define(eq=False)
class MoonshineStretch:
    """The recognition of one stretch by a `Moonshine`; see `Recognition`."""

    _model: Moonshine
    _limiter: trio.CapacityLimiter
    _drafts: list[list[int]] = attrs.field(factory=list, init=False)
    _one_at_a_time: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def recognise(self, samples: NDArray[np.int16], rate: int) -> str:
        """The words in `samples`. If cancelled, the tokens so far are kept."""
        async with self._one_at_a_time:
            return await trio.to_thread.run_sync(
                self._model.write_down, samples, rate, self._drafts, limiter=self._limiter
            )


class _Decoding:
    """The decoder at work on one piece of audio: `tokens` are those written so far, the start among them."""

    def __init__(self, decoder: Any, encoded: NDArray[np.float32]) -> None:
        self.tokens = [_START]
        self._decoder = decoder
        self._encoded = encoded
        self._names = [each.name.replace("present", "past_key_values") for each in decoder.get_outputs()][1:]
        inputs = {each.name: each.shape for each in decoder.get_inputs() if each.name.startswith("past_")}
        # One float of each shape stands for "no cache yet"; the first step writes the one that is kept.
        self._cache = {name: np.zeros((1, shape[1], 0, shape[3]), np.float32) for name, shape in inputs.items()}
        self._begun = False

    def step(self, ahead: list[int]) -> int:
        """Write the next token, after as many of `ahead` as are what would be written; return their number."""
        asked = {
            "input_ids": np.array([[self.tokens[-1], *ahead]], np.int64),
            "encoder_hidden_states": self._encoded,
            "use_cache_branch": np.array([self._begun]),
            **self._cache,
        }
        logits, *kept = self._decoder.run(None, asked)
        choices: list[int] = np.argmax(logits[0], axis=-1).tolist()
        agreed = next((n for n, token in enumerate(ahead) if token != choices[n]), len(ahead))
        self.tokens += [*ahead[:agreed], choices[agreed]]
        for name, value in zip(self._names, kept, strict=True):
            if ".decoder." in name:
                self._cache[name] = value[:, :, : len(self.tokens) - 1]
            elif not self._begun:  # of the encoder the first step says all
                self._cache[name] = value
        self._begun = True
        return agreed


def _session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    # A second thread gains a third of the time and takes the core that the sessions run on.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _read_pieces(path: Path) -> list[bytes]:
    """The pieces of the tokeniser: each a length (one byte, or two from 128 on), then its bytes."""
    data, position, pieces = path.read_bytes(), 0, []
    while position < len(data):
        length = data[position]
        position += 1
        if length >= 128:
            length = (length - 128) + 128 * data[position]
            position += 1
        pieces.append(data[position : position + length])
        position += length
    return pieces


def _without_edges(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """`audio` without the silence around it, of which the model makes nothing, or something: 0.2 s of it stay."""
    frames = audio[: len(audio) // _FRAME * _FRAME].reshape(-1, _FRAME)
    loud = np.flatnonzero((frames**2).mean(axis=1) > _SILENCE_POWER)
    if not len(loud):
        return audio[:0]
    margin = _RATE // 5
    return audio[max(loud[0] * _FRAME - margin, 0) : (loud[-1] + 1) * _FRAME + margin]


def _cut(audio: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """`audio` in pieces that the model can take, cut in the quietest 20 ms of the last third of each."""
    pieces = []
    longest = int(_LONGEST_S * _RATE)
    while len(audio) > longest:
        frames = audio[longest * 2 // 3 : longest]
        frames = frames[: len(frames) // _FRAME * _FRAME].reshape(-1, _FRAME)
        at = longest * 2 // 3 + int(np.argmin((frames**2).mean(axis=1))) * _FRAME + _FRAME // 2
        pieces.append(audio[:at])
        audio = audio[at:]
    return [*pieces, audio]
