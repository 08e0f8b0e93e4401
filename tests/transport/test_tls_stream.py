"""The TLS stream under a client's wire, against Trio's and OpenSSL's: whole transfers, ends, failures, and how often
it lets others run. Every test is bounded."""

from __future__ import annotations

import math
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing
import trustme

from trealtime.testing.schedules import CancelHere, cancel_at_each_checkpoint
from trealtime.transport.background import background_nursery
from trealtime.transport.background import drop as drop_stream
from trealtime.transport.socket_stream import SocketStream
from trealtime.transport.tls_stream import TLSStream

PATIENCE_S = 30
MUCH = bytes(range(256)) * 16 * 1024
AUTHORITY = trustme.CA()
CERTIFICATE = AUTHORITY.issue_cert("localhost")
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def server_context(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CERTIFICATE.configure_cert(context)
    context.minimum_version = context.maximum_version = version
    return context


def client_context(authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def sockets() -> tuple[SocketStream, trio.SocketStream]:
    ours, theirs = socket.socketpair()
    return SocketStream(ours), trio.SocketStream(trio.socket.from_stdlib_socket(theirs))


@attrs.frozen
class Pair:
    """A secure connection: the stream under test, Trio's at the far end, and the socket under that."""

    ours: TLSStream
    theirs: trio.SSLStream[trio.SocketStream]

    @property
    def socket(self) -> trio.SocketStream:
        return self.theirs.transport_stream


@asynccontextmanager
async def secure_pair(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, *, https: bool = True) -> AsyncIterator[Pair]:
    near, far = sockets()
    with trio.fail_after(PATIENCE_S):
        ours = TLSStream(near, client_context(), server_hostname="localhost")
        theirs = trio.SSLStream(far, server_context(version), server_side=True, https_compatible=https)
        async with ours, theirs:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ours.do_handshake)
                nursery.start_soon(theirs.do_handshake)
            # What the server adds to its handshake in TLS 1.3 leaves with the first that it sends.
            await theirs.send_all(b"welcome")
            assert await ours.receive_some() == b"welcome"
            yield Pair(ours, theirs)


async def receive(stream: trio.abc.ReceiveStream, size: float) -> bytes:
    got = bytearray()
    while len(got) < size:
        part = await stream.receive_some(65536)
        assert part, f"the stream ended after {len(got)} of {size} bytes"
        got += part
    return bytes(got)


# ---- what goes through ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
async def test_much_more_than_the_socket_holds_goes_both_ways_at_once(version: ssl.TLSVersion) -> None:
    async with secure_pair(version) as pair:
        assert pair.ours.version == version.name.replace("_", ".")
        got: dict[str, bytes] = {}

        async def take(name: str, stream: trio.abc.ReceiveStream) -> None:
            got[name] = await receive(stream, len(MUCH))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.ours.send_all, MUCH)
            nursery.start_soon(pair.theirs.send_all, MUCH)
            nursery.start_soon(take, "there", pair.theirs)
            nursery.start_soon(take, "back", pair.ours)
        assert got == {"there": MUCH, "back": MUCH}


async def test_anything_bytes_like_can_be_sent() -> None:
    async with secure_pair() as pair:
        for data in (b"bytes", bytearray(b"bytearray"), memoryview(b"memoryview"), b""):
            await pair.ours.send_all(data)
        assert await receive(pair.theirs, 24) == b"bytesbytearraymemoryview"


async def test_a_send_that_finds_room_takes_no_turn_and_a_receive_takes_one() -> None:
    async with secure_pair() as pair:
        others: list[None] = []
        trio.lowlevel.spawn_system_task(note, others)
        await pair.ours.send_all(b"x")
        assert pair.ours.begin_send(b"y")
        assert not others
        assert await receive(pair.theirs, 2) == b"xy"
        await pair.theirs.send_all(b"z" * 100)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(2):  # from the socket, and from what is decrypted already
            with trio.testing.assert_checkpoints():
                assert await pair.ours.receive_some(50) == b"z" * 50


async def note(runs: list[None]) -> None:
    runs.append(None)


