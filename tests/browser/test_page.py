"""examples/browser, in a real browser: somebody speaks into a microphone, and the page plays what the agent says."""

from __future__ import annotations

import os
import re
import socket
import struct
import sys
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import attrs
import numpy as np
import pytest
import trio

from trealtime.audio.wav import write_wav
from trealtime.emulator import EmulatedSession, Emulator, LoggedEvent, SpeechEngines, ToneVoice, open_emulator
from trealtime.emulator.local import load_speech, missing_packages
from trealtime.emulator.voice import VOICE_RATE
from trealtime.errors import ConnectFailed
from trealtime.testing import open_fake_page

pytest.importorskip("quart_trio")
pytest.importorskip("hypercorn")

ROOT = Path(__file__).resolve().parents[2]
MICROPHONE, ALLOWED, REFUSED = (
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--deny-permission-prompts",
)


@attrs.define
class Server:
    """The example as a program, on an emulator of ours."""

    url: str
    process: trio.Process
    emulator: Emulator
    asked: list[Mapping[str, Any]]
    """The example's events."""

    told: list[tuple[Mapping[str, Any], float]]
    """The emulator's, each with the milliseconds of the clock that pages have too."""

    def of(self, *types: str) -> list[Mapping[str, Any]]:
        """The example's events of these types, so far."""
        return [event for event in self.asked if event.get("type") in types]


@asynccontextmanager
async def open_server(*options: str, speech: SpeechEngines | None = None) -> AsyncIterator[Server]:
    asked: list[Mapping[str, Any]] = []
    told: list[tuple[Mapping[str, Any], float]] = []

    def note(session: EmulatedSession, logged: LoggedEvent) -> None:
        if logged.direction == "client":
            asked.append(logged.event)
        else:
            told.append((logged.event, time.time() * 1000))

    async with open_emulator(speech=speech, on_event=note) as emulator, trio.open_nursery() as nursery:
        environment = {
            **os.environ,
            "OPENAI_API_KEY": "any",
            "OPENAI_BASE_URL": emulator.url.rpartition("/realtime")[0],
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        program = [sys.executable, "-W", "error", str(ROOT / "examples/browser/server.py"), "--port", "0", *options]
        process = await nursery.start(
            partial(trio.run_process, program, env=environment, check=False, stdout=-1, capture_stdout=False)
        )
        said = b""
        with trio.fail_after(20):
            while (found := re.search(rb"Open (http://\S+) in", said)) is None:
                piece = await process.stdout.receive_some()
                assert piece, f"the server ended: {said!r}"
                said += piece
        yield Server(found[1].decode(), process, emulator, asked, told)
        assert process.returncode is None, "the server has ended"
        process.terminate()


@pytest.fixture(params=["tones", "words"])
async def speech(request: pytest.FixtureRequest) -> SpeechEngines:
    if request.param == "tones":
        return SpeechEngines()
    if missing_packages():
        pytest.skip("trealtime[local] is not installed")
    return await load_speech()


async def spoken(speech: SpeechEngines, text: str) -> np.ndarray:
    return np.concatenate([chunk.samples async for chunk in speech.voice.speak(text, voice="cedar", speed=1.0)])


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * VOICE_RATE), np.int16)


@pytest.fixture
def quiet_microphone(tmp_path: Path) -> tuple[str, ...]:
    """Flags for a microphone that hears nothing; Chromium's own one beeps."""
    write_wav(tmp_path / "silence.wav", silence(1), VOICE_RATE)
    return MICROPHONE, ALLOWED, f"--use-file-for-fake-audio-capture={tmp_path / 'silence.wav'}"


