"""Texts cut from what a server sends: the same messages, answers and ends as by `websockets` alone."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from trealtime.transport.background import background_nursery
from trealtime.transport.client import ClientWire
from trealtime.transport.server_frames import ServerFrames

MAX_SIZE = 70_000


def frame(opcode: Opcode, payload: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=False)


def text(payload: bytes, *, fin: bool = True) -> bytes:
    return frame(Opcode.TEXT, payload, fin=fin)


def long_head(first: int, length: int) -> bytes:
    return bytes((first, 127)) + length.to_bytes(8, "big")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, MAX_SIZE])
@pytest.mark.parametrize("step", [1, 2, 3, 9, 1000, 10**6])
def test_a_text_is_cut_from_pieces_of_any_size(size: int, step: int) -> None:
    if size > 1000 and step < 9:
        step = 997
    sent = text(bytes(number % 128 for number in range(size))) + text(b"next")
    frames = ServerFrames(MAX_SIZE)
    got = [piece for at in range(0, len(sent), step) for piece in frames.cut(sent[at : at + step])]
    assert got == [(True, bytes(number % 128 for number in range(size))), (True, b"next")]


def test_other_frames_are_left_to_websockets_whole_and_in_order() -> None:
    ping, binary = frame(Opcode.PING, b"x"), frame(Opcode.BINARY, b"\xff")
    begin, more, end = text(b"a", fin=False), frame(Opcode.CONT, b"b", fin=False), frame(Opcode.CONT, b"c")
    sent = text(b"1") + ping + binary + begin + ping + more + end + text(b"2")
    for step in (1, len(sent)):
        frames = ServerFrames(math.inf)
        got = [piece for at in range(0, len(sent), step) for piece in frames.cut(sent[at : at + step])]
        others = [(False, each) for each in (ping, binary, begin, ping, more, end)]
        assert got == [(True, b"1"), *others, (True, b"2")]


@pytest.mark.parametrize(
    "head",
    [
        b"\x81\x80",  # masked, which no server does
        b"\x83\x00",  # no such opcode
        b"\xc1\x00",  # a reserved bit
        b"\x09\x00",  # a part of a ping
        b"\x89\x7e\x00\xff",  # a ping that is too long
        long_head(0x81, MAX_SIZE + 1),
        long_head(0x02, 2**63),
    ],
)
def test_a_frame_whose_head_breaks_a_rule_is_not_waited_for(head: bytes) -> None:
    frames = ServerFrames(MAX_SIZE)
    assert list(frames.cut(text(b"good") + head[:1])) == [(True, b"good")]
    assert list(frames.cut(head[1:])) == [(False, head)]
    assert list(frames.cut(text(b"after"))) == [(False, text(b"after"))]


PAYLOADS = st.binary(max_size=300) | st.text(max_size=200).map(str.encode)
SOUND = st.one_of(
    st.builds(text, PAYLOADS),
    st.builds(text, st.text(max_size=200).map(str.encode), fin=st.booleans()),
    st.builds(frame, st.just(Opcode.CONT), st.text(max_size=9).map(str.encode), fin=st.booleans()),
    st.builds(frame, st.just(Opcode.BINARY), PAYLOADS, fin=st.booleans()),
    st.builds(frame, st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125)),
)
ANY = st.one_of(
    SOUND,
    SOUND,
    SOUND,
    st.just(frame(Opcode.CLOSE, b"\x03\xe8bye")),
    st.just(long_head(0x81, MAX_SIZE + 1)),
    st.binary(min_size=1, max_size=20),
)


def by_websockets(protocol: Protocol, sent: bytes) -> list[bytes]:
    """The messages that the protocol alone reads: byte by byte, so that it reads nothing behind a text that is none."""
    messages: list[bytes] = []
    parts: list[bytes] = []
    is_text = True
    refused = False
    for at in range(len(sent)):
        protocol.receive_data(sent[at : at + 1])
        for event in protocol.events_received():
            assert isinstance(event, Frame)
            if refused or event.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                continue
            if event.opcode is not Opcode.CONT:
                is_text = event.opcode is Opcode.TEXT
            parts.append(bytes(event.data))
            if not event.fin:
                continue
            whole = b"".join(parts)
            parts.clear()
            try:
                if is_text:
                    whole.decode()
            except UnicodeDecodeError as error:
                protocol.fail(1007, f"{error.reason} at position {error.start}")
                refused = True
            else:
                messages.append(whole)
    return messages


def by_wire(protocol: Protocol, pieces: list[bytes]) -> list[bytes]:
    """The messages that a wire reads by the same protocol."""
    messages: list[bytes] = []

    async def main() -> None:
        stream, _ = trio.testing.memory_stream_pair()
        async with background_nursery() as nursery:
            wire = ClientWire(stream, protocol, nursery, 1.0)
            for piece in pieces:
                await wire.take(piece)
            messages.extend(wire._messages)
            await stream.aclose()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return messages


@settings(deadline=None, max_examples=80)
@given(st.lists(ANY, max_size=8), st.lists(st.integers(1, 400), max_size=8))
def test_a_wire_reads_what_websockets_reads_and_ends_in_the_same_way(frames: list[bytes], sizes: list[int]) -> None:
    sent = whole = b"".join(frames)
    pieces: list[bytes] = []
    for size in sizes:
        piece, sent = sent[:size], sent[size:]
        pieces += [piece] if piece else []
    pieces += [sent] if sent else []
    theirs, ours = (Protocol(Side.CLIENT, max_size=MAX_SIZE) for _ in range(2))
    assert by_wire(ours, pieces) == by_websockets(theirs, whole)
    assert (ours.state, ours.close_sent, ours.close_rcvd) == (theirs.state, theirs.close_sent, theirs.close_rcvd)
