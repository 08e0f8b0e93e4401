"""Recognition: Moonshine (base, English, MIT), run from the weights in the ``moonshine-cpp`` wheel by onnxruntime.

An encoder reads the samples as they are (16 kHz, float); a decoder writes one token after another, greedily, fed with
its own keys and values. The weights are used and not that wheel's library, which keeps memory of every utterance.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime  # pyright: ignore[reportMissingImports]
import trio
from numpy.typing import NDArray

from trealtime.audio.resample import resample

__all__ = ["Moonshine"]

_RATE: Final = 16_000
_START, _END = 1, 2
_TOKENS_PER_S: Final = 6.5  # the model's own bound: it repeats itself beyond
_LONGEST_S: Final = 28.0
_SHORTEST_S: Final = 0.1
_FRAME: Final = _RATE // 50
_SILENCE_POWER: Final = 10 ** (-55 / 10)


class Moonshine:
    """A `Transcriber` of English. All sessions share it; `concurrency` recognitions run at a time, in threads.

    Make it in a thread of Trio's, as `load_speech` does. Audio longer than 28 s is cut where it is quietest. A
    cancelled recognition stops at its next token.
    """

    def __init__(self, *, concurrency: int = 1) -> None:
        spec = importlib.util.find_spec("moonshine_cpp")
        assert spec is not None
        assert spec.origin is not None  # the loader has looked for it
        folder = Path(spec.origin).parent / "models" / "base-en"
        self._encoder = _session(folder / "encoder_model.ort")
        self._decoder = _session(folder / "decoder_model_merged.ort")
        self._pieces = _read_pieces(folder / "tokenizer.bin")
        self._cache = {each.name: each.shape for each in self._decoder.get_inputs() if each.name.startswith("past_")}
        self._limiter = trio.CapacityLimiter(concurrency)
        # The first call allocates, for a second: do that now, and not in a conversation.
        self._words(np.zeros(_RATE, np.float32))

    async def transcribe(
        self, samples: NDArray[np.int16], rate: int, *, language: str | None = None, prompt: str | None = None
    ) -> str:
        """The words in `samples`, as a sentence with capitals and stops; `language` and `prompt` change nothing."""
        return await trio.to_thread.run_sync(self._write_down, samples, rate, limiter=self._limiter)

    def _write_down(self, samples: NDArray[np.int16], rate: int) -> str:
        audio = (resample(samples, rate, _RATE) if rate != _RATE else samples).astype(np.float32) / np.float32(32768)
        return " ".join(filter(None, (self._words(piece) for piece in _cut(_without_edges(audio)))))

    def _words(self, audio: NDArray[np.float32]) -> str:
        if len(audio) < _SHORTEST_S * _RATE:
            return ""
        trio.from_thread.check_cancelled()
        encoded = self._encoder.run(None, {"input_values": audio[None]})[0]
        # One float of each shape stands for "no cache yet"; the first step writes the one that is kept.
        cache = {name: np.zeros((1, shape[1], 0, shape[3]), np.float32) for name, shape in self._cache.items()}
        names = [each.name for each in self._decoder.get_outputs()][1:]
        tokens = [_START]
        for step in range(int(_TOKENS_PER_S * len(audio) / _RATE) + 1):
            trio.from_thread.check_cancelled()
            asked = {
                "input_ids": np.array([tokens[-1:]], np.int64),
                "encoder_hidden_states": encoded,
                "use_cache_branch": np.array([step > 0]),
                **cache,
            }
            logits, *kept = self._decoder.run(None, asked)
            for name, value in zip(names, kept, strict=True):
                if step == 0 or ".decoder." in name:  # of the encoder the first step says all
                    cache[name.replace("present", "past_key_values")] = value
            tokens.append(int(np.argmax(logits[0, -1])))
            if tokens[-1] == _END:
                break
        return self._text(tokens)

    def _text(self, tokens: list[int]) -> str:
        data = b"".join(self._pieces[token] for token in tokens if token not in (_START, _END))
        return data.decode("utf-8", "replace").replace("\N{LOWER ONE EIGHTH BLOCK}", " ").strip()


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
