"""``trealtime demo`` without a browser: its server, who may talk to it, and what is left of a call."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import trio

from trealtime import RealtimeRunner, open_emulator
from trealtime.cli import main
from trealtime.cli.demo_agents import GREETING, demo_agent
from trealtime.cli.page_server import Calls, PageServer
from trealtime.cli.page_session import converse
from trealtime.testing import open_fake_page
from trealtime.transport.dial import open_websocket_wire
from trealtime.transport.wire import WireClosed


class Demo:
    """The server of the demo, on an emulator in this process."""

    def __init__(self, server: PageServer, port: int) -> None:
        self.server = server
        self.port = port
        self.address = f"http://127.0.0.1:{port}"
        self.socket = f"ws://127.0.0.1:{port}/talk"

    async def get(self, path: str, **headers: str) -> tuple[int, bytes, Any]:
        def fetch() -> tuple[int, bytes, Any]:
            try:
                with urlopen(Request(self.address + path, headers=headers), timeout=10) as answer:
                    return answer.status, answer.read(), answer.headers
            except HTTPError as error:
                with error:
                    return error.code, error.read(), error.headers

        return await trio.to_thread.run_sync(fetch)


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[Demo]:
    record = str(tmp_path / "{session_id}.jsonl.gz")
    async with open_emulator(realtime_factor=50) as emulator, trio.open_nursery() as nursery:
        runner: RealtimeRunner[Any] = RealtimeRunner(demo_agent(), config={"record": record})
        connection: Any = {"url": emulator.url, "headers": {}}
        server = PageServer(
            lambda page: converse(page, runner, connection, GREETING), Calls(tmp_path), {"Talk to Otto": "Talk to me"}
        )
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, server.serve, [listener])
        yield Demo(server, listener.socket.getsockname()[1])
        nursery.cancel_scope.cancel()


async def test_the_page_is_served_with_its_words_and_loads_nothing_from_elsewhere(demo: Demo) -> None:
    with trio.fail_after(30):
        status, page, headers = await demo.get("/")
        assert status == 200
        assert b"<h1>Talk to me</h1>" in page
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        for name in ("app.js", "audio.js", "worklet.js", "style.css", "icon.svg"):
            status, data, _ = await demo.get(f"/{name}")
            assert status == 200, name
            assert data


@pytest.mark.parametrize("path", ["/../demo.py", "/demo.py", "/page/app.js", "/%2e%2e/demo.py", "/app.js/x"])
async def test_nothing_but_the_page_is_served(demo: Demo, path: str) -> None:
    with trio.fail_after(30):
        status, _, _ = await demo.get(path)
    assert status == 404


async def test_a_name_that_could_point_here_from_elsewhere_is_refused(demo: Demo) -> None:
    with trio.fail_after(30):
        status, said, _ = await demo.get("/", Host="evil.example")
    assert status == 403
    assert b"--allow-host" in said


@pytest.mark.parametrize(
    "target, host, status",
    [
        ("//[", "localhost", 400),
        ("//h:port/", "localhost", 400),
        ("/", "[", 403),
        ("/", "[::1", 403),
        ("/", "localhost:port", 403),
        ("/" + "a" * 300 + ".html", "localhost", 404),
        ("/%00.html", "localhost", 404),
        ("/x\x7f.html", "localhost", 400),
    ],
)
async def test_a_request_that_no_browser_makes_is_answered(demo: Demo, target, host, status, caplog) -> None:
    for method in ("GET", "HEAD"):
        with trio.fail_after(30):
            stream = await trio.open_tcp_stream("127.0.0.1", demo.port)
            async with stream:
                await stream.send_all(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                answer = b"".join([part async for part in stream])
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert caplog.records == []


@pytest.mark.parametrize("origin", ["https://evil.example", "http://[", "null", ""])
async def test_a_page_of_another_origin_is_told_why_it_may_not_talk(demo: Demo, origin: str, capsys) -> None:
    with trio.fail_after(30):
        async with open_websocket_wire(demo.socket, headers={"Origin": origin}) as wire:
            with pytest.raises(WireClosed) as caught:
                await wire.receive()
    assert caught.value.code == 1008
    assert "--allow-origin" in caught.value.reason
    assert "Refused" in capsys.readouterr().out


async def test_a_call_leaves_its_recording_and_its_timeline(demo: Demo) -> None:
    with trio.fail_after(60):
        async with open_fake_page(demo.socket, headers={"Origin": demo.address}) as page:
            call = await page.wait_received("call")
            assert call["agent"] == "Otto"
            await page.wait_heard(500)
            page.post({"type": "say", "text": "Please refund order 42"})
            while (event := await page.wait_received("event"))["name"] != "tool_approval_required":
                pass
            assert event["tool"] == "refund"
            page.post({"type": "decide", "call_id": event["call_id"], "approve": True})
            while (event := await page.wait_received("event"))["name"] != "tool_end":
                pass
            assert event["output"] == "The money for order 42 is on its way."
            status, _, _ = await demo.get(f"/calls/{call['id']}/timeline.html")
            assert status == 202  # not yet
        while True:
            status, timeline, headers = await demo.get(f"/calls/{call['id']}/timeline.html")
            if status == 200:
                break
        assert b"refund" in timeline
        assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]
        status, recording, _ = await demo.get(f"/calls/{call['id']}/recording.jsonl.gz")
    assert (status, recording[:2]) == (200, b"\x1f\x8b")


def test_a_port_that_is_taken_is_told_in_one_line(capsys) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        status = main(["demo", "--no-open", "--port", str(taken.getsockname()[1]), "--speech", "tones"])
    assert status == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_folder_that_takes_no_recordings_is_told_before_the_page_is_open(capsys) -> None:
    assert main(["demo", "--no-open", "--port", "0", "--speech", "tones", "--record", f"{__file__}/below"]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert told.err.startswith(f"trealtime demo: --record {__file__}/below: ")


def test_an_agent_that_is_not_there_is_told(capsys) -> None:
    assert main(["demo", "--no-open", "nowhere:agent"]) == 2
    assert "nowhere" in capsys.readouterr().err
