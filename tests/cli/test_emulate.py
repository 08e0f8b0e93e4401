"""``python -m trealtime emulate`` as a process, and what its lines say."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme

from trealtime._version import __version__
from trealtime.cli import main
from trealtime.cli.emulate import _cut
from trealtime.emulator import open_emulator
from trealtime.emulator.local import missing_packages
from trealtime.errors import ConnectFailed
from trealtime.protocol.client_events import CLIENT_EVENT_TYPES
from trealtime.protocol.server_events import SERVER_EVENT_TYPES
from trealtime.transport import TransportConfig, Wire, WireClosed
from trealtime.transport.dial import open_websocket_wire


def test_version_and_help_answer(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, word in ((["--version"], __version__), (["--help"], "emulate"), (["emulate", "--help"], "--port")):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
        assert word in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["emulate", "--port", "70000"],
        ["emulate", "--realtime-factor", "0"],
        ["emulate", "--cut", "now!"],
        ["emulate", "--cut", "any 0"],
    ],
)
def test_wrong_arguments_are_told_and_exit_2(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "place, told",
    [
        ("response.creatd", "the server sends no event of type 'response.creatd'; did you mean 'response.created'"),
        ("server response.audio.dleta", "'response.output_audio.delta'"),
        ("before client input_audio_buffer.appendd 40", "did you mean 'input_audio_buffer.append' or"),
        ("input_audio_buffer.append 40", "the client does: write 'client input_audio_buffer.append'"),
        ("client response.created", "the server does: write 'server response.created'"),
        ("after vendor.thinks", "It sends: any, conversation.created, conversation.item.added, "),
    ],
)
def test_a_cut_at_an_event_that_never_comes_is_refused(
    place: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["emulate", "--cut", place])
    assert caught.value.code == 2
    assert told in " ".join(capsys.readouterr().err.split())


def test_a_cut_takes_every_event_of_the_protocol_and_a_clients_own() -> None:
    assert _cut("any 3").event is None
    for event in ("vendor.thinks", "transcription_session.update", *CLIENT_EVENT_TYPES):
        cut = _cut(f"before client {event} 2")
        assert (cut.event, cut.sender, cut.when, cut.nth) == (event, "client", "before", 2)
    for event in SERVER_EVENT_TYPES:
        assert (_cut(event).event, _cut(event).sender) == (event, "server")


def test_help_loads_nothing_heavy() -> None:
    script = "import sys, trealtime.cli; print(*sorted({'trio', 'numpy', 'msgspec', 'attrs'} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == ""


EMULATE = (sys.executable, "-m", "trealtime", "emulate")


async def test_a_shell_session_from_its_address_to_ctrl_c() -> None:
    command = [*EMULATE, "--port", "0", "--seed", "1", "--realtime-factor", "50", "--speech", "tones"]
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            process = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE))
            output = Lines(process.stdout)
            address = await output.next()
            assert address.startswith("Listening at ws://127.0.0.1:")
            base_url = address.split()[2].removesuffix("/realtime")
            assert await output.next() == f"For clients: OPENAI_BASE_URL={base_url} OPENAI_API_KEY=any"
            assert "not speech" in await output.next()
            assert await output.next() == "What answers: a set of rules."
            async with open_websocket_wire(address.split()[2]) as wire:
                item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello!"}]}
                await wire.send(json.dumps({"type": "conversation.item.create", "item": item}))
                await wire.send(json.dumps({"type": "response.create"}))
                while '"response.done"' not in str(await wire.receive()):
                    pass
                told = [await output.next() for _ in range(4)]
                process.send_signal(signal.SIGINT)
                end = await ending(wire)
            assert end.code == 1001
            assert "opened, gpt-realtime" in told[0]
            assert told[1].endswith("user: Hello!")
            assert "agent (completed): " in told[2]
            assert "turn 1, text, completed; first audio after 0." in told[3]
            assert await output.next() == "1 session(s), 1 response(s)"
    assert process.returncode == 0


@pytest.mark.parametrize("reads", [False, None], ids=["nobody reads", "closed"])
async def test_output_that_is_not_read_holds_up_nobody(reads: bool | None) -> None:
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            command = [*EMULATE, "--port", "0", "--speech", "tones"]
            process = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE))
            url = (await Lines(process.stdout).next()).split()[2]
            if reads is None:
                await process.stdout.aclose()
            async with open_websocket_wire(url) as wire:
                for _ in range(200):
                    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x" * 1_000}]}
                    await wire.send(json.dumps({"type": "conversation.item.create", "item": item}))
                done = 0
                while done < 200:
                    done += '"conversation.item.done"' in str(await wire.receive())
            process.send_signal(signal.SIGINT)
    assert process.returncode == 0


async def test_clients_cannot_command_the_terminal() -> None:
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            command = [*EMULATE, "--port", "0", "--speech", "tones"]
            process = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE))
            output = Lines(process.stdout)
            url = (await output.next()).split()[2]
            async with open_websocket_wire(url) as wire:
                item = {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "\x1b[2J\nsess_1: user"}],
                }
                await wire.send(json.dumps({"type": "conversation.item.create", "item": item}))
                while not (line := await output.next()).endswith("sess_1: user"):
                    pass
            process.send_signal(signal.SIGINT)
    assert r"user: \x1b[2J\nsess_1: user" in line


async def test_faults_of_answers_are_options() -> None:
    command = [*EMULATE, "--port", "0", "--errors-without-ids", "--speech", "tones"]
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            process = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE))
            address = await Lines(process.stdout).next()
            async with open_websocket_wire(address.split()[2]) as wire:
                await wire.send(json.dumps({"type": "response.cancel", "event_id": "mine"}))
                while '"error"' not in (frame := str(await wire.receive())):
                    pass
                assert json.loads(frame)["error"]["event_id"] is None
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0


async def test_cuts_and_refusals_are_options() -> None:
    options = ["--cut", "after client response.create 1 1012", "--refuse-every", "2", "--retry-after", "3"]
    command = [*EMULATE, "--port", "0", "--seed", "1", "--speech", "tones", *options]
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            process = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE))
            url = (await Lines(process.stdout).next()).split()[2]
            async with open_websocket_wire(url) as wire:
                await wire.send(json.dumps({"type": "response.create"}))
                assert (await ending(wire)).code == 1012
            with pytest.raises(ConnectFailed) as refused:
                async with open_websocket_wire(url):
                    pytest.fail("the second connection was accepted")
            assert (refused.value.status, refused.value.headers["retry-after"]) == (503, "3")
            async with open_websocket_wire(url) as wire:
                assert '"session.created"' in str(await wire.receive())
            process.send_signal(signal.SIGINT)


@pytest.mark.parametrize("debug", [False, True])
async def test_an_error_of_the_brain_is_a_line_unless_asked_for_more(debug: bool) -> None:
    nobody = ["--brain", "http://127.0.0.1:9/v1", *(["--debug"] if debug else [])]
    command = [*EMULATE, "--port", "0", "--seed", "1", "--speech", "tones", *nobody]
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            process = await nursery.start(
                partial(trio.run_process, command, stdout=subprocess.PIPE, capture_stderr=True)
            )
            output = Lines(process.stdout)
            url = (await output.next()).split()[2]
            async with open_websocket_wire(url) as wire:
                await wire.send(json.dumps({"type": "response.create"}))
                while '"response.done"' not in str(await wire.receive()):
                    pass
                told: list[str] = []
                while not told or "turn 1, request, failed" not in told[-1]:
                    told.append(await output.next())
            process.send_signal(signal.SIGINT)
    (failed,) = [line for line in told if "making response" in line]
    assert failed.startswith("error: making response resp_")
    assert any("Traceback" in line for line in told) == debug


async def test_a_port_in_use_is_told_and_exits_1() -> None:
    async with open_emulator() as emulator:
        port = emulator.url.split(":")[2].split("/")[0]
        command = [sys.executable, "-m", "trealtime", "emulate", "--port", port]
        with trio.fail_after(60):
            done = await trio.run_process(command, capture_stderr=True, check=False)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr.decode()


async def test_with_a_certificate_it_listens_with_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    certificate.private_key_pem.write_to_path(key)
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(chain, append=True)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    command = [*EMULATE, "--port", "0", "--speech", "tones", "--tls", str(chain), str(key)]
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            process = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE))
            url = (await Lines(process.stdout).next()).split()[2]
            assert url.startswith("wss://127.0.0.1:")
            async with open_websocket_wire(url, config=TransportConfig(ssl_context=trusting)) as wire:
                assert '"session.created"' in str(await wire.receive())
            process.send_signal(signal.SIGINT)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--tls", "no-such.pem", "no-such.key"], "--tls no-such.pem no-such.key"),
        (["--brain", "localhost:11434"], "--brain localhost:11434: "),
        (["--brain", "ftp://me:secret@host"], "--brain ftp://host: "),
        (["--record", __file__], f"--record {__file__}: "),
        (["--record", f"{__file__}/below"], f"--record {__file__}/below: "),
        pytest.param(
            ["--speech", "local"],
            'pip install "trealtime[local]"',
            marks=pytest.mark.skipif(not missing_packages(), reason="trealtime[local] is installed"),
        ),
    ],
)
def test_what_is_not_to_be_had_is_told_and_exits_1(arguments: Sequence[str], said: str) -> None:
    done = subprocess.run([*EMULATE, "--port", "0", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


async def ending(wire: Wire) -> WireClosed:
    while True:
        try:
            await wire.receive()
        except WireClosed as end:
            return end


class Lines:
    """The lines of a stream."""

    def __init__(self, stream: trio.abc.ReceiveStream | None) -> None:
        assert stream is not None
        self._stream = stream
        self._buffer = b""

    async def next(self) -> str:
        while b"\n" not in self._buffer:
            data = await self._stream.receive_some()
            assert data, "the output ended"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode().strip()
