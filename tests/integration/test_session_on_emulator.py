"""Conversations as apps hold them, on the emulator and under the mock clock: every rule of both sides at work."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from trealtime._session.session import RealtimeSession
from trealtime.agents.guardrails import GuardrailFunctionOutput, output_guardrail
from trealtime.emulator import DialogueBrain, Say, ScriptedBrain, ScriptedTranscriber
from trealtime.errors import ServerRefused, SessionClosed, SettingsRefused
from trealtime.tools.function_tool import function_tool
from trealtime.transport.models import ConnectionTarget, RealtimeModel
from trealtime.transport.wire import Wire

STORY = "Tell me a story."
"""Answered with more than a minute of speech."""


def roles(session: RealtimeSession) -> list[str]:
    return [getattr(item, "role", item.type) for item in session.history]


# ---- turns ----------------------------------------------------------------------------------------------------------


async def test_the_quickstart_in_its_two_forms(autojump_clock, kit) -> None:
    async with kit.talk() as talk:
        for scoped in (False, True):
            items = []
            opened = talk.runner.session() if scoped else await talk.runner.run()
            async with opened as session:
                await session.send_message("Say hello in one short sentence.")
                async for event in session:
                    if event.type == "history_added":
                        items.append(event.item)
                    elif event.type == "agent_end":
                        break
                    else:
                        assert event.type != "error"
            assert [item.role for item in items] == ["user", "assistant"]
            assert session.outcome.code == 1000


async def test_a_text_turn(autojump_clock, kit) -> None:
    settings = {"output_modalities": ["text"]}
    async with kit.talk(settings=settings) as talk, talk.runner.session() as session:
        turn = await session.ask("What is 2 plus 3?")
        assert (turn.text, turn.audio, turn.status) == ("2 plus 3 is 5.", b"", "completed")
        assert [str(item) for item in session.history] == ["user: What is 2 plus 3?", "assistant: 2 plus 3 is 5."]
        assert session.usage.requests == 1
        assert turn.usage.total_tokens == session.usage.total_tokens > 0


@pytest.mark.parametrize(
    "turn_detection", [{"type": "server_vad", "silence_duration_ms": 500}, {"type": "semantic_vad"}]
)
async def test_a_spoken_turn_that_the_server_takes(autojump_clock, kit, turn_detection) -> None:
    settings = {"turn_detection": turn_detection}
    transcriber = ScriptedTranscriber(["What is 2 plus 3?"])
    async with (
        kit.talk(settings=settings, transcriber=transcriber) as talk,
        talk.runner.session() as session,
        trio.open_nursery() as nursery,
    ):
        seen = kit.listener()
        nursery.start_soon(seen.listen, session)
        await kit.speak(session)
        await seen.expect("agent_end")
        started, stopped = seen.of("speech_started")[0], seen.of("speech_stopped")[0]
        assert started.audio_start_ms < 300
        assert 1500 < stopped.audio_end_ms <= 3000
        user, assistant = session.history
        assert user.text == "What is 2 plus 3?"
        assert assistant.text == "2 plus 3 is 5."
        assert assistant.previous_item_id == user.item_id
        words = dict.fromkeys(("user", "assistant"), "")
        for event in seen.of("transcript_delta"):
            words[event.role] += event.delta
        assert words == {"user": user.text, "assistant": assistant.text}
        audio = b"".join(event.audio.data for event in seen.of("audio"))
        (end,) = seen.of("audio_end")
        assert (end.item_id, len(audio) > kit.BYTES_PER_MS * 1000) == (assistant.item_id, True)
        assert talk.counts()["response.create"] == 0
        nursery.cancel_scope.cancel()


async def test_push_to_talk(autojump_clock, kit) -> None:
    settings = {"turn_detection": None}
    transcriber = ScriptedTranscriber(["How are you?"])
    async with (
        kit.talk(settings=settings, transcriber=transcriber) as talk,
        talk.runner.session() as session,
        session.subscribe("speech_started", "agent_end") as subscription,
    ):
        await kit.speak(session)
        await session.commit_audio()
        await trio.sleep(5)
        assert talk.counts()["response.created"] == 0
        await session.create_response()
        assert (await subscription.receive()).type == "agent_end"
        assert [item.text for item in session.history] == ["How are you?", "I am fine, thank you. How are you?"]
        # The same in one call and one question.
        await session.send_audio(kit.tone(400), commit=True)
        turn = await session.ask()
        assert turn.text == "I heard you speak for 0.4 seconds, but I cannot make out words."


async def test_an_image_is_seen(autojump_clock, kit) -> None:
    part = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}
    async with kit.talk() as talk, talk.runner.session() as session:
        turn = await session.ask({"type": "message", "role": "user", "content": [part]})
        assert turn.text == "I see your image."
        assert session.history[0].content[0].image_url == part["image_url"]


async def test_a_turn_with_a_tool(autojump_clock, kit) -> None:
    @function_tool
    async def get_weather(city: str) -> str:
        """The weather of a city.

        Args:
            city: Its name.
        """
        await trio.sleep(2)
        return f"sunny in {city}"

    async with (
        kit.talk(tools=[get_weather]) as talk,
        talk.runner.session() as session,
        session.subscribe("tool_start", "tool_end", "agent_end", "error") as subscription,
    ):
        turn = await session.ask("What is the weather in Paris?")
        assert turn.text == "Sunny in Paris."
        assert turn.status == "completed"
        seen = [(await subscription.receive()).type for _ in range(4)]
        assert seen.count("agent_end") == 2
        assert seen.index("tool_start") < seen.index("tool_end")
        call = next(item for item in session.history if item.type == "function_call")
        assert (call.name, call.output) == ("get_weather", "sunny in Paris")
        assert roles(session)[0] == "user"
        assert roles(session)[-1] == "assistant"


async def test_an_out_of_band_response_next_to_a_default_one(autojump_clock, kit) -> None:
    async with kit.talk() as talk, talk.runner.session() as session, session.subscribe("agent_start") as starts:
        async with session.respond(STORY) as story:
            await starts.receive()
            aside = await session.ask("What is 1 plus 1?", out_of_band=True, output_modalities=["text"])
            assert aside.text == "1 plus 1 is 2."
            assert talk.counts()["response.done"] == 1
            assert (await story.result()).status == "completed"
        assert [item.text[:16] for item in session.history] == [STORY, "Once upon a time"]


async def test_messages_sent_while_the_agent_answers_get_one_answer_afterwards(autojump_clock, kit) -> None:
    async with kit.talk() as talk, talk.runner.session() as session, session.subscribe("agent_end") as subscription:
        await session.send_message(STORY)
        await session.send_message("What is 1 plus 1?")
        await session.send_message("What is 2 plus 2?")
        assert [(await subscription.receive()).status for _ in range(2)] == ["completed", "completed"]
        assert session.history[-1].text == "2 plus 2 is 4."
        await trio.sleep(100)
        assert talk.counts()["response.created"] == 2
        assert talk.counts()["error"] == 0


# ---- interrupts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type", ["server_vad", "semantic_vad"])
async def test_barge_in(autojump_clock, kit, type) -> None:
    transcriber = ScriptedTranscriber(["What is 2 plus 3?"])
    async with (
        kit.talk(settings={"turn_detection": {"type": type}}, transcriber=transcriber) as talk,
        talk.runner.session() as session,
        trio.open_nursery() as nursery,
    ):
        seen = kit.listener()
        nursery.start_soon(seen.listen, session)
        await session.send_message(STORY)
        await seen.expect("audio")
        playback_began = trio.current_time()
        await trio.sleep(3)
        await kit.speak(session)
        await seen.expect("agent_end", 2)
        (interrupted,) = seen.of("audio_interrupted")
        told_at = seen.time_of("audio_interrupted")
        assert interrupted.cause == "speech"
        # Playback is in real time: what was heard is the time since it began, to the millisecond.
        assert interrupted.heard_ms == pytest.approx((told_at - playback_began) * 1000, abs=1)
        assert 3000 <= interrupted.heard_ms <= 3500
        at = seen.events.index(interrupted)
        assert all(event.response_id != interrupted.response_id for event in seen.events[at:] if event.type == "audio")
        first, second = seen.of("agent_end")
        assert (first.response_id, first.status, first.reason) == (
            interrupted.response_id, "cancelled", "turn_detected",
        )  # fmt: skip
        assert second.status == "completed"
        question, story, barge_in, answer = session.history
        assert story.content[0].heard_ms == interrupted.heard_ms
        assert 3 <= len(story.text.split()) <= 10
        assert (question.text, barge_in.text, answer.text) == (STORY, "What is 2 plus 3?", "2 plus 3 is 5.")
        (truncation,) = talk.of("conversation.item.truncate")
        assert (truncation["item_id"], truncation["audio_end_ms"]) == (story.item_id, interrupted.heard_ms)
        assert len(talk.of("conversation.item.truncated")) == 1
        assert talk.counts()["error"] == 0
        nursery.cancel_scope.cancel()


async def test_speech_after_playback_is_over_interrupts_nothing(autojump_clock, kit) -> None:
    async with (
        kit.talk(settings={"turn_detection": kit.SERVER_VAD}) as talk,
        talk.runner.session() as session,
        trio.open_nursery() as nursery,
    ):
        seen = kit.listener()
        nursery.start_soon(seen.listen, session)
        await session.send_message("What is 1 plus 1?")
        await seen.expect("agent_end")
        await session.wait_for_playback()
        await kit.speak(session)
        await seen.expect("agent_end", 2)
        assert not seen.of("audio_interrupted")
        assert not talk.of("conversation.item.truncate", "response.cancel")
        nursery.cancel_scope.cancel()


async def test_an_interrupt_by_the_app_and_the_next_turn(autojump_clock, kit) -> None:
    async with kit.talk() as talk, talk.runner.session() as session, trio.open_nursery() as nursery:
        seen = kit.listener()
        nursery.start_soon(seen.listen, session)
        await session.send_message(STORY)
        await seen.expect("audio")
        await trio.sleep(1.5)
        await session.interrupt()
        await session.interrupt()
        turn = await session.ask("What is 2 plus 3?")
        assert turn.text == "2 plus 3 is 5."
        (interrupted,) = seen.of("audio_interrupted")
        assert interrupted.heard_ms == 1500
        assert [each["audio_end_ms"] for each in talk.of("conversation.item.truncate")] == [1500]
        assert len(talk.of("response.cancel")) == 1
        assert talk.counts()["error"] == 0
        nursery.cancel_scope.cancel()


async def test_a_timeout_around_a_response_ends_it_on_the_server_at_what_was_heard(autojump_clock, kit) -> None:
    async with kit.talk() as talk, talk.runner.session() as session:
        with trio.move_on_after(2) as scope:
            async with session.respond(STORY) as response:
                async for chunk in response.audio:
                    await trio.sleep(len(chunk.data) / kit.BYTES_PER_MS / 1000)
        assert scope.cancelled_caught
        turn = await session.ask("What is 2 plus 3?")
        assert turn.text == "2 plus 3 is 5."
        done, _next = talk.of("response.done")
        assert done["response"]["status"] == "cancelled"
        (truncation,) = talk.of("conversation.item.truncate")
        assert 1700 <= truncation["audio_end_ms"] <= 2000
        story = session.history[1]
        assert story.content[0].heard_ms == truncation["audio_end_ms"]
        on_the_server = await session.retrieve_item(story.item_id)
        assert len(base64.b64decode(on_the_server.content[0].audio)) == truncation["audio_end_ms"] * kit.BYTES_PER_MS
        assert talk.counts()["error"] == 0


async def test_a_cancelled_ask_is_cancelled_on_the_server_and_nothing_was_heard(autojump_clock, kit) -> None:
    async with kit.talk() as talk, talk.runner.session() as session:
        with trio.move_on_after(1) as scope:
            await session.ask(STORY)
        assert scope.cancelled_caught
        await session.ask("What is 2 plus 3?")
        assert [done["response"]["status"] for done in talk.of("response.done")] == ["cancelled", "completed"]
        # Whoever asks for a whole turn plays nothing before it is complete.
        assert [each["audio_end_ms"] for each in talk.of("conversation.item.truncate")] == [0]


async def test_wait_for_playback_lasts_as_long_as_the_speech(autojump_clock, kit) -> None:
    async with kit.talk() as talk, talk.runner.session() as session:
        began = trio.current_time()
        audio = bytearray()
        async with session.respond("Count to 10.") as response:
            async for chunk in response.audio:
                if not audio:
                    began = trio.current_time()
                audio += chunk.data
            assert trio.current_time() - began < len(audio) / kit.BYTES_PER_MS / 1000 / 4
            await session.wait_for_playback()
        assert trio.current_time() - began == pytest.approx(len(audio) / kit.BYTES_PER_MS / 1000, abs=0.01)


async def test_wait_for_playback_does_not_wait_for_an_answer_that_nobody_takes(autojump_clock, kit) -> None:
    @output_guardrail
    async def no_refunds(context, agent, text) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered="refund" in text)

    brain = ScriptedBrain(["You get a refund today.", "I cannot promise that.", "And more.", "Goodbye."])
    async with (
        kit.talk(brain=brain, config={"output_guardrails": [no_refunds]}) as talk,
        talk.runner.session() as session,
    ):
        stopped = await session.ask("Hi")  # it trips while it plays, and the answer to that is the session's own
        with trio.fail_after(30):
            await session.wait_for_playback()
        assert [item.content[0].transcript for item in session.history if item.role == "assistant"] == [
            "",
            "I cannot promise that.",
        ]
        assert stopped.text == "You get a refund today."
        await session.ask("Go on.")
        began = trio.current_time()
        await session.wait_for_playback()
        assert trio.current_time() - began > 0.3, "what `ask` has given is waited for"


async def test_wait_for_playback_ends_when_the_last_consumer_goes_and_counts_a_new_one(autojump_clock, kit) -> None:
    async with kit.talk() as talk, talk.runner.session() as session, trio.open_nursery() as nursery:
        with session.subscribe("audio"):
            await session.send_message("Count to 10.")
            await trio.sleep(60)
            with trio.move_on_after(60) as waited:
                await session.wait_for_playback()
            assert waited.cancelled_caught, "it may still take the audio"
            nursery.start_soon(session.wait_for_playback)
            await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()
        assert not nursery.child_tasks
        await session.send_message("Count to 10.")
        with trio.fail_after(60):
            await session.wait_for_playback()  # until the answer is there
        answers = 0
        async for event in session:
            answers += event.type == "agent_end"
            if answers == 2:
                break
        began = trio.current_time()
        await session.wait_for_playback()
        assert trio.current_time() - began > 1


# ---- several --------------------------------------------------------------------------------------------------------


async def test_two_sessions_of_one_runner_share_nothing(autojump_clock, kit) -> None:
    async with (
        kit.talk(config={"raw_events": False}) as talk,
        talk.runner.session() as one,
        talk.runner.session() as two,
        trio.open_nursery() as nursery,
    ):
        seen = [kit.listener(), kit.listener()]
        nursery.start_soon(seen[0].listen, one)
        nursery.start_soon(seen[1].listen, two)
        await one.send_message(STORY)
        await two.send_message(STORY)
        for each in seen:
            await each.expect("audio")
        await trio.sleep(1)
        await one.interrupt()
        await two.update_settings({"instructions": "You are called Two."})
        await seen[1].expect("agent_end")
        assert seen[0].of("agent_end")[0].status == "cancelled"
        assert seen[1].of("agent_end")[0].status == "completed"
        assert not seen[1].of("audio_interrupted")
        assert one.settings["instructions"] == "Be brief."
        assert not {item.item_id for item in one.history} & {item.item_id for item in two.history}
        await one.close()
        assert (await two.ask("Who are you?")).text == "I am Two."
        nursery.cancel_scope.cancel()


async def test_each_of_several_consumers_sees_everything_it_asked_for(autojump_clock, kit) -> None:
    async with kit.talk() as talk, talk.runner.session() as session, trio.open_nursery() as nursery:
        everything, player, texts, second_loop = (kit.listener() for _ in range(4))
        nursery.start_soon(everything.listen, session)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(player.listen, session.subscribe("audio", "audio_end", playback=False))
        nursery.start_soon(texts.listen, session.subscribe("transcript_delta"))
        nursery.start_soon(second_loop.listen, session)
        await trio.testing.wait_all_tasks_blocked()
        turn = await session.ask("Count to 5.")
        await trio.testing.wait_all_tasks_blocked()
        for listener in (everything, player, second_loop):
            assert b"".join(event.audio.data for event in listener.of("audio")) == turn.audio
        for listener in (everything, texts, second_loop):
            assert "".join(event.delta for event in listener.of("transcript_delta")) == turn.text
        assert len(player.events) == len(player.of("audio", "audio_end"))
        nursery.cancel_scope.cancel()


# ---- settings and items ---------------------------------------------------------------------------------------------


async def test_settings_that_the_server_takes_refuses_and_changes(autojump_clock, kit) -> None:
    async with kit.talk() as talk, talk.runner.session() as session:
        acknowledged = await session.update_settings({"instructions": "You are called Ada.", "speed": 1.25})
        assert acknowledged["audio"]["output"]["speed"] == 1.25
        assert session.settings == acknowledged
        assert (await session.ask("Who are you?")).text == "I am Ada."
        # The voice is fixed once it has spoken.
        with pytest.raises(SettingsRefused) as caught:
            await session.update_settings({"voice": "verse"})
        assert caught.value.request == "session.update"
        assert "voice" in str(caught.value)
        assert session.settings == acknowledged
        assert (await session.ask("Who are you?")).text == "I am Ada."


async def test_a_setting_that_the_server_acknowledges_differently_is_named(autojump_clock, kit) -> None:
    async with kit.talk() as talk:
        talk.runner._model = _SettlesForCedar(talk.emulator.memory_model())
        async with talk.runner.session() as session, session.subscribe("settings_mismatch") as subscription:
            async for event in session:
                if event.type == "settings_mismatch":
                    break
            assert [str(each) for each in event.differences] == [
                "audio.output.voice: asked for 'ash', the server uses 'cedar'"
            ]
            await session.update_settings({"voice": "marin"})
            (difference,) = (await subscription.receive()).differences
            assert (difference.path, difference.requested, difference.acknowledged) == (
                "audio.output.voice", "marin", "cedar",
            )  # fmt: skip


async def test_a_setting_that_the_server_refuses_at_entry_is_named(autojump_clock, kit) -> None:
    settings = {"turn_detection": {"type": "server_vad", "extra": {"threshold": 7}}}
    async with kit.talk(settings=settings) as talk:
        with pytest.raises(SettingsRefused, match="threshold") as caught:
            async with talk.runner.session():
                pytest.fail("the body must not run")
        assert caught.value.param == "session.audio.input.turn_detection.threshold"
        await trio.testing.wait_all_tasks_blocked()
        assert talk.emulator.statistics().sessions_open == 0


async def test_items_are_made_placed_retrieved_cut_and_deleted(autojump_clock, kit) -> None:
    async with kit.talk() as talk, talk.runner.session() as session:
        note = await session.create_item("My name is Ada.")
        first = await session.create_item("Before that.", previous_item_id="root")
        turn = await session.ask("Count to 5.")
        (answer,) = turn.items
        assert [item.item_id for item in session.history][:2] == [first, note]
        retrieved = await session.retrieve_item(answer.item_id)
        assert retrieved.content[0].transcript == turn.text
        assert retrieved.content[0].audio
        await session.truncate_item(answer.item_id, audio_end_ms=700)
        assert session.history[-1].content[0].heard_ms == 700
        assert len(session.history[-1].text) < len(turn.text)
        await session.delete_item(note)
        assert note not in {item.item_id for item in session.history}
        with pytest.raises(ServerRefused, match=note):
            await session.retrieve_item(note)
        assert talk.counts()["error"] == 1


# ---- time -----------------------------------------------------------------------------------------------------------


async def test_a_user_who_says_nothing_is_asked(autojump_clock, kit) -> None:
    settings = {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 6000}}
    async with kit.talk(settings=settings) as talk, talk.runner.session() as session, trio.open_nursery() as nursery:
        seen = kit.listener()
        nursery.start_soon(seen.listen, session)
        await session.send_message("What is 1 plus 1?")
        await seen.expect("agent_end")
        await kit.speak(session, 0, 30_000)
        timeout = seen.of("input_audio_timeout_triggered")[0]
        assert timeout.audio_end_ms - timeout.audio_start_ms == pytest.approx(6000, abs=500)
        assert timeout.item_id in {item.item_id for item in session.history}
        assert "Are you still there?" in session.history[-1].text
        nursery.cancel_scope.cancel()


async def test_a_session_that_reaches_its_longest_duration_says_so(autojump_clock, kit) -> None:
    async with kit.talk(max_session_s=60.0) as talk, talk.runner.session() as session:
        began = trio.current_time()
        events = [event async for event in session]
        assert trio.current_time() - began == pytest.approx(60, abs=0.1)
        outcome = session.outcome
        assert (outcome.closed_by, outcome.code, outcome.expired, outcome.clean) == ("server", 1001, True, True)
        assert "maximum duration" in outcome.reason
        assert not any(event.type == "audio" for event in events)
        with pytest.raises(SessionClosed, match="maximum duration"):
            await session.send_message("Still there?")


async def test_half_an_hour_of_talk_stays_within_its_bounds(autojump_clock, kit) -> None:
    """A turn every 30 s, every third one interrupted: only history grows."""

    def held(session: RealtimeSession) -> dict[str, int]:
        state = session._driver.core._state
        statistics = session.statistics()
        return {
            "responses": len(state.responses),
            "calls": len(state.calls),
            "ledger": len(state.ledger),
            "sent content": len(state.sent_content),
            "replies": statistics.questions_open,
            "subscriptions": len(statistics.subscriptions),
            "followers": len(session._driver.followers),
            "queued events": sum(subscription.events_queued for subscription in statistics.subscriptions),
            "queued for the wire": statistics.send_queue.events_queued,
            "live responses": statistics.conversation.live_responses,
        }

    async with (
        kit.talk(config={"raw_events": False}) as talk,
        talk.runner.session() as session,
        trio.open_nursery() as nursery,
    ):
        interrupts = 0

        async def consume() -> None:
            nonlocal interrupts
            async for event in session:
                interrupts += event.type == "audio_interrupted"

        nursery.start_soon(consume)
        sizes = []
        for turn in range(60):
            next_turn_at = trio.current_time() + 30
            await session.send_message(STORY if turn % 3 == 0 else f"What is {turn} plus 1?")
            await trio.sleep(5)
            if turn % 3 == 0:
                await session.interrupt()
            await trio.sleep_until(next_turn_at)
            sizes.append(held(session))
        assert interrupts == 20
        assert len(session.history) == 120
        assert sizes[-1] == sizes[5]
        assert session.statistics().conversation.responses == 60
        assert talk.counts()["error"] == 0
        nursery.cancel_scope.cancel()


def test_two_runs_with_the_same_seed_are_the_same(kit) -> None:
    async def main() -> tuple[list[str], list[object]]:
        transcriber = ScriptedTranscriber(["Hello."])
        brain = ScriptedBrain(
            [Say("One."), Say("Two and three and four and five.")], then=DialogueBrain(random.Random(3))
        )
        events: list[str] = []
        async with (
            kit.talk(
                transcriber=transcriber, brain=brain, settings={"turn_detection": kit.SERVER_VAD},
                config={"raw_events": False},
            ) as talk,
            talk.runner.session() as session,
            trio.open_nursery() as nursery,
        ):  # fmt: skip
            seen = kit.listener()
            nursery.start_soon(seen.listen, session)
            await session.send_message("Hi")
            await seen.expect("agent_end")
            await kit.speak(session)
            await seen.expect("agent_end", 2)
            await session.send_message(STORY)
            await trio.sleep(2)
            await kit.speak(session)
            await seen.expect("agent_end", 4)
            for event, at in zip(seen.events, seen.times, strict=True):
                rest = getattr(event, "history", None) or getattr(event, "audio", None) or getattr(event, "item", "")
                place = getattr(event, "item_id", ""), getattr(event, "response_id", "")
                events.append(f"{at:.6f} {event.type} {place} {rest}")
            nursery.cancel_scope.cancel()
        return events, [(entry.at, entry.event) for _session, entry in talk.passed]

    first, second = (
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0), strict_exception_groups=True)
        for _ in range(2)
    )
    assert first == second
    assert len(first[0]) > 50


@attrs.frozen
class _SettlesForCedar:
    """A server that has one voice, whatever voice is asked for."""

    _model: RealtimeModel

    @asynccontextmanager
    async def connect(self, target: ConnectionTarget) -> AsyncIterator[Wire]:
        async with self._model.connect(target) as wire:
            yield _SettlesForCedarWire(wire)


class _SettlesForCedarWire:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.send, self.aclose, self.statistics = wire.send, wire.aclose, wire.statistics

    async def receive(self) -> str:
        event = json.loads(await self._wire.receive())
        if event["type"] == "session.updated":
            event["session"]["audio"]["output"]["voice"] = "cedar"
        return json.dumps(event)


async def test_without_barge_in_neither_side_cuts_an_answer(autojump_clock, kit) -> None:
    async with kit.talk(config={"barge_in": "off"}) as talk, talk.runner.session() as session:
        detection = session.settings["audio"]["input"]["turn_detection"]
        assert detection["interrupt_response"] is False
        acknowledged = await session.update_settings({"turn_detection": {"type": "server_vad"}})
        assert acknowledged["audio"]["input"]["turn_detection"]["interrupt_response"] is False
