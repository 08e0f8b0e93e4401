"""Guardrails in a session: verdicts of real functions, what the app hears, what the server is told."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio
import trio.testing

from trealtime import (
    GuardrailFunctionOutput,
    RealtimeAgent,
    RealtimeRunner,
    SettingsError,
    function_tool,
    input_guardrail,
    output_guardrail,
)
from trealtime.errors import GuardrailFailed, InputGuardrailTripwireTriggered

PASS, TRIP = (GuardrailFunctionOutput(None, tripwire_triggered=tripped) for tripped in (False, True))


@output_guardrail
async def no_secrets(context: Any, agent: Any, text: str) -> GuardrailFunctionOutput:
    return TRIP if "secret" in text else PASS


@input_guardrail
async def on_topic(context: Any, agent: Any, text: str) -> GuardrailFunctionOutput:
    return TRIP if "homework" in text else PASS


async def collect_until_closed(session: Any, seen: list[Any]) -> None:
    async for event in session:
        seen.append(event)


async def test_b240_a_trip_stops_the_answer_and_the_model_is_asked_again(autojump_clock, service, make_runner) -> None:
    runner = make_runner(output_guardrails=[no_secrets], guardrails_settings={"debounce_text_length": 10})
    seen: list[Any] = []
    async with runner.session() as session, trio.open_nursery() as nursery:
        nursery.start_soon(collect_until_closed, session, seen)
        await session.send_message("Tell me.")
        server = service.last
        request = await server.expect("response.create")
        await server.begin(request)
        await server.begin_item()
        await server.transcript("The secret is")
        await server.audio(1.0)
        cancel = await server.expect("response.cancel")
        assert cancel["response_id"] == "resp_1"
        await server.audio(1.0)
        await server.done(status="cancelled", reason="client_cancelled")
        again = await server.expect("response.create", count=2)
        feedback = (await server.expect("conversation.item.create", count=2))["item"]
        assert (feedback["role"], "no_secrets" in feedback["content"][0]["text"]) == ("system", True)
        await server.begin(again, id="resp_2")
        await server.done(id="resp_2")
        await trio.testing.wait_all_tasks_blocked()
        await session.close()
    kinds = [event.type for event in seen]
    tripped = kinds.index("guardrail_tripped")
    assert not [each for each in seen[tripped:] if each.type == "audio"]
    assert [each.reason for each in seen if each.type == "agent_end"] == ["guardrail", None]
    assert session.statistics().guardrails.trips == 1


async def test_ask_tells_that_a_guardrail_stopped_the_answer(autojump_clock, service, make_runner) -> None:
    runner = make_runner(output_guardrails=[no_secrets], guardrails_settings={"recovery": None, "hold_back": True})

    async def answer() -> None:
        server = service.last
        await server.begin(await server.expect("response.create"))
        await server.begin_item()
        await server.transcript("The secret is " + "x" * 100)
        await server.audio(1.0)
        await server.expect("response.cancel")
        await server.done(status="cancelled", reason="client_cancelled")

    async with runner.session() as session, trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        turn = await session.ask("Tell me.")
    assert (turn.status, turn.reason, turn.audio) == ("cancelled", "guardrail", b"")


async def test_held_back_audio_reaches_ask_and_its_delay_is_measured(autojump_clock, service, make_runner) -> None:
    @output_guardrail
    async def slow(context: Any, agent: Any, text: str) -> GuardrailFunctionOutput:
        await trio.sleep(0.5)
        return PASS

    runner = make_runner(output_guardrails=[slow], guardrails_settings={"hold_back": True})
    async with runner.session() as session, trio.open_nursery() as nursery:
        nursery.start_soon(service.last.reply)
        began = trio.current_time()
        turn = await session.ask("Hi")
        assert trio.current_time() - began == pytest.approx(0.5)
        statistics = session.statistics().guardrails
    assert len(turn.audio) == 48_000
    assert statistics.last_hold.response_id == "resp_1"
    assert statistics.last_hold.max_ms == pytest.approx(500)
    assert statistics.audio_held == 0


async def test_b237_guardrails_run_side_by_side_and_report_in_their_order(autojump_clock, service, make_runner) -> None:
    """Ours: the peer runs them one after another, and sync ones hold up its loop (weak spot 44)."""

    def make(name: str, seconds: float) -> Any:
        @output_guardrail(name=name)
        async def check(context: Any, agent: Any, text: str) -> GuardrailFunctionOutput:
            await trio.sleep(seconds)
            return TRIP

        return check

    runner = make_runner(output_guardrails=[make("first", 3.0), make("second", 1.0), make("third", 2.0)])
    async with runner.session() as session, trio.open_nursery() as nursery:
        nursery.start_soon(service.last.reply)
        async with session.subscribe("guardrail_tripped") as subscription:
            await session.send_message("Hi")
            began = trio.current_time()
            event = await subscription.receive()
            assert trio.current_time() - began == pytest.approx(3.0)
        assert [each.guardrail.get_name() for each in event.guardrail_results] == ["first", "second", "third"]
        nursery.cancel_scope.cancel()


async def test_b238_a_guardrail_that_raises_is_skipped_and_told(service, make_runner) -> None:
    class Nameless:
        def __call__(self, context: Any, agent: Any, text: str) -> GuardrailFunctionOutput:
            raise ValueError("oops")

    @output_guardrail
    def no_verdict(context: Any, agent: Any, text: str) -> Any:
        return True

    runner = make_runner(output_guardrails=[output_guardrail(Nameless()), no_verdict, no_secrets])
    async with runner.session() as session, trio.open_nursery() as nursery:
        nursery.start_soon(service.last.reply, "The secret.")
        async with session.subscribe("guardrail_tripped", "error") as subscription:
            await session.send_message("Hi")
            events = [await subscription.receive() for _ in range(3)]
        nursery.cancel_scope.cancel()
    failures = {event.error.guardrail_name: event.error for event in events[:2]}
    assert set(failures) == {"Nameless", "no_verdict"}
    assert isinstance(failures["Nameless"], GuardrailFailed)
    assert isinstance(failures["Nameless"].__cause__, ValueError)
    assert isinstance(failures["no_verdict"].__cause__, TypeError)
    assert [each.guardrail for each in events[2].guardrail_results] == [no_secrets]


async def test_b239_a_guardrail_that_raises_a_group_is_skipped_too(autojump_clock, service, make_runner) -> None:
    """Ours: what a guardrail raises never gets out of its check, so there is no task that could fail."""

    @output_guardrail
    async def grouped(context: Any, agent: Any, text: str) -> GuardrailFunctionOutput:
        raise ExceptionGroup("several", [ValueError("a"), KeyError("b")])

    runner = make_runner(output_guardrails=[grouped])
    async with runner.session() as session, trio.open_nursery() as nursery:
        nursery.start_soon(service.last.reply)
        async with session.subscribe("error") as subscription:
            turn = await session.ask("Hi")
            assert isinstance((await subscription.receive()).error, GuardrailFailed)
    assert turn.status == "completed"


@pytest.mark.parametrize("on_failure, audio", [("skip", 48_000), (None, 0)])
async def test_a_guardrail_that_takes_too_long_is_skipped_or_stops_what_it_holds_back(
    autojump_clock, service, make_runner, on_failure, audio
) -> None:
    @output_guardrail
    async def stuck(context: Any, agent: Any, text: str) -> GuardrailFunctionOutput:
        await trio.sleep_forever()
        raise AssertionError

    settings = {"hold_back": True, "timeout_s": 2, "on_failure": on_failure, "recovery": None}
    runner = make_runner(output_guardrails=[stuck], guardrails_settings=settings)
    async with runner.session() as session, trio.open_nursery() as nursery:
        nursery.start_soon(service.last.reply)
        async with session.subscribe("error") as subscription:
            turn = await session.ask("Hi")
            assert "longer than 2 s" in str((await subscription.receive()).error)
    assert len(turn.audio) == audio


async def test_a_guardrail_that_never_returns_holds_up_nothing_and_what_the_others_say_counts(
    service, make_runner
) -> None:
    stuck, asked = threading.Event(), threading.Event()

    @output_guardrail
    def hangs(context: Any, agent: Any, text: str) -> GuardrailFunctionOutput:
        asked.set()
        stuck.wait(20)
        return GuardrailFunctionOutput("late", tripwire_triggered=True)

    settings = {"timeout_s": 0.05, "recovery": None, "debounce_text_length": 5}
    runner = make_runner(output_guardrails=[hangs, no_secrets], guardrails_settings=settings)
    with trio.fail_after(15):
        async with runner.session() as session, session.subscribe("error", "guardrail_tripped") as subscription:
            server = service.last
            await server.begin()
            await server.begin_item()
            await server.transcript("The secret is out.")
            failure, trip = await subscription.receive(), await subscription.receive()
            assert "cannot be stopped" in str(failure.error)
            assert [result.guardrail for result in trip.guardrail_results] == [no_secrets]
            assert asked.is_set()
            stuck.set()


async def test_a_sync_guardrail_runs_in_a_thread(service, make_runner) -> None:
    threads: list[int] = []

    @output_guardrail
    def check(context: Any, agent: Any, text: str) -> GuardrailFunctionOutput:
        threads.append(threading.get_ident())
        return PASS

    runner = make_runner(output_guardrails=[check], guardrails_settings={"hold_back": True})
    async with runner.session() as session, trio.open_nursery() as nursery:
        nursery.start_soon(service.last.reply)
        with trio.fail_after(10):
            await session.ask("Hi")
    assert threads
    assert threading.get_ident() not in threads


async def test_a_slow_guardrail_holds_up_neither_audio_nor_the_end(autojump_clock, service, make_runner) -> None:
    ended: list[str] = []

    @output_guardrail
    async def slow(context: Any, agent: Any, text: str) -> GuardrailFunctionOutput:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(text)
        raise AssertionError

    runner = make_runner(output_guardrails=[slow], guardrails_settings={"timeout_s": 1000})
    began = trio.current_time()
    async with runner.session() as session, trio.open_nursery() as nursery:
        nursery.start_soon(service.last.reply)
        turn = await session.ask("Hi")
        assert len(turn.audio) == 48_000
        assert session.statistics().guardrails.checks_open == 1
    assert ended == ["Hello there."]
    assert trio.current_time() == began


async def test_guardrails_get_the_run_context_and_the_agent(autojump_clock, service) -> None:
    seen: list[Any] = []

    @output_guardrail
    async def look(context: Any, agent: Any, text: str) -> GuardrailFunctionOutput:
        seen.append((context.context, agent, text))
        return PASS

    agent = RealtimeAgent(name="Assistant", output_guardrails=[look])
    async with (
        RealtimeRunner(agent, model=service).session(context={"user": 7}) as session,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(service.last.reply)
        await session.ask("Hi")
        await trio.testing.wait_all_tasks_blocked()
    assert seen == [({"user": 7}, agent, "Hello there.")]


# ---- input ----------------------------------------------------------------------------------------------------------


async def test_a_question_that_trips_is_not_answered_and_ask_says_so(autojump_clock, service, make_runner) -> None:
    runner = make_runner(input_guardrails=[on_topic])
    async with runner.session() as session:
        with pytest.raises(InputGuardrailTripwireTriggered, match="on_topic") as caught:
            await session.ask("Do my homework.")
        assert caught.value.guardrail_result.user_input == "Do my homework."
        await service.last.expect("conversation.item.delete")
        assert not service.last.of("response.create")
        await trio.testing.wait_all_tasks_blocked()
        assert session.history == []


async def test_a_turn_is_answered_by_the_session_after_its_check(autojump_clock, service, make_runner) -> None:
    runner = make_runner(input_guardrails=[on_topic])
    async with runner.session() as session:
        server = service.last
        detection = server.session["audio"]["input"]["turn_detection"]
        assert detection["create_response"] is False
        transcription = "conversation.item.input_audio_transcription.completed"
        for item_id, words in (("item_1", "my homework"), ("item_2", "the weather")):
            await server.send({"type": "input_audio_buffer.speech_stopped", "item_id": item_id, "audio_end_ms": 900})
            await server.send({"type": "input_audio_buffer.committed", "item_id": item_id})
            await trio.testing.wait_all_tasks_blocked()
            assert not server.of("response.create")
            await server.send({"type": transcription, "item_id": item_id, "content_index": 0, "transcript": words})
        await server.expect("response.create")
        assert [event["item_id"] for event in server.of("conversation.item.delete")] == ["item_1"]
        assert len(server.of("response.create")) == 1
        assert session.statistics().guardrails.trips == 1


async def test_input_guardrails_need_the_words_of_the_user(autojump_clock, service, make_runner) -> None:
    runner = make_runner(input_guardrails=[on_topic])
    silent = {"initial_model_settings": {"input_audio_transcription": None}}
    with pytest.raises(SettingsError, match=r"audio\.input\.transcription"):
        async with runner.session(model_config=silent):
            pass
    async with runner.session() as session:
        with pytest.raises(SettingsError, match=r"audio\.input\.transcription"):
            await session.update_settings({"input_audio_transcription": None})


# ---- declarations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"debounce_text_length": 0}, "at least 1"),
        ({"recovery": "assistant"}, "'system', 'user' or None"),
        ({"debounce": 10}, "debounce_text_length"),
        ({"hold_back": 1}, "True or False"),
    ],
)
def test_wrong_guardrails_settings_are_refused_with_their_key(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match="guardrails_settings") as caught:
        RealtimeRunner(RealtimeAgent(name="a"), config={"guardrails_settings": settings})
    assert words in str(caught.value)


def test_what_is_no_guardrail_is_refused() -> None:
    with pytest.raises(TypeError, match=r"output_guardrails\[0\].*@output_guardrail"):
        RealtimeAgent(name="a", output_guardrails=[lambda context, agent, text: PASS])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="input_guardrails"):
        RealtimeAgent(name="a", input_guardrails=on_topic)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"output_guardrails\[0\]"):
        RealtimeRunner(RealtimeAgent(name="a"), config={"output_guardrails": [on_topic]})


@pytest.mark.parametrize("kind", ["output", "input"])
async def test_a_ctrl_c_in_a_guardrail_comes_out_of_the_session_bare(
    autojump_clock, service, make_runner, kind
) -> None:
    async def interrupted(context: Any, agent: Any, text: str) -> GuardrailFunctionOutput:
        raise KeyboardInterrupt

    guardrail = output_guardrail(interrupted) if kind == "output" else input_guardrail(interrupted)
    runner = make_runner(**{f"{kind}_guardrails": [guardrail, no_secrets if kind == "output" else on_topic]})

    async def talk() -> None:
        async with runner.session() as session:
            await session.send_message("Hi")
            if kind == "output":
                await service.last.reply()
            await trio.sleep(3)

    with pytest.raises(KeyboardInterrupt):
        await talk()


class Markup(str):
    """Text of a template engine."""


async def test_text_of_any_class_is_sent_as_text(autojump_clock, service, make_runner) -> None:
    @function_tool
    async def look_up() -> str:
        """Look it up."""
        return Markup("found")

    agent = RealtimeAgent(name="Assistant", tools=[look_up], instructions=Markup("Be brief."))
    async with RealtimeRunner(agent, model=service).session() as session:
        server = service.last
        assert server.session["instructions"] == "Be brief."
        await session.send_message(Markup("Hi"))
        message = (await server.expect("conversation.item.create"))["item"]
        assert message["content"] == [{"type": "input_text", "text": "Hi"}]
        await server.begin(await server.expect("response.create"))
        await server.call("look_up", "{}")
        await server.done()
        output = (await server.expect("conversation.item.create", count=2))["item"]
        assert output["output"] == "found"


async def test_a_verdict_that_says_neither_yes_nor_no_is_a_failure(autojump_clock, service, make_runner) -> None:
    async def forgets(context: Any, agent: Any, text: str) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(None, tripwire_triggered=None)  # type: ignore[arg-type]

    runner = make_runner(input_guardrails=[input_guardrail(forgets)], guardrails_settings={"on_failure": "block"})
    async with runner.session() as session, session.subscribe("error", "guardrail_tripped") as subscription:
        await session.send_message("Hi")
        assert "allowed: True or False" in str((await subscription.receive()).error)
        assert (await subscription.receive()).type == "guardrail_tripped"
