"""How the examples end when something is in the way: Ctrl-C, a port that is taken, a file that cannot be written."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

ROOT = Path(__file__).resolve().parents[2]
SECRETS = {"OPENAI_API_KEY": "sk-test", "OPENAI_WEBHOOK_SECRET": "whsec_c2VjcmV0", "TWILIO_AUTH_TOKEN": "any"}
REAL_CALLS = {
    "sip_call.py": ["--port"],
    "twilio_call.py": ["--public-url", "https://example.com", "--port"],
}
"""Their options, up to the port."""
SERVERS = {**REAL_CALLS, "browser/server.py": ["--port"]}

needs_web = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("quart_trio", "hypercorn", "httpx")),
    reason="trealtime[web,http] is not installed",
)
needs_telemetry = pytest.mark.skipif(
    importlib.util.find_spec("prometheus_client") is None, reason="the Prometheus exporter is not installed"
)


def command(example: str, *arguments: object) -> list[str]:
    return [sys.executable, "-u", str(ROOT / "examples" / example), *map(str, arguments)]


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **SECRETS, **variables}


def run(*parts: object, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*map(str, parts)),
        env=environment(**variables),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


async def ctrl_c(process: trio.Process) -> str:
    """Press Ctrl-C, wait for the end, and return what was printed as an error."""
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    printed = b"".join([chunk async for chunk in process.stderr])
    await process.wait()
    return printed.decode()


@pytest.mark.parametrize(
    "example", ["quickstart.py", "support_desk.py", pytest.param("observed.py", marks=needs_telemetry)]
)
async def test_ctrl_c_ends_an_example_without_a_traceback(example: str) -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    with trio.fail_after(60):
        async with listener:
            process = await trio.lowlevel.open_process(
                command(example),
                env=environment(OPENAI_BASE_URL=f"ws://127.0.0.1:{port}/v1"),
                stderr=subprocess.PIPE,
            )
            async with await listener.accept() as stream:
                assert await stream.receive_some()  # it has sent its request, and waits for the answer
                assert await ctrl_c(process) == ""
    assert process.returncode == 130


async def read_until(stream: trio.abc.ReceiveStream, words: bytes) -> bytes:
    read = b""
    while words not in read:
        part = await stream.receive_some()
        assert part, read.decode()
        read += part
    return read


@needs_web
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize("example", SERVERS)
async def test_ctrl_c_ends_a_server(example: str, busy: bool) -> None:
    """Also while it handles requests, where Hypercorn would take a KeyboardInterrupt for an error of the app."""
    with trio.fail_after(60):
        process = await trio.lowlevel.open_process(
            command(example, *SERVERS[example], 0),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        async with process.stdout:
            told = await read_until(process.stdout, b"Ctrl-C ends it.")
            if busy:
                # Hypercorn tells the port of this example, on stderr.
                told = await read_until(process.stderr, b"CTRL + C") if example == "twilio_call.py" else told
                port = int(told.partition(b"127.0.0.1:")[2].replace(b"/", b" ").split()[0])
                async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                    for _ in range(20):
                        await stream.send_all(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    assert await stream.receive_some()  # and the next request is being handled
                    assert "Traceback" not in await ctrl_c(process)
            else:
                assert "Traceback" not in await ctrl_c(process)
    assert process.returncode == 0


@needs_web
@pytest.mark.parametrize("example", REAL_CALLS)
def test_a_port_that_is_taken_is_told_in_one_line(example: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        # Hypercorn leaves a socket open here, which is a warning.
        done = run(example, *REAL_CALLS[example], taken.getsockname()[1], PYTHONWARNINGS="")
    assert done.returncode == 2
    assert "Address already in use" in done.stderr
    assert done.stderr.count("\n") == 1


@needs_web
def test_sip_call_refuses_an_address_that_cannot_be_called_before_anybody_calls() -> None:
    done = run("sip_call.py", "--transfer-to", "0123")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "sip_call: --transfer-to: expected tel:+14155550123 or sip:agent@example.com, got '0123'\n"


def test_quickstart_says_in_one_line_that_it_cannot_write_its_sound(tmp_path: Path) -> None:
    (tmp_path / "hello.wav").mkdir()
    done = run("quickstart.py", cwd=tmp_path, OPENAI_API_KEY="")
    assert done.returncode == 1
    assert "hello.wav" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
