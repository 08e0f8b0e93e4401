"""Barge-in policies, end to end: a voice, the emulator's ears, a policy, and what is heard of the agent."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from trealtime.emulator import ScriptedTranscriber
from trealtime.errors import SessionNotOpen, SettingsError
from trealtime.testing import MemoryEndpoint

STORY = "Tell me a story."
VAD = {"type": "server_vad", "silence_duration_ms": 200}


def outcomes(seen: Any) -> list[str]:
    return [event.type for event in seen.events if event.type.startswith(("interruption_", "audio_interrupted"))]


@pytest.mark.parametrize("while_unsure", ["play", "duck", "hold"])
async def test_a_cough_changes_nothing_and_held_playback_goes_on_where_it_stood(
    autojump_clock, kit, while_unsure
) -> None:
    policy = {"min_speech_ms": 400, "while_unsure": while_unsure}
    async with (
        kit.talk(settings={"turn_detection": VAD}, config={"barge_in": policy}) as talk,
        talk.runner.session() as session,
        trio.open_nursery() as nursery,
    ):
        seen = kit.listener()
        nursery.start_soon(seen.listen, session)
        await session.send_message(STORY)
        await seen.expect("audio")
        began = trio.current_time()
        await seen.expect("agent_end")
        await trio.sleep(1)
        await kit.speak(session, 200, 1000)
        await session.wait_for_playback()
        lasted_ms = (trio.current_time() - began) * 1000
        audio_ms = sum(len(event.audio.data) for event in seen.of("audio")) / kit.BYTES_PER_MS
        pending, dismissed = seen.time_of("interruption_pending"), seen.time_of("interruption_dismissed")
        held_ms = (dismissed - pending) * 1000 if while_unsure == "hold" else 0
        assert lasted_ms == pytest.approx(audio_ms + held_ms, abs=2)
        await trio.sleep(30)
        assert outcomes(seen) == ["interruption_pending", "interruption_dismissed"]
        assert talk.counts()["response.created"] == 1
        assert not talk.of("response.cancel", "conversation.item.truncate", "error")
        assert [item.role for item in session.history] == ["user", "assistant", "user"]
        assert session.statistics().conversation.interruptions_dismissed == 1
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("while_unsure", ["play", "duck", "hold"])
async def test_speech_that_lasts_is_cut_at_what_was_heard_and_answered_once(autojump_clock, kit, while_unsure) -> None:
    async with (
        kit.talk(
            settings={"turn_detection": VAD},
            config={"barge_in": {"min_speech_ms": 400, "while_unsure": while_unsure}},
            transcriber=ScriptedTranscriber(["What is 2 plus 3?"]),
        ) as talk,
        talk.runner.session() as session,
        trio.open_nursery() as nursery,
    ):
        seen = kit.listener()
        nursery.start_soon(seen.listen, session)
        await session.send_message(STORY)
        await seen.expect("audio")
        began = trio.current_time()
        await trio.sleep(3)
        await kit.speak(session)
        await seen.expect("agent_end", 2)
        (interrupted,) = seen.of("audio_interrupted")
        stopped = seen.time_of("interruption_pending" if while_unsure == "hold" else "audio_interrupted")
        assert interrupted.heard_ms == pytest.approx((stopped - began) * 1000, abs=1)
        assert seen.time_of("interruption_confirmed") - seen.time_of("interruption_pending") == pytest.approx(0.6)
        await trio.sleep(30)
        assert talk.counts()["response.created"] == 2
        assert session.history[-1].text == "2 plus 3 is 5."
        assert talk.counts()["error"] == 0
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("words, interrupts", [("Mm-hmm.", False), ("What is 2 plus 3?", True)])
async def test_short_speech_is_judged_by_its_words(autojump_clock, kit, words, interrupts) -> None:
    async with (
        kit.talk(
            settings={"turn_detection": VAD},
            config={"barge_in": {"min_speech_ms": 1000, "while_unsure": "hold", "dismiss": "fillers"}},
            transcriber=ScriptedTranscriber([words]),
        ) as talk,
        talk.runner.session() as session,
        trio.open_nursery() as nursery,
    ):
        seen = kit.listener()
        nursery.start_soon(seen.listen, session)
        await session.send_message(STORY)
        await seen.expect("audio")
        await trio.sleep(2)
        await kit.speak(session, 500, 1500)
        await trio.sleep(60)
        outcome = ["interruption_confirmed", "audio_interrupted"] if interrupts else ["interruption_dismissed"]
        assert outcomes(seen) == ["interruption_pending", *outcome]
        assert talk.counts()["response.created"] == 1 + interrupts
        nursery.cancel_scope.cancel()


async def test_fillers_need_a_transcription(kit) -> None:
    config = {"barge_in": {"dismiss": "fillers"}}
    async with kit.talk(config=config, settings={"input_audio_transcription": None}) as talk:
        with pytest.raises(SettingsError, match="barge_in knows fillers"):
            async with talk.runner.session():
                pass
    async with kit.talk(config=config) as talk, talk.runner.session() as session:
        with pytest.raises(SettingsError, match="barge_in knows fillers"):
            await session.update_settings({"input_audio_transcription": None})


async def test_turns_of_a_talk_under_a_policy_are_answered_once_each(autojump_clock, kit) -> None:
    transcriber = ScriptedTranscriber(["What is 2 plus 3?", "What is 1 plus 1?"])
    async with (
        kit.talk(settings={"turn_detection": VAD}, config={"barge_in": {}}, transcriber=transcriber) as talk,
        talk.runner.session() as session,
        trio.open_nursery() as nursery,
    ):
        seen = kit.listener()
        nursery.start_soon(seen.listen, session)
        for count in (1, 2):
            await kit.speak(session)
            await seen.expect("agent_end", count)
            await session.wait_for_playback()
        await trio.sleep(10)
        assert [item.text for item in session.history if item.role == "assistant"] == [
            "2 plus 3 is 5.",
            "1 plus 1 is 2.",
        ]
        assert outcomes(seen) == []
        nursery.cancel_scope.cancel()


# ---- with an endpoint -----------------------------------------------------------------------------------------------


async def test_an_endpoint_holds_what_it_plays_and_goes_on(autojump_clock, kit) -> None:
    policy = {"min_speech_ms": 400, "while_unsure": "hold"}
    phone = MemoryEndpoint()
    async with kit.talk(settings={"turn_detection": VAD}) as talk, talk.runner.session() as session:
        wanted = session.settings["audio"]["input"]["turn_detection"]
        async with session.attach(phone, barge_in=policy), session.subscribe("interruption_dismissed") as subscription:
            await session.send_message(STORY)
            await trio.sleep(2)
            told = session.settings["audio"]["input"]["turn_detection"]
            assert (told["interrupt_response"], told["create_response"]) == (False, False)
            for loud in (True,) * 2 + (False,) * 8:
                await phone.say(kit.tone(100, loud=loud))
                await trio.sleep(0.1)
            assert (await subscription.receive()).reason == "short"
            await session.wait_for_playback()
            assert not talk.of("response.cancel", "conversation.item.truncate", "error")
            sent = sum(len(event["delta"]) * 3 // 4 for event in talk.of("response.output_audio.delta"))
            assert len(phone.heard()) == pytest.approx(sent, abs=100)
        await trio.sleep(1)
        assert session.settings["audio"]["input"]["turn_detection"] == wanted


async def test_a_policy_that_is_none_is_refused_before_anything_is_opened(autojump_clock, kit) -> None:
    async with kit.talk() as talk, talk.runner.session() as session:
        with pytest.raises(SettingsError, match=r"barge_in.while_unsure: got 'pause', allowed: 'play', 'duck', 'hold'"):
            session.attach(MemoryEndpoint(), barge_in={"while_unsure": "pause"})


# ---- uninterruptible ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("barge_in", ["immediate", {"min_speech_ms": 400}])
async def test_what_is_said_in_an_uninterruptible_scope_is_said_to_the_end(autojump_clock, kit, barge_in) -> None:
    async with (
        kit.talk(
            settings={"turn_detection": VAD},
            config={"barge_in": barge_in},
            transcriber=ScriptedTranscriber(["What is 2 plus 3?"]),
        ) as talk,
        talk.runner.session() as session,
        trio.open_nursery() as nursery,
    ):
        seen = kit.listener()
        nursery.start_soon(seen.listen, session)
        before = session.settings["audio"]["input"]["turn_detection"]
        with session.uninterruptible():
            await session.send_message(STORY)
            await seen.expect("audio")
            await trio.sleep(1)
            await session.update_settings({"turn_detection": VAD, "instructions": "Be kind."})
            assert session.settings["audio"]["input"]["turn_detection"]["interrupt_response"] is False
            await kit.speak(session)
            await session.wait_for_playback()
        await trio.sleep(30)
        assert outcomes(seen) == []
        assert not talk.of("response.cancel", "conversation.item.truncate", "error")
        assert session.history[-1].text == "2 plus 3 is 5."
        assert session.settings["audio"]["input"]["turn_detection"] == before
        nursery.cancel_scope.cancel()


async def test_a_scope_needs_an_open_session_and_may_outlive_it(autojump_clock, kit) -> None:
    async with kit.talk() as talk:
        session = await talk.runner.run()
        with pytest.raises(SessionNotOpen), session.uninterruptible():
            pass
        async with session:
            with session.uninterruptible():
                await session.close()
        assert session.outcome is not None
