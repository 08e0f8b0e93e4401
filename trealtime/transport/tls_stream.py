"""TLS under a client's wire, by `ssl.SSLObject` on a `SocketStream`: sending takes no turn of the scheduler.

`trio.SSLStream` takes a lock for each send, and with it a turn of the scheduler, so a microphone's chunk could not
leave in the step of its caller (benchmark ``duplex-tls``). With one task that sends and one that receives no lock is
needed: nothing awaits between the call of TLS that makes bytes and the socket that takes or keeps them, so they leave
in the order in which TLS made them. Both directions make bytes: reading answers a key update.

The end of the connection counts as the end of the stream also without TLS's goodbye, as HTTPS clients take it: servers
close without it, and a WebSocket has a close frame of its own.
"""

from __future__ import annotations

import ssl
from contextlib import suppress

import trio

from trealtime.transport.socket_stream import READ_BYTES, SocketStream

__all__ = ["TLSStream"]

_RECORD_BYTES = 16384
"""The most that one record of TLS holds (RFC 8446, section 5.1), and so the most that one read gives."""

_PIECE_BYTES = 16 * _RECORD_BYTES
"""How much of a long message is encrypted at once: other tasks run in between where the socket is full."""


class TLSStream(trio.abc.Stream):
    """The client's side of TLS over `stream`, which becomes its own and is closed with it.

    For one task that sends and one that receives. Call `do_handshake` first. What the peer does wrong raises
    `trio.BrokenResourceError`, whose cause is the `ssl.SSLError`.
    """

    def __init__(self, stream: SocketStream, context: ssl.SSLContext, *, server_hostname: str) -> None:
        self._stream = stream
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._ended = False
        """The peer sends no more."""
        self._failure: ssl.SSLError | None = None
        self._unencrypted = b""
        """What cannot be encrypted before the peer has answered, in a renegotiation of TLS 1.2."""
        self._waits_for_answer = trio.lowlevel.ParkingLot()

    @property
    def version(self) -> str | None:
        """The protocol that was agreed upon, such as ``"TLSv1.3"``; None before the handshake."""
        return self._tls.version()

    async def do_handshake(self) -> None:
        """Shake hands and check the peer's certificate. If cancelled, the stream is of no more use."""
        shaken = False
        while not shaken:
            try:
                self._tls.do_handshake()
                shaken = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                raise self._fail(error) from error
            await self._stream.send_all(self._outgoing.read())
            if not shaken and not await self._feed():
                raise trio.BrokenResourceError("the connection ended inside the TLS handshake")

    # ---- sending -------------------------------------------------------------------------------------------------

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it. Everything as in `trio.abc.SendStream.send_all`, but that other tasks run only where the
        socket is full."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if len(data) <= _PIECE_BYTES:
            await self._send(data)
            return
        with memoryview(data) as whole:
            for start in range(0, len(whole), _PIECE_BYTES):
                await self._send(whole[start : start + _PIECE_BYTES])

    async def _send(self, data: bytes | bytearray | memoryview) -> None:
        sent = self.begin_send(data)
        while not sent:
            if self._unencrypted:
                await self._waits_for_answer.park()
            else:
                await self._stream.send_all(b"")
            sent = self.begin_send(b"")

    def begin_send(self, data: bytes | bytearray | memoryview) -> bool:
        """Encrypt `data` and send what the socket takes at once. See `ImmediateStream`."""
        # Hot: one call for each 20 ms of a microphone.
        if self._failure is not None:
            raise self._broken()
        if self._unencrypted:
            data, self._unencrypted = self._unencrypted + data, b""
        if data:
            try:
                self._tls.write(data)
            except ssl.SSLWantReadError as error:
                if self._ended:
                    raise self._fail(error) from error
                self._unencrypted = bytes(data)
                self._push()
                return False
            except ssl.SSLError as error:
                raise self._fail(error) from error
        return self._stream.begin_send(self._outgoing.read())

    def _push(self) -> bool:
        """Give the socket all that TLS has made. True: it has taken all of it."""
        return self._stream.begin_send(self._outgoing.read())

    async def wait_send_all_might_not_block(self) -> None:
        """See `trio.abc.SendStream`."""
        await self._stream.wait_send_all_might_not_block()

    # ---- receiving -----------------------------------------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes; empty at the end of the stream. See `trio.abc.ReceiveStream`."""
        if max_bytes is None:
            max_bytes = READ_BYTES
        if self._incoming.pending or self._tls.pending() or self._ended or self._failure is not None:
            await trio.lowlevel.checkpoint_if_cancelled()
            data = self._decrypt(max_bytes)
            if data or self._ended:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return data
        while True:
            # A cancellation comes out of this line, where nothing has been taken yet.
            if not await self._feed():
                return b""
            data = self._decrypt(max_bytes)
            if data or self._ended:
                return data

    async def _feed(self) -> bool:
        """Wait for bytes of the peer and give them to TLS. False: there are no more."""
        try:
            data = await self._stream.receive_some(READ_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._end()
            raise
        if data:
            self._incoming.write(data)
            if self._unencrypted:
                self._waits_for_answer.unpark_all()
        else:
            self._end()
        return bool(data)

    def _end(self) -> None:
        """Nothing more comes of the peer: a task that waits for its answer fails."""
        self._ended = True
        self._waits_for_answer.unpark_all()

    def _decrypt(self, max_bytes: int) -> bytes:
        """Take what has come, at most `max_bytes`; empty where no record is whole yet, and at the end."""
        if self._failure is not None:
            raise self._broken()
        parts: list[bytes] = []
        room = max_bytes
        try:
            while room and (self._incoming.pending or self._tls.pending()):
                part = self._tls.read(min(room, _RECORD_BYTES))
                if not part:  # the peer has said goodbye
                    self._ended = True
                    break
                parts.append(part)
                room -= len(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._ended = True
        except ssl.SSLError as error:
            broken = self._fail(error)
            if not parts:
                raise broken from error
        if self._outgoing.pending:
            # An answer of TLS itself. What the socket does not take of it leaves before the next message.
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # the next read finds it out
                self._push()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # ---- the end -------------------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Say goodbye, as far as the socket takes it at once, and close it."""
        if self._failure is None:
            with suppress(ssl.SSLError):  # it does not wait for the peer's goodbye, which TLS takes for an error
                self._tls.unwrap()
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            self._push()
        self._waits_for_answer.unpark_all()
        await self._stream.aclose()

    def _fail(self, error: ssl.SSLError) -> trio.BrokenResourceError:
        self._failure = error
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            self._push()  # the alert that tells the peer
        return self._broken()

    def _broken(self) -> trio.BrokenResourceError:
        assert self._failure is not None
        broken = trio.BrokenResourceError(f"TLS failed: {self._failure.reason or self._failure}")
        broken.__cause__ = self._failure
        return broken