async def test_somebody_talks_to_the_page_and_interrupts_it(browse, speech, tmp_path) -> None:
    # The second time somebody speaks, the answer has begun and is not over: tones take five seconds, words half a
    # minute, and the voice that speaks them needs time to begin where the machine is busy.
    answer_after_s = 3.5 if isinstance(speech.voice, ToneVoice) else 12
    write_wav(
        tmp_path / "user.wav",
        np.concatenate(
            [
                silence(2.5),  # the greeting has begun
                await spoken(speech, "Please tell me a long story."),
                silence(answer_after_s),
                await spoken(speech, "Thank you, that is enough."),
                silence(20),
            ]
        ),
        VOICE_RATE,
    )
    flags = (MICROPHONE, ALLOWED, f"--use-file-for-fake-audio-capture={tmp_path / 'user.wav'}%noloop")
    with trio.fail_after(120):
        async with open_server(speech=speech) as server, browse(server.url, *flags) as tab:
            await tab.click("#start")
            await tab.until("page.audio?.level > 0.01")  # what comes out of the audio graph is not silence
            await tab.until("document.querySelector('#state').dataset.state === 'speaking'")
            for cuts in (1, 2):
                await tab.until(f"page.flushes.length === {cuts}", within_s=30)
            flushes, rate = await tab.run("[page.flushes, page.audio.rate]")
            await tab.until(
                "document.querySelectorAll('.turn.assistant').length === 3 && page.audio.level > 0.01", within_s=30
            )
            assert await tab.run("[...document.querySelectorAll('.cut')].filter((e) => e.textContent).length") == 2
            assert tab.errors == []
    told_ms = [event["audio_end_ms"] for event in server.of("conversation.item.truncate")][:2]  # not what leaving cuts
    began_ms = [at_ms for event, at_ms in server.told if event.get("type") == "input_audio_buffer.speech_started"]
    for flush, told, began in zip(flushes, told_ms, began_ms, strict=True):
        assert told > 500
        # Engines that recognise and speak words share the machine with the browser, whose reports then come late.
        if isinstance(speech.voice, ToneVoice):
            assert_position(flush, rate, told, way_ms=flush["at"] - began)


async def test_typing_tools_an_approval_an_image_and_a_second_conversation(browse, quiet_microphone, tmp_path) -> None:
    write_png(tmp_path / "wheel.png", 1600, 400)
    with trio.fail_after(60):
        async with open_server() as server, browse(server.url, *quiet_microphone) as tab:
            await tab.click("#start")
            await tab.until("document.querySelector('.turn.assistant')")

            await tab.write("#text", "Please refund order 1234.")
            await tab.click("#composer button")
            await tab.until("document.querySelector('.tool[data-state=ask]')?.innerText.includes('1234')")
            await trio.sleep(0.2)
            assert not outputs(server)
            await tab.click(".tool .primary")
            await tab.until("document.querySelector('.tool[data-state=done]')")
            assert outputs(server) == ["The money for order 1234 is on its way"]

            await tab.write("#text", "Please refund order 77.")
            await tab.click("#composer button")
            await tab.click(".tool[data-state=ask] button:last-child")
            await tab.until("document.querySelector('.tool[data-state=failed]')?.innerText.includes('rejected')")
            assert "money" not in outputs(server)[-1]

            await tab.choose_file("#image", tmp_path / "wheel.png")
            await tab.until("document.querySelector('.turn.user img')?.naturalWidth === 1024")
            await tab.until("document.querySelector('.turn.assistant:last-child')?.innerText.includes('image')")
            [image] = [
                part["image_url"]
                for event in server.of("conversation.item.create")
                for part in event["item"].get("content", ())
                if part["type"] == "input_image"
            ]
            assert image.startswith("data:image/jpeg;base64,")

            await tab.click("#mute")
            assert await tab.run("[page.audio.track.enabled, document.querySelector('#mute').textContent]") == [
                False,
                "Muted",
            ]
            await tab.click("#hang-up")
            await tab.until("document.querySelector('#state').dataset.state === 'closed'")
            await wait_for(lambda: not server.emulator.sessions)
            await tab.click("#reconnect")
            await tab.until("document.querySelector('.divider ~ .turn.assistant')")
            await tab.until("page.audio.level > 0.01")
            assert len(server.emulator.sessions) == 1
            assert tab.errors == []


async def test_the_interrupt_button_stops_the_agent_where_the_page_stood(browse, quiet_microphone) -> None:
    with trio.fail_after(60):
        async with open_server() as server, browse(server.url, *quiet_microphone) as tab:
            await tab.click("#start")
            await tab.until("page.heard.heard > page.audio?.rate")
            await tab.run("document.querySelector('#interrupt').addEventListener('click', () => clicked = Date.now())")
            await tab.click("#interrupt")
            await tab.until("page.flushes.length")
            [flush], rate, clicked = await tab.run("[page.flushes, page.audio.rate, clicked]")
            await tab.until("document.querySelector('.cut').textContent")
            assert await tab.run("new Promise((done) => setTimeout(() => done(page.audio.level), 200))") < 1e-4
            assert tab.errors == []
        [told] = server.of("conversation.item.truncate")
    assert_position(flush, rate, told["audio_end_ms"], way_ms=flush["at"] - clicked)


