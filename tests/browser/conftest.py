"""A headless Chromium with a microphone that says what a file says, driven over the Chrome DevTools protocol.

Protocol: https://chromedevtools.github.io/devtools-protocol/. One WebSocket to one page; a command is a message with an
id, its answer has the same.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import attrs
import pytest
import trio

from trealtime.transport.config import TransportConfig
from trealtime.transport.dial import open_websocket_wire
from trealtime.transport.wire import Wire

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
    "--window-size=1200,800",
)


@attrs.define(eq=False)
class Tab:
    """One page of the browser."""

    _wire: Wire
    errors: list[str] = attrs.Factory(list)
    """What the page has thrown, and what it has written to the console as an error."""

    _ids: count[int] = attrs.Factory(lambda: count(1))
    _answers: dict[int, dict[str, Any]] = attrs.Factory(dict)
    _answered: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        await self._wire.send(json.dumps({"id": number, "method": method, "params": params}))
        while number not in self._answers:
            await self._answered.park()
        answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        result = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, script: str, within_s: float = 15) -> None:
        """Wait until an expression is true."""
        with trio.move_on_after(within_s):
            while not await self.run(f"Boolean({script})"):  # noqa: ASYNC110  (a page can only be looked at)
                await trio.sleep(0.02)
            return
        body = await self.run("document.body.innerText")
        pytest.fail(f"after {within_s} s it is still not true that {script}; errors: {self.errors}; the page:\n{body}")

    async def click(self, selector: str) -> None:
        """Click as a user does, in the middle of what is visible."""
        await self.until(f"document.querySelector({selector!r})?.checkVisibility()")
        x, y = await self.run(
            f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView({{block: 'nearest'}}); "
            "const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def write(self, selector: str, text: str) -> None:
        await self.click(selector)
        await self.call("Input.insertText", text=text)

    async def choose_file(self, selector: str, path: Path) -> None:
        document = await self.call("DOM.getDocument")
        found = await self.call("DOM.querySelector", nodeId=document["root"]["nodeId"], selector=selector)
        await self.call("DOM.setFileInputFiles", nodeId=found["nodeId"], files=[str(path)])

    async def look(self, *, dark: bool = False, width: int = 1200, height: int = 800) -> bytes:
        """A picture of the page, as PNG."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", features=scheme)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self.call("Emulation.setDeviceMetricsOverride", **size)
        picture = await self.call("Page.captureScreenshot")
        return base64.b64decode(picture["data"])

    async def read(self) -> None:
        while True:
            message = json.loads(await self._wire.receive())
            if "id" in message:
                self._answers[message["id"]] = message
                self._answered.unpark_all()
            elif message["method"] == "Runtime.exceptionThrown":
                details = message["params"]["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description", details["text"]))
            elif message["method"] == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                self.errors.append(message["params"]["entry"]["text"])


@asynccontextmanager
async def open_tab(url: str, profile: Path, *flags: str) -> AsyncIterator[Tab]:
    """A browser of its own with one page, and what is to be said into its microphone, if anything."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed")
    command = [program, *FLAGS, f"--user-data-dir={profile}", *flags, "about:blank"]
    # It leaves processes of its own behind if only the first is ended.
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "start_new_session": True}
    async with trio.open_nursery() as nursery:
        process = await nursery.start(partial(trio.run_process, command, check=False, **output))
        try:
            port = await find_port(process)
            async with open_page(port) as wire, trio.open_nursery() as reading:
                tab = Tab(wire)
                reading.start_soon(tab.read)
                for domain in ("Page", "Runtime", "Log", "DOM"):
                    await tab.call(f"{domain}.enable")
                await tab.call("Page.navigate", url=url)
                await tab.until("document.readyState === 'complete' && location.href !== 'about:blank'")
                yield tab
                reading.cancel_scope.cancel()
        finally:
            nursery.cancel_scope.cancel()
            os.killpg(process.pid, 9)


async def find_port(process: trio.Process) -> int:
    said = b""
    assert process.stderr is not None
    with trio.fail_after(20):
        while (found := re.search(rb"DevTools listening on ws://[^:]+:(\d+)/", said)) is None:
            piece = await process.stderr.receive_some()
            assert piece, f"the browser ended: {said.decode(errors='replace')}"
            said += piece
    return int(found[1])


@asynccontextmanager
async def open_page(port: int) -> AsyncIterator[Wire]:
    def fetch() -> Any:
        with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
            return json.load(answer)

    pages = [each for each in await trio.to_thread.run_sync(fetch) if each["type"] == "page"]
    # A screenshot is larger than what a session ever gets.
    config = TransportConfig(max_size=64 * 2**20, ping_interval=None)
    async with open_websocket_wire(pages[0]["webSocketDebuggerUrl"], config=config) as wire:
        yield wire


@pytest.fixture
def browse(tmp_path: Path) -> Any:
    """``async with browse(url, *flags) as tab``."""
    return lambda url, *flags: open_tab(url, tmp_path / "profile", *flags)
