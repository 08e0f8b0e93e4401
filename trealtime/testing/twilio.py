"""A Twilio without telephones: it calls a Media Streams server and behaves as Twilio's documentation says.

Theory of operation
1. The caller's side: a frame of 20 ms goes out every 20 ms from ``start`` on, silence while the caller is quiet.
2. The agent's side: audio is queued and played in real time, in packets of 20 ms. A mark comes back when all audio
   before it has been played, at once if none is left. A clear throws away all but the packet that is on its way to the
   caller, and sends back the marks of the audio thrown away.
3. A message that Twilio would refuse (another stream's id, a payload that is not base64, an unknown event) ends the
   call, and leaving the context raises it.

Time is Trio's: under the mock clock a call of an hour takes as long as its messages.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import attrs
import msgspec
import pybase64
import trio

from trealtime.audio.formats import G711_ULAW
from trealtime.endpoints.endpoint import DTMF_KEYS
from trealtime.endpoints.twilio.signature import sign_twilio_request
from trealtime.transport.background import background_nursery
from trealtime.transport.dial import open_websocket_wire
from trealtime.transport.wire import Wire, WireClosed

__all__ = ["ClearedBuffer", "FakeTwilio", "HeardFrame", "open_fake_twilio"]

_FRAME_S: Final = 0.02
_FRAME_BYTES: Final = G711_ULAW.bytes_for_ms(20)
_SILENCE: Final = b"\xff"

_MAX_UNSENT: Final = 3_000
"""Messages: a minute of a server that does not read."""


@attrs.frozen
class HeardFrame:
    """A packet that the caller has heard: mu-law, from `at_s` on Trio's clock on."""

    at_s: float
    audio: bytes = attrs.field(repr=False)


@attrs.frozen
class ClearedBuffer:
    """A ``clear`` that came at `at_s` on Trio's clock, and the amount that it threw away."""

    at_s: float
    cleared_ms: float