@pytest.mark.parametrize(
    "flags, words",
    [((MICROPHONE, REFUSED), "does not let this page use the microphone"), ((ALLOWED,), "There is no microphone.")],
)
async def test_without_a_microphone_the_page_says_why_and_goes_on_without_it(browse, flags, words) -> None:
    with trio.fail_after(60):
        async with open_server() as server, browse(server.url, *flags) as tab:
            await tab.click("#start")
            await tab.until("document.querySelector('#problem').checkVisibility()")
            assert words in await tab.run("document.querySelector('#problem').innerText")
            assert not server.emulator.sessions
            await tab.click("#problem-without")
            await tab.until("page.audio.level > 0.01")
            assert not await tab.run("document.querySelector('#problem').checkVisibility()")
            await tab.write("#text", "Count to three.")
            await tab.click("#composer button")
            await tab.until("document.querySelector('.turn.assistant:last-child')?.innerText.includes('1, 2, 3')")


async def test_while_the_server_dials_again_the_page_says_so(browse, quiet_microphone) -> None:
    with trio.fail_after(60):
        async with open_server() as server, browse(server.url, *quiet_microphone) as tab:
            await tab.click("#start")
            await tab.until("document.querySelector('.turn.assistant')")
            with server.emulator.outage():
                await tab.until("document.querySelector('#state-text').textContent === 'Connecting again…'")
            await tab.until("document.querySelector('#log').innerText.includes('reconnected')")
            await tab.until("document.querySelector('#state-text').textContent !== 'Connecting again…'")
            assert tab.errors == []


async def test_when_the_conversation_ends_the_page_says_so(browse, quiet_microphone) -> None:
    with trio.fail_after(60):
        async with open_server() as server, browse(server.url, *quiet_microphone) as tab:
            await tab.click("#start")
            await tab.until("document.querySelector('.turn.assistant')")
            for session in server.emulator.sessions:
                session.close(1000, "Bye.")
            await tab.until("document.querySelector('#problem').checkVisibility()")
            assert "ended" in await tab.run("document.querySelector('#problem').innerText")
            await tab.until("document.activeElement.id === 'reconnect'")


async def test_over_plain_http_the_page_says_why_there_is_no_sound_and_goes_on_in_writing(browse) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://shop.test:{port}"
    with trio.fail_after(60):
        async with (
            open_server("--port", str(port), "--allow-origin", url) as server,
            browse(url, "--host-resolver-rules=MAP shop.test 127.0.0.1") as tab,
        ):
            assert await tab.run("window.isSecureContext") is False
            await tab.click("#start")
            await tab.until("document.querySelector('#problem').checkVisibility()")
            said = await tab.run("document.querySelector('#problem').innerText")
            assert "this page came by plain http. Open it at https://shop.test" in said
            assert f"http://localhost:{port}" in said
            assert not server.emulator.sessions
            await tab.click("#problem-without")
            await tab.until("page.heard.heard > 0.5 * page.audio.rate")
            await tab.write("#text", "Count to three.")
            await tab.click("#composer button")
            await tab.until("document.querySelector('.turn.assistant:last-child')?.innerText.includes('1, 2, 3')")
            assert tab.errors == []


async def test_a_microphone_that_goes_is_told_and_asked_for_again(browse, quiet_microphone) -> None:
    with trio.fail_after(60):
        async with open_server() as server, browse(server.url, *quiet_microphone) as tab:
            await tab.click("#start")
            await tab.until("document.querySelector('.turn.assistant')")
            for way in ("button", "device"):
                await tab.run("lost = page.audio.track, lost.stop(), lost.dispatchEvent(new Event('ended'))")
                await tab.until("document.querySelector('#problem').innerText.includes('The microphone has gone')")
                assert await tab.run("document.querySelector('#mute').disabled")
                if way == "button":
                    await tab.click("#problem-retry")
                else:
                    await tab.run("navigator.mediaDevices.dispatchEvent(new Event('devicechange'))")
                await tab.until("page.audio.track !== lost && page.audio.track.readyState === 'live'")
                await tab.until("!document.querySelector('#problem').checkVisibility()")
                assert not await tab.run("document.querySelector('#mute').disabled")
            sent = len(server.of("input_audio_buffer.append"))
            await wait_for(lambda: len(server.of("input_audio_buffer.append")) > sent + 5)
            assert tab.errors == []