async def test_what_the_socket_does_not_take_at_once_is_kept_and_leaves_before_all_that_follows() -> None:
    async with secure_pair() as pair:
        assert pair.ours.begin_send(b"small")
        assert not pair.ours.begin_send(MUCH)
        assert not pair.ours.begin_send(b"more")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.ours.send_all, b"last")
            got = await receive(pair.theirs, 5 + len(MUCH) + 4 + 4)
        assert got == b"small" + MUCH + b"morelast"
        assert pair.ours.begin_send(b"next")


async def test_records_that_came_with_one_read_of_the_socket_are_received_together() -> None:
    async with secure_pair() as pair:
        for number in range(20):
            await pair.theirs.send_all(b"%02d" % number)
        await trio.testing.wait_all_tasks_blocked()
        assert await pair.ours.receive_some() == b"".join(b"%02d" % number for number in range(20))


@pytest.mark.parametrize("max_bytes", [1, 7, 16384, 16385, 65536])
async def test_a_read_gives_at_most_what_was_asked_for_and_nothing_is_lost(max_bytes: int) -> None:
    async with secure_pair() as pair, trio.open_nursery() as nursery:
        data = MUCH[:1000] if max_bytes < 10 else MUCH[:200_000]
        nursery.start_soon(pair.theirs.send_all, data)
        got = bytearray()
        while len(got) < len(data):
            part = await pair.ours.receive_some(max_bytes)
            assert 1 <= len(part) <= max_bytes
            got += part
        assert got == data


@pytest.mark.parametrize("step", [1, 5, 21, 1000])
async def test_records_may_come_in_pieces(step: int) -> None:
    near, far = sockets()
    with trio.fail_after(PATIENCE_S):
        async with near, far:
            ours = TLSStream(near, client_context(), server_hostname="localhost")
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            server = server_context().wrap_bio(incoming, outgoing, server_side=True)

            async def dribble() -> None:
                data = outgoing.read()
                for start in range(0, len(data), step):
                    await far.send_all(data[start : start + step])

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ours.do_handshake)
                while True:
                    incoming.write(await far.receive_some())
                    try:
                        server.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        await dribble()
            for text in (b"first", b"second" * 200):
                server.write(text)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(dribble)
                    assert await receive(ours, len(text)) == text


@pytest.mark.parametrize("work", ["receive", "send"])
async def test_a_task_that_is_cancelled_loses_nothing_that_came(work: str) -> None:
    async def scenario(cancel_here: CancelHere) -> None:
        async with secure_pair() as pair:
            got = bytearray()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pair.theirs.send_all, MUCH[:100_000])
                with cancel_here():
                    if work == "send":
                        await pair.ours.send_all(b"x")
                        await pair.ours.send_all(b"y")
                    while len(got) < 100_000:
                        got += await pair.ours.receive_some(10_000)
                got += await receive(pair.ours, 100_000 - len(got)) if len(got) < 100_000 else b""
            assert got == MUCH[:100_000]

    assert await cancel_at_each_checkpoint(scenario) > 5


# ---- the end --------------------------------------------------------------------------------------------------------


async def say_goodbye(pair: Pair) -> None:
    with suppress(ssl.SSLWantReadError):
        pair.theirs._ssl_object.unwrap()
    await pair.socket.send_all(pair.theirs._outgoing.read())


async def drop(pair: Pair) -> None:
    await pair.socket.aclose()


async def stop_in_a_record(pair: Pair) -> None:
    pair.theirs._ssl_object.write(b"never whole")
    await pair.socket.send_all(pair.theirs._outgoing.read()[:-1])
    await pair.socket.send_eof()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("end", [say_goodbye, drop, stop_in_a_record])
async def test_data_before_the_end_comes_first_and_then_the_end_for_good(
    end: Callable[[Pair], Awaitable[None]], version: ssl.TLSVersion
) -> None:
    async with secure_pair(version) as pair:
        await pair.theirs.send_all(b"last words")
        await end(pair)
        assert await pair.ours.receive_some() == b"last words"
        for _ in range(2):
            with trio.testing.assert_checkpoints():
                assert await pair.ours.receive_some() == b""