@attrs.define(eq=False)
class FakeTwilio:
    """One call; get it from `open_fake_twilio`."""

    _wire: Wire = attrs.field(repr=False)
    call_sid: str
    stream_sid: str
    account_sid: str
    custom_parameters: Mapping[str, str]

    heard: list[HeardFrame] = attrs.field(factory=list, init=False, repr=False)
    """Every packet that the caller has heard, in order."""

    clears: list[ClearedBuffer] = attrs.field(factory=list, init=False)
    refused: str | None = attrs.field(default=None, init=False)
    """The reason why Twilio would have ended the call, if any."""

    _to_say: bytearray = attrs.field(factory=bytearray, init=False, repr=False)
    _buffer: bytearray = attrs.field(factory=bytearray, init=False, repr=False)
    _heard_bytes: int = attrs.field(default=0, init=False)
    _received_bytes: int = attrs.field(default=0, init=False)
    _played_bytes: int = attrs.field(default=0, init=False)
    _marks: deque[tuple[int, str]] = attrs.field(factory=deque, init=False)
    """Each with the number of bytes that must have been played before it comes back."""

    _unsent: deque[str] = attrs.field(factory=deque, init=False, repr=False)
    _sequence: int = attrs.field(default=0, init=False)
    _changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False, repr=False)
    _hung_up: bool = attrs.field(default=False, init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)

    # ---- the caller speaks -----------------------------------------------------------------------------------------

    def say(self, audio: bytes) -> None:
        """Say mu-law `audio`, after all earlier audio."""
        self._to_say += audio

    async def said(self) -> None:
        """Wait until everything has been said."""
        while self._to_say and not self._ended.is_set():
            await self._changed.park()

    def press(self, digit: str) -> None:
        """Press a key: one of ``0123456789*#ABCD``. Raises `ValueError` for another."""
        if digit not in DTMF_KEYS:
            raise ValueError(f"digit: expected one of 0123456789*#ABCD, got {digit!r}")
        self._post("dtmf", {"track": "inbound_track", "digit": digit})

    async def hang_up(self) -> None:
        """End the call: ``stop`` goes out, then the socket is closed."""
        if not self._hung_up:
            self._hung_up = True
            self._buffer.clear()
            self._post("stop", {"accountSid": self.account_sid, "callSid": self.call_sid})
        await self._ended.wait()

    # ---- the caller listens ----------------------------------------------------------------------------------------

    @property
    def heard_audio(self) -> bytes:
        """All audio that the caller has heard, without the pauses."""
        return b"".join(frame.audio for frame in self.heard)

    @property
    def heard_ms(self) -> float:
        """The length of the audio that the caller has heard, without the pauses."""
        return G711_ULAW.duration_ms(self._heard_bytes)

    @property
    def buffered_ms(self) -> float:
        """The length of the audio that has come and is still to be played."""
        return G711_ULAW.duration_ms(len(self._buffer))

    async def wait_heard(self, ms: float) -> None:
        """Wait until the caller has begun to hear `ms` in all, or the call has ended."""
        while self.heard_ms < ms and not self._ended.is_set():
            await self._changed.park()

    async def wait_ended(self) -> None:
        """Wait until either side has ended the call."""
        await self._ended.wait()

    # ---- tasks -----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._unsent.append(_encode({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
        self._post(
            "start",
            {
                "accountSid": self.account_sid,
                "streamSid": self.stream_sid,
                "callSid": self.call_sid,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": dict(self.custom_parameters),
            },
        )

    async def _speak(self) -> None:
        started_at = trio.current_time()
        chunk = 0
        while not self._hung_up:
            await trio.sleep_until(started_at + (chunk + 1) * _FRAME_S)
            chunk += 1
            frame = bytes(self._to_say[:_FRAME_BYTES]).ljust(_FRAME_BYTES, _SILENCE)
            del self._to_say[:_FRAME_BYTES]
            self._post(
                "media",
                {
                    "track": "inbound",
                    "chunk": str(chunk),
                    "timestamp": str(chunk * 20),
                    "payload": pybase64.b64encode(frame).decode("ascii"),
                },
            )

    async def _play(self) -> None:
        free_at = -math.inf
        while True:
            while not self._buffer:
                await self._changed.park()
            at = max(free_at, trio.current_time())
            packet = bytes(self._buffer[:_FRAME_BYTES])
            del self._buffer[:_FRAME_BYTES]
            self.heard.append(HeardFrame(at, packet))
            self._heard_bytes += len(packet)
            self._changed.unpark_all()
            free_at = at + len(packet) / G711_ULAW.rate
            await trio.sleep_until(free_at)
            self._played_bytes += len(packet)
            self._return_marks(self._played_bytes)

    async def _read(self) -> None:
        try:
            while True:
                message = await self._wire.receive()
                self.refused = self._take(message)
                if self.refused is not None:
                    await self._wire.aclose(1002, self.refused[:100])
        except WireClosed:
            self._end()

    def _take(self, message: str | bytes) -> str | None:
        """Act on a message of the server; return Twilio's objection to it, if any."""
        try:
            data: Any = msgspec.json.decode(message)
            event, stream_sid = data["event"], data["streamSid"]
            if stream_sid != self.stream_sid:
                return f"{event}: streamSid is {stream_sid!r}, this stream is {self.stream_sid!r}"
            if event == "media":
                audio = pybase64.b64decode(data["media"]["payload"], validate=True)
                self._buffer += audio
                self._received_bytes += len(audio)
                self._changed.unpark_all()
            elif event == "mark":
                self._marks.append((self._received_bytes, str(data["mark"]["name"])))
                self._return_marks(self._played_bytes)
            elif event == "clear":
                self._clear()
            else:
                return f"{event!r} is nothing that Twilio takes"
        except (ValueError, KeyError, TypeError) as exc:
            return f"invalid message {str(message)[:80]!r}: {exc!r}"
        return None

    def _clear(self) -> None:
        self.clears.append(ClearedBuffer(trio.current_time(), self.buffered_ms))
        # Packets on their way will still be heard; for the marks' counting, the rest never came.
        self._received_bytes -= len(self._buffer)
        self._buffer.clear()
        self._return_marks(math.inf)

    def _return_marks(self, played_bytes: float) -> None:
        while self._marks and self._marks[0][0] <= played_bytes:
            self._post("mark", {"name": self._marks.popleft()[1]})

    def _post(self, event: str, body: Mapping[str, object]) -> None:
        self._sequence += 1
        if len(self._unsent) >= _MAX_UNSENT:
            self.refused = "the server does not read what Twilio sends"
            self._end()
        if not self._ended.is_set():
            message = {"event": event, "sequenceNumber": str(self._sequence), "streamSid": self.stream_sid, event: body}
            self._unsent.append(_encode(message))
            self._changed.unpark_all()

    async def _write(self) -> None:
        try:
            while True:
                while self._unsent:
                    await self._wire.send(self._unsent.popleft())
                if self._hung_up:
                    await self._wire.aclose()
                    break
                await self._changed.park()
        except WireClosed:
            pass
        self._end()

    def _end(self) -> None:
        self._ended.set()
        self._buffer.clear()
        self._unsent.clear()
        self._changed.unpark_all()


@asynccontextmanager
async def open_fake_twilio(
    server: Wire | str,
    *,
    custom_parameters: Mapping[str, str] | None = None,
    call_sid: str = "CA00000000000000000000000000000001",
    stream_sid: str = "MZ00000000000000000000000000000001",
    account_sid: str = "AC00000000000000000000000000000001",
    auth_token: str | None = None,
    public_url: str | None = None,
) -> AsyncIterator[FakeTwilio]:
    """Call a Media Streams server, as Twilio does for a ``<Connect><Stream>``; leaving hangs up.

    `server` is the client's end of a wire, such as the first of `memory_wire_pair`; or a ``ws://`` URL, which is
    connected to, and signed for if `auth_token` is given. The signature is for `public_url` where the server knows
    itself by another name than the one that is dialled.

    Raises `ConnectFailed` when the server refuses the handshake, and AssertionError on leaving when the server sent a
    message that Twilio does not take.
    """
    async with AsyncExitStack() as stack:
        if isinstance(server, str):
            headers = {}
            if auth_token is not None:
                headers["X-Twilio-Signature"] = sign_twilio_request(public_url or server, auth_token=auth_token)
            server = await stack.enter_async_context(open_websocket_wire(server, headers=headers))
        twilio = FakeTwilio(server, call_sid, stream_sid, account_sid, dict(custom_parameters or {}))
        async with background_nursery() as nursery:
            twilio._start()
            for task in (twilio._read, twilio._write, twilio._speak, twilio._play):
                nursery.start_soon(task)
            yield twilio
            with trio.move_on_after(5):
                await twilio.hang_up()
    assert twilio.refused is None, twilio.refused


def _encode(message: Mapping[str, object]) -> str:
    return msgspec.json.encode(message).decode()