async def test_another_microphone_takes_the_place_of_the_one_before(browse, quiet_microphone) -> None:
    with trio.fail_after(60):
        async with open_server() as server, browse(server.url, *quiet_microphone) as tab:
            await tab.click("#start")
            await tab.until("document.querySelector('.turn.assistant')")
            await tab.run("first = page.audio.track, page.audio.group = 'another', undefined")
            await tab.run("navigator.mediaDevices.dispatchEvent(new Event('devicechange'))")
            await tab.until("page.audio.track !== first && page.audio.track.readyState === 'live'")
            assert await tab.run("first.readyState") == "ended"
            assert not await tab.run("document.querySelector('#problem').checkVisibility()")
            assert tab.errors == []


async def test_clicks_too_many_begin_one_conversation(browse, quiet_microphone) -> None:
    with trio.fail_after(60):
        async with open_server() as server, browse(server.url, *quiet_microphone) as tab:
            await tab.run(
                "opened = 0, WebSocket = class extends WebSocket { constructor(url) { super(url); opened += 1; } }, 0"
            )
            await tab.run("['', '', ''].forEach(() => document.querySelector('#start').click())")
            await tab.until("document.querySelector('.turn.assistant')")
            await tab.click("#hang-up")
            await tab.until("document.querySelector('#reconnect').checkVisibility()")
            await tab.run("['', '', ''].forEach(() => document.querySelector('#reconnect').click())")
            await tab.until("document.querySelectorAll('.turn.assistant').length === 2")
            assert await tab.run("opened") == 2
            assert tab.errors == []


async def test_a_sound_card_that_is_too_fast_is_used_at_another_rate(browse, quiet_microphone) -> None:
    with trio.fail_after(60):
        async with open_server() as server, browse(server.url, *quiet_microphone) as tab:
            await tab.run(
                "AudioContext = class extends AudioContext { constructor(options) "
                "{ super({ sampleRate: 384_000, ...options }); } }, undefined"
            )
            await tab.click("#start")
            await tab.until("page.heard.heard > 0.2 * page.audio?.rate")
            assert await tab.run("page.audio.rate") == 48_000
            assert tab.errors == []


async def test_sound_that_the_browser_stops_is_told_and_goes_on_with_a_click(browse, quiet_microphone) -> None:
    with trio.fail_after(60):
        async with open_server() as server, browse(server.url, *quiet_microphone) as tab:
            await tab.click("#start")
            await tab.until("page.heard.heard > 0.2 * page.audio?.rate")
            await tab.run("page.audio.context.suspend()")
            await tab.until("document.querySelector('#problem').innerText.includes('stopped the sound')")
            assert await tab.run("document.querySelector('#problem-retry').innerText") == "Go on"
            before = await tab.run("page.heard.heard")
            await tab.click("#problem-retry")
            await tab.until(f"page.heard.heard > {before}")
            assert not await tab.run("document.querySelector('#problem').checkVisibility()")
            assert tab.errors == []


# ---- without a browser ----------------------------------------------------------------------------------------------


async def test_the_page_may_connect_to_its_own_server_alone() -> None:
    def policy(host: str) -> str:
        try:
            with urlopen(Request(server.url, headers={"Host": host}), timeout=10) as answer:
                return str(answer.headers["Content-Security-Policy"])
        except HTTPError as error:
            return f"refused with {error.code}"

    with trio.fail_after(60):
        async with open_server() as server:
            for host in ("shop.example", "127.0.0.1:8000", "[::1]:8000"):
                expected = f"default-src 'self'; connect-src 'self' ws://{host} wss://{host}; "
                assert (await trio.to_thread.run_sync(policy, host)).startswith(expected)
            for host in ("a;script-src *", "*", "a b"):
                told = await trio.to_thread.run_sync(policy, host)
                assert told.startswith(("refused with 400", "default-src 'self'; connect-src 'self'; "))


async def test_no_message_is_compressed_whatever_the_page_offers() -> None:
    with trio.fail_after(60):
        async with open_server() as server:
            host, port = server.url.removeprefix("http://").split(":")
            async with await trio.open_tcp_stream(host, int(port)) as stream:
                await stream.send_all(
                    f"GET /talk HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {server.url}\r\nConnection: Upgrade\r\n"
                    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n"
                    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n".encode()
                )
                answer = b""
                while b"\r\n\r\n" not in answer:
                    answer += await stream.receive_some()
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"sec-websocket-extensions" not in answer.lower()