async def test_after_the_peers_goodbye_one_may_still_send() -> None:
    async with secure_pair() as pair:
        await say_goodbye(pair)
        assert await pair.ours.receive_some() == b""
        await pair.ours.send_all(b"one more thing")
        assert await receive(pair.socket, 14)  # a record: the far side reads no more after its goodbye


async def test_a_reset_breaks_the_stream() -> None:
    near, far = await tcp_pair()
    async with near:
        ours = TLSStream(near, client_context(), server_hostname="localhost")
        theirs = trio.SSLStream(far, server_context(), server_side=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.do_handshake)
            nursery.start_soon(theirs.do_handshake)
        far.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await far.aclose()
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(PATIENCE_S):
            await ours.receive_some()
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(PATIENCE_S):
            await send_for_ever(ours)


async def send_for_ever(stream: trio.abc.SendStream) -> None:
    while True:
        await stream.send_all(bytes(65536))


async def tcp_pair() -> tuple[SocketStream, trio.SocketStream]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    return SocketStream(near), trio.SocketStream(trio.socket.from_stdlib_socket(far))


async def test_a_record_that_was_tampered_with_breaks_the_stream_after_the_good_ones() -> None:
    async with secure_pair() as pair:
        records = []
        for text in (b"good", b"bad", b"never"):
            pair.theirs._ssl_object.write(text)
            records.append(bytearray(pair.theirs._outgoing.read()))
        records[1][-1] ^= 1
        await pair.socket.send_all(b"".join(records))
        assert await pair.ours.receive_some() == b"good"
        for _ in range(2):
            with pytest.raises(trio.BrokenResourceError, match="BAD_RECORD_MAC") as caught:
                await pair.ours.receive_some()
            assert isinstance(caught.value.__cause__, ssl.SSLError)
        with pytest.raises(trio.BrokenResourceError, match="BAD_RECORD_MAC"):
            await pair.ours.send_all(b"never")
        with pytest.raises(trio.BrokenResourceError, match="BAD_RECORD_MAC"):
            pair.ours.begin_send(b"never")
        with pytest.raises(trio.BrokenResourceError) as told:  # the alert has reached the peer
            await pair.theirs.receive_some()
        assert "BAD_RECORD_MAC" in str(told.value.__cause__)


async def test_closing_says_goodbye_and_closes_the_socket() -> None:
    async with secure_pair(https=False) as pair:
        await pair.ours.send_all(b"last words")
        await pair.ours.aclose()
        assert await pair.theirs.receive_some() == b"last words"
        assert await pair.theirs.receive_some() == b""  # without a goodbye this end would be an error
        await pair.ours.aclose()
        for call in (pair.ours.receive_some, pair.ours.wait_send_all_might_not_block, lambda: pair.ours.send_all(b"x")):
            with pytest.raises((trio.ClosedResourceError, trio.BrokenResourceError)):
                await call()


async def test_closing_waits_for_no_peer() -> None:
    async with secure_pair() as pair:
        assert not pair.ours.begin_send(MUCH)
        await pair.ours.aclose()
    near, far = sockets()
    async with far:
        with trio.fail_after(PATIENCE_S):
            await TLSStream(near, client_context(), server_hostname="localhost").aclose()  # before any handshake
            assert await far.receive_some() == b""


async def test_closing_wakes_those_who_wait() -> None:
    async with secure_pair() as pair:
        woken = []

        async def waits(call: Callable[..., Awaitable[object]], *args: object) -> None:
            with pytest.raises(trio.ClosedResourceError):
                await call(*args)
            woken.append(call)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(waits, pair.ours.receive_some)
            nursery.start_soon(waits, pair.ours.send_all, MUCH)
            await trio.testing.wait_all_tasks_blocked()
            await pair.ours.aclose()
        assert len(woken) == 2


