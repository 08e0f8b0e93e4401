"""An outage in the middle of a sentence: the emulator's own ears hear the sentence whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import trio

from trealtime import RealtimeAgent, RealtimeRunner, open_emulator
from trealtime.emulator.options import SpeechEngines
from trealtime.emulator.voice import VOICE_RATE

SENTENCE = "My name is Martha, I live in London, and I would like to book a table for four people on Friday evening."
OUTAGE_S = 3.0
PIECE_S = 0.05


async def test_a_sentence_that_is_cut_by_an_outage_of_three_seconds_is_transcribed_whole(
    engines: SpeechEngines, kit: Any
) -> None:
    speech = np.concatenate([kit.silence(0.3), await kit.say(engines, SENTENCE), kit.silence(1.5)])
    settings = {"turn_detection": {"type": "server_vad"}, "input_audio_transcription": {"model": "whisper-1"}}
    lost: list[str] = []
    with trio.fail_after(90):
        async with open_emulator(speech=engines, seed=1) as emulator, trio.open_nursery() as nursery:
            runner = RealtimeRunner(RealtimeAgent(name="Assistant"), config={"model_settings": settings})
            model = {"url": emulator.url, "api_key": "any"}
            async with (
                runner.session(model_config=model) as session,
                session.subscribe("connection_lost", "reconnected", "history_updated") as subscription,
            ):

                async def outage() -> None:
                    await trio.sleep(2)
                    with emulator.outage():
                        await trio.sleep(OUTAGE_S)

                nursery.start_soon(outage)
                step = round(PIECE_S * VOICE_RATE)
                begins_at = trio.current_time()
                for number, at in enumerate(range(0, len(speech), step)):
                    await trio.sleep_until(begins_at + number * PIECE_S)
                    await session.send_audio(speech[at : at + step])
                async for event in subscription:
                    if event.type != "history_updated":
                        lost.append(event.type)
                    elif session.history and session.history[0].text:
                        break
                heard = session.history[0].text
    assert lost == ["connection_lost", "reconnected"]
    assert kit.words_of(heard) == kit.words_of(SENTENCE)