async def test_pages_of_other_origins_are_refused_and_those_that_are_allowed_are_not() -> None:
    with trio.fail_after(60):
        async with open_server("--allow-origin", "https://shop.example/") as server:
            url = f"{server.url.replace('http', 'ws')}/talk"
            for headers in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
                with pytest.raises(ConnectFailed) as caught:
                    async with open_fake_page(url, headers=headers):
                        pytest.fail("it was let in")
                assert caught.value.status == 403
            for origin in ("https://shop.example", server.url, server.url.replace("127.0.0.1", "localhost")):
                async with open_fake_page(url, headers={"Origin": origin}) as page:
                    await page.wait_heard(200)


async def test_whatever_a_page_sends_the_server_lives_and_says_what_was_wrong() -> None:
    with trio.fail_after(60):
        async with open_server() as server:
            url, headers = f"{server.url.replace('http', 'ws')}/talk", {"Origin": server.url}
            async with open_fake_page(url, headers=headers) as page:
                await page.wait_heard(100)
                for message, answer in [
                    (b"\1\2\3", "whole samples"),
                    ("junk", "expected JSON"),
                    ({"type": "heard", "epoch": 9, "samples": 1}, "epoch"),
                ]:
                    page.post(message)
                    assert answer in (await page.wait_received("refused"))["reason"]
                for message, answer in [
                    (
                        {"type": "dance"},
                        "message: expected say, image, interrupt or decide, with its fields, got {'type': 'dance'}",
                    ),
                    ({"type": "say", "text": 7}, "message: expected say"),
                    ({"type": "image", "url": "https://x.example/y.png", "text": ""}, "PNG or JPEG as a data URI"),
                    ({"type": "decide", "call_id": "x", "approve": "yes"}, "message: expected say"),
                ]:
                    page.post(message)
                    assert answer in (await page.wait_received("problem"))["text"]
                page.post({"type": "decide", "call_id": "call_none", "approve": True})
                page.post({"type": "say", "text": "Count to three."})
                await page.wait_heard(page.heard_ms + 500)
            async with open_fake_page(url, headers=headers) as page:
                await page.wait_heard(100)
                page.post("x" * (4 * 2**20 + 1))
                await page.wait_ended()
            assert page.closed is not None
            assert page.closed.code == 1009
            async with open_fake_page(url, headers=headers, rate=22_050) as page:
                await page.wait_heard(100)


async def test_the_check_needs_no_browser_and_says_how_it_went() -> None:
    done = await run_example("--check", "--port", "0", "--tones")
    assert done.returncode == 0, done
    refund, paid, heard = done.stdout.decode().splitlines()
    assert refund == 'refund {"order_id": 1234} needs approval, and gets it.'
    assert paid == "refund: The money for order 1234 is on its way."
    assert re.fullmatch(r"The page heard [2-9]\.\d s of the agent\.", heard)
    assert done.stderr.decode().startswith("No OPENAI_API_KEY: starting an emulator")


async def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    async with open_server() as server:
        done = await run_example("--tones", "--port", server.url.rpartition(":")[2])
    assert done.returncode == 1
    assert re.search(r"^browser/server\.py: .*in use", done.stderr.decode(), re.MULTILINE)


async def test_without_the_packages_it_says_what_to_install(tmp_path) -> None:
    (tmp_path / "quart_trio.py").write_text("raise ImportError\n", encoding="utf-8")
    done = await run_example(PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode == 1
    assert 'pip install "trealtime[web]"' in done.stderr.decode()


# ---- helpers --------------------------------------------------------------------------------------------------------


async def run_example(*arguments: str, **variables: str) -> Any:
    program = [sys.executable, "-W", "error", str(ROOT / "examples/browser/server.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    with trio.fail_after(60):
        return await trio.run_process(program, env=environment, check=False, capture_stdout=True, capture_stderr=True)


def assert_position(flush: Mapping[str, Any], rate: int, told_ms: float, *, way_ms: float) -> None:
    """The server was told what the page had played, to 50 ms. What the word to stop takes to reach the page comes on
    top: nearly nothing, except where the machine is busy with other things."""
    page_ms = flush["heard"] * 1000 / rate
    assert -50 <= page_ms - told_ms <= 50 + way_ms, (
        f"the page had played {page_ms:.0f} ms, the server was told {told_ms} ms, the way took {way_ms:.0f} ms"
    )


def outputs(server: Server) -> list[str]:
    """What the tools have answered."""
    items = [event["item"] for event in server.of("conversation.item.create")]
    return [item["output"] for item in items if item["type"] == "function_call_output"]


async def wait_for(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110  (of another process's doing)
        await trio.sleep(0.02)


def write_png(path: Path, width: int, height: int) -> None:
    """Stripes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes([47, 111, 94] if row // 40 % 2 else [230, 240, 235]) * width for row in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
