"""Frames that a client writes by itself: as `websockets` reads them, each with a key of its own."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader
from websockets.utils import apply_mask

from trealtime.transport.masked_frames import MASKED_FRAMES, MaskedFrames


def read(data: bytes) -> Frame:
    """The one frame that is all of `data`, as a server reads it."""
    reader = StreamReader()
    reader.feed_data(data)
    parsing = Frame.parse(reader.read_exact, mask=True)
    with pytest.raises(StopIteration) as done:
        next(parsing)
    assert not reader.buffer
    frame = done.value.value
    assert isinstance(frame, Frame)
    return frame


@pytest.mark.parametrize("size", [0, 1, 3, 125, 126, 127, 1334, 65535, 65536, 200_001])
def test_a_server_reads_a_frame_of_any_size(size: int) -> None:
    payload = bytes(number % 128 for number in range(size))
    frame = read(MaskedFrames(apply_mask).text(payload))
    assert (frame.opcode, frame.fin, frame.rsv1, frame.rsv2, frame.rsv3) == (Opcode.TEXT, True, False, False, False)
    assert frame.data == payload


@given(st.lists(st.text(max_size=300)), st.integers(0, 2**32 - 1))
def test_frames_are_byte_for_byte_those_of_websockets_with_the_same_keys(texts: list[str], key: int) -> None:
    keys = key.to_bytes(4, "big")
    ours = MaskedFrames(apply_mask, lambda size: keys * (size // 4))
    for text in texts:
        payload = text.encode()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("secrets.token_bytes", lambda size: keys)
            theirs = Frame(Opcode.TEXT, payload).serialize(mask=True)
        assert ours.text(payload) == theirs


def test_each_frame_has_the_next_four_bytes_of_the_source_and_none_is_used_twice() -> None:
    numbers = count()
    drawn: list[bytes] = []

    def source(size: int) -> bytes:
        drawn.append(b"".join(next(numbers).to_bytes(4, "big") for _ in range(size // 4)))
        return drawn[-1]

    frames = MaskedFrames(apply_mask, source)
    keys = [frames.text(b"")[2:6] for _ in range(1000)]
    assert b"".join(keys) == b"".join(drawn)[: 4 * 1000]
    assert len(set(keys)) == 1000


def test_without_a_source_given_keys_are_random() -> None:
    keys = {MaskedFrames(apply_mask).text(b"")[2:6] for _ in range(100)}
    assert len(keys) > 90


@pytest.mark.skipif(MASKED_FRAMES is None, reason="websockets has no compiled part here")
@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 31, 1334, 70_000])
def test_the_frames_of_wires_are_masked_as_those_are(size: int) -> None:
    payload = bytes(number % 128 for number in range(size))
    assert MASKED_FRAMES is not None
    assert read(MASKED_FRAMES.text(payload)).data == payload