# ---- handshakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "context, name", [(client_context(trustme.CA()), "localhost"), (client_context(), "elsewhere.example")]
)
async def test_a_certificate_that_is_not_accepted_fails_the_handshake_and_the_peer_is_told(
    context: ssl.SSLContext, name: str
) -> None:
    near, far = sockets()
    with trio.fail_after(PATIENCE_S):
        async with near, far, trio.open_nursery() as nursery:
            theirs = trio.SSLStream(far, server_context(), server_side=True)
            told: list[str] = []

            async def serve() -> None:
                with pytest.raises(trio.BrokenResourceError) as caught:
                    await theirs.receive_some()  # with the handshake before it
                told.append(str(caught.value.__cause__))

            nursery.start_soon(serve)
            ours = TLSStream(near, context, server_hostname=name)
            with pytest.raises(trio.BrokenResourceError, match="CERTIFICATE_VERIFY_FAILED") as caught:
                await ours.do_handshake()
            assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        assert "ALERT" in told[0]


@pytest.mark.parametrize(
    "answer, expected",
    [
        (b"", "ended inside the TLS handshake"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "WRONG_VERSION_NUMBER"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "HANDSHAKE_FAILURE"),
        (b"\x16\x03\x03", "ended inside the TLS handshake"),
    ],
)
async def test_a_peer_that_speaks_no_tls_or_leaves_fails_the_handshake(answer: bytes, expected: str) -> None:
    near, far = sockets()
    with trio.fail_after(PATIENCE_S):
        async with near, far:
            await far.send_all(answer)
            await far.send_eof()
            with pytest.raises(trio.BrokenResourceError, match=expected):
                await TLSStream(near, client_context(), server_hostname="localhost").do_handshake()


# ---- what the peer may ask for later --------------------------------------------------------------------------------

OPENSSL = shutil.which("openssl")
CUT = -1


