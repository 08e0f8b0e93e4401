"""``trealtime demo`` in a real browser: somebody asks by voice, and the call's timeline is on the page at its end."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trio

from trealtime.audio.wav import write_wav
from trealtime.emulator.local import missing_packages, speech_engines

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@asynccontextmanager
async def open_demo(*options: str) -> AsyncIterator[str]:
    """The demo as a program; its address."""
    variables = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    environment = {**variables, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    program = [sys.executable, "-W", "error", "-m", "trealtime", "demo", "--no-open", "--port", "0", *options]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(trio.run_process, program, env=environment, check=False, stdout=-1, capture_stdout=False)
        )
        said = b""
        with trio.fail_after(30):
            while (found := re.search(rb"Open (http://\S+) in", said)) is None:
                piece = await process.stdout.receive_some()
                assert piece, f"the demo ended: {said!r}"
                said += piece
        yield found[1].decode()
        assert process.returncode is None, "the demo has ended"
        process.terminate()


@pytest.mark.skipif(bool(missing_packages()), reason="trealtime[local] is not installed")
async def test_the_demo_answers_a_spoken_question_with_words(browse, tmp_path) -> None:
    question = await (await speech_engines("local")).say("Where is order number 42?")
    silence = np.zeros(24_000, np.int16)
    write_wav(tmp_path / "user.wav", np.concatenate([*[silence] * 7, question, *[silence] * 60]), 24_000)
    microphone = f"--use-file-for-fake-audio-capture={tmp_path / 'user.wav'}%noloop"
    with trio.fail_after(90):
        async with open_demo() as url, browse(url, *FLAGS, microphone) as tab:
            await tab.click("#start")
            said = "[...document.querySelectorAll('.turn.{}')].at(-1)?.innerText.includes('{}')"
            await tab.until(said.format("assistant", "this is Otto"), within_s=30)
            await tab.until(said.format("user", "order number"), within_s=30)
            await tab.until(said.format("assistant", "left the workshop"), within_s=30)  # the tool has said so
            assert tab.errors == []


async def test_typing_handing_over_and_the_timeline_at_the_end(browse, tmp_path) -> None:
    write_wav(tmp_path / "silence.wav", np.zeros(24_000, np.int16), 24_000)
    microphone = f"--use-file-for-fake-audio-capture={tmp_path / 'silence.wav'}"
    with trio.fail_after(90):
        async with open_demo("--speech", "tones") as url, browse(url, *FLAGS, microphone) as tab:
            await tab.click("#start")
            await tab.until("document.querySelector('.turn.assistant')", within_s=30)
            await tab.write("#text", "Please refund order 42")
            await tab.click("#composer button.primary")
            await tab.until("document.querySelectorAll('.turn.user').length === 1")  # at once, and no second time
            await tab.until("document.querySelector('.tool[data-state=ask]')", within_s=30)
            await tab.until("document.querySelector('#state').dataset.state === 'approval'", within_s=30)
            assert await tab.run("document.querySelectorAll('.turn.user').length") == 1
            assert await tab.run("document.querySelectorAll('.turn.typed').length") == 0
            await tab.click(".tool .primary")
            await tab.until("document.querySelector('.tool[data-state=done]')")
            await tab.write("#text", "Transfer me to the workshop")
            await tab.click("#composer button.primary")
            await tab.until("document.querySelector('.agent-name').textContent === 'Rosa'", within_s=30)
            await tab.until("[...document.querySelectorAll('.turn.assistant .who')].at(-1).textContent === 'Rosa'")
            assert await tab.run("document.querySelector('.turn.assistant .who').textContent") == "Otto"
            await tab.click("#hang-up")
            await tab.until("!document.querySelector('#timeline').hidden", within_s=20)
            await tab.until(
                "document.querySelector('#timeline-frame').contentDocument?.body?.innerText.includes('Otto')"
            )
            size = await tab.run(
                "fetch(document.querySelector('#save-recording').href).then((r) => r.arrayBuffer())"
                ".then((b) => b.byteLength)"
            )
            assert size > 1000
            assert tab.errors == []