class Gate:
    """A way between a client and a server. Once it is closed, what the server sends passes a piece at a time."""

    def __init__(self) -> None:
        self.let_through: float = math.inf
        """How many more pieces pass; `CUT`: the client sees the end in place of the next one."""
        self.client_said, self.server_said = trio.Event(), trio.Event()
        self._moved = trio.lowlevel.ParkingLot()

    async def there(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await client.receive_some():
                self.client_said.set()
                await server.send_all(data)

    async def back(self, server: trio.SocketStream, client: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await server.receive_some():
                while self.let_through == 0:
                    await self._moved.park()
                if self.let_through == CUT:
                    break
                self.let_through -= 1
                self.server_said.set()
                await client.send_all(data)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await client.send_eof()

    def set(self, pieces: float) -> None:
        self.let_through = pieces
        self.client_said, self.server_said = trio.Event(), trio.Event()
        self._moved.unpark_all()


@asynccontextmanager
async def openssl_server(folder: Path, version: str) -> AsyncIterator[tuple[TLSStream, trio.Process, Gate]]:
    """A connection to the server of OpenSSL's command, which takes single letters as orders, and a gate in between."""
    pem = folder / "server.pem"
    CERTIFICATE.private_key_and_cert_chain_pem.write_to_path(str(pem))
    command = ["openssl", "s_server", "-accept", "0", "-4", "-cert", str(pem), "-key", str(pem), f"-{version}"]
    with trio.fail_after(PATIENCE_S):
        async with background_nursery() as nursery:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            process = await trio.lowlevel.open_process(command, **pipes)
            assert process.stdin is not None
            assert process.stdout is not None
            near, far = sockets()
            try:
                said = b""
                while b"ACCEPT" not in said or not said.endswith(b"\n"):
                    said += await process.stdout.receive_some()
                port = int(said.split(b"ACCEPT")[1].split(b":")[1].split()[0])
                gate = Gate()
                async with near, far, await trio.open_tcp_stream("127.0.0.1", port) as server:
                    nursery.start_soon(gate.there, far, server)
                    nursery.start_soon(gate.back, server, far)
                    ours = TLSStream(near, client_context(), server_hostname="localhost")
                    await ours.do_handshake()
                    await process.stdin.send_all(b"welcome\n")  # comes after what TLS 1.3 sends of its own
                    assert await receive(ours, 8) == b"welcome\n"
                    yield ours, process, gate
            finally:
                process.kill()
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
                    await process.wait()
                for stream in (near, far, process.stdin, process.stdout):
                    await drop_stream(stream)


async def said_by(process: trio.Process, *texts: bytes) -> bytes:
    """Wait until the server has shown these texts of its client, each in its turn."""
    assert process.stdout is not None
    said = b""
    for text in texts:
        while text not in said:
            said += await process.stdout.receive_some()
        said = said.partition(text)[2]
    return said


@pytest.mark.skipif(OPENSSL is None, reason="needs the command openssl")
@pytest.mark.parametrize("order", [b"K\n", b"k\n"], ids=["and asks for ours", "of its own"])
async def test_a_key_update_of_the_peer_is_answered(order: bytes, tmp_path: Path) -> None:
    async with openssl_server(tmp_path, "tls1_3") as (ours, process, gate):
        assert process.stdin is not None
        for number in range(3):
            gate.set(math.inf)
            await process.stdin.send_all(order)
            await gate.server_said.wait()  # the server takes one order of what it reads at once
            await process.stdin.send_all(b"words %d\n" % number)
            got = b""
            while b"words %d\n" % number not in got:
                got += await ours.receive_some()
            await ours.send_all(b"answer %d\n" % number)
            await said_by(process, b"answer %d\n" % number)


@pytest.mark.skipif(OPENSSL is None, reason="needs the command openssl")
async def test_what_is_sent_during_a_renegotiation_leaves_after_it(tmp_path: Path) -> None:
    async with openssl_server(tmp_path, "tls1_2") as (ours, process, gate):
        assert process.stdin is not None
        got = bytearray()

        async def read() -> None:
            while True:
                got.extend(await ours.receive_some())

        async with background_nursery() as nursery:
            nursery.start_soon(read)
            await ours.send_all(b"before\n")
            await said_by(process, b"before\n")
            gate.set(1)
            await process.stdin.send_all(b"R\n")  # the peer asks
            await gate.client_said.wait()  # ours has begun to answer
            assert not ours.begin_send(b"first\n")
            assert not ours.begin_send(b"second\n")
            nursery.start_soon(ours.send_all, b"third\n")
            await trio.testing.wait_all_tasks_blocked(0.01)
            gate.set(math.inf)
            await said_by(process, b"first\nsecond\nthird\n")
            assert ours.begin_send(b"after\n")
            await said_by(process, b"after\n")
            await process.stdin.send_all(b"words\n")
            while b"words\n" not in got:
                await trio.testing.wait_all_tasks_blocked(0.01)


@pytest.mark.skipif(OPENSSL is None, reason="needs the command openssl")
async def test_a_peer_that_leaves_during_a_renegotiation_breaks_the_stream_for_those_who_send(tmp_path: Path) -> None:
    async with openssl_server(tmp_path, "tls1_2") as (ours, process, gate):
        assert process.stdin is not None
        ended = trio.Event()

        async def read() -> None:
            while await ours.receive_some():
                pass
            ended.set()

        async with background_nursery() as nursery, trio.open_nursery() as senders:
            nursery.start_soon(read)
            await ours.send_all(b"before\n")
            await said_by(process, b"before\n")
            gate.set(1)
            await process.stdin.send_all(b"R\n")
            await gate.client_said.wait()
            senders.start_soon(fails, ours.send_all, b"never\n")
            await trio.testing.wait_all_tasks_blocked(0.01)
            gate.set(CUT)
            await ended.wait()


@pytest.mark.skipif(OPENSSL is None, reason="needs the command openssl")
@pytest.mark.parametrize("work", ["close", "break"])
async def test_a_send_that_waits_for_a_renegotiation_ends_with_the_stream(work: str, tmp_path: Path) -> None:
    async with openssl_server(tmp_path, "tls1_2") as (ours, process, gate):
        assert process.stdin is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, receive, ours, math.inf)
            gate.set(1)
            await process.stdin.send_all(b"R\n")
            await gate.client_said.wait()
            nursery.start_soon(fails, ours.send_all, b"never\n")
            await trio.testing.wait_all_tasks_blocked(0.01)
            if work == "close":
                await ours.aclose()
            else:
                await ours._stream.aclose()


async def fails(call: Callable[..., Awaitable[object]], *args: object) -> None:
    with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
        await call(*args)
