"""A lost connection is replaced, and the session goes on."""

from __future__ import annotations

import base64
import random
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing

from trealtime import (
    ConnectFailed,
    ConnectionLost,
    RealtimeAgent,
    RealtimeRunner,
    SettingsError,
    function_tool,
)
from trealtime.errors import MissingApiKey, SettingsRefused
from trealtime.settings import ReconnectPolicy
from trealtime.testing import MemoryEndpoint

from .conftest import SECOND, Connection

SPEECH = bytes(range(0, 240, 2)) * 400
"""One second of PCM16 with something in it."""


def told(connection) -> list[dict]:
    """The items that a connection was told."""
    return [event["item"] for event in connection.of("conversation.item.create")]


def said(connection) -> list[tuple[str, str]]:
    return [
        (item["role"], part.get("text") or part["type"])
        for item in told(connection)
        if item["type"] == "message"
        for part in item["content"]
    ]


def audio_of(connection) -> bytes:
    return b"".join(base64.b64decode(event["audio"]) for event in connection.of("input_audio_buffer.append"))


@pytest.fixture
def dial(service, monkeypatch):
    """``dial.refuse(...)``: what the next attempts to connect raise."""

    class Dial:
        def __init__(self) -> None:
            self.errors: list[BaseException] = []
            self.times: list[float] = []
            self.hangs = False

        def refuse(self, *errors: BaseException) -> None:
            self.errors += errors

    dial = Dial()
    connect = service.connect

    @asynccontextmanager
    async def connecting(target):
        dial.times.append(trio.current_time())
        if dial.hangs:
            await trio.sleep_forever()
        if dial.errors:
            raise dial.errors.pop(0)
        async with connect(target) as wire:
            yield wire

    monkeypatch.setattr(service, "connect", connecting)
    return dial


async def wait_for(session, *types: str):
    """The next event of one of these types, when all that follows from it has happened."""
    async with session.subscribe(*types) as events:
        with trio.fail_after(200):
            event = await events.receive()
    await trio.testing.wait_all_tasks_blocked()
    return event


# ---- between turns --------------------------------------------------------------------------------------------------


async def test_a_session_goes_on_after_a_loss_between_turns(autojump_clock, service, make_runner) -> None:
    runner = make_runner(reconnect={})
    async with runner.session() as session, trio.open_nursery() as nursery:
        nursery.start_soon(service.last.reply, "Hello there.")
        await session.ask("Hello")
        async with session.subscribe("connection_lost", "reconnecting", "reconnected") as events:
            service.connections[0].wire.drop()
            with trio.fail_after(10):
                found = [await events.receive() for _ in range(3)]
        await trio.testing.wait_all_tasks_blocked()
        assert [event.type for event in found] == ["connection_lost", "reconnecting", "reconnected"]
        assert (found[0].code, found[1].attempt) == (1006, 1)
        assert 0.125 <= found[1].delay_s <= 0.25
        assert found[2].outage_ms == pytest.approx(found[1].delay_s * 1000)
        second = service.connections[1]
        assert second.of("session.update")[0]["session"]["instructions"] == "Be brief."
        assert said(second) == [("user", "Hello"), ("assistant", "Hello there.")]
        assert [item["id"] for item in told(second)] == [item.item_id for item in session.history]
        befores = [event["previous_item_id"] for event in second.of("conversation.item.create")]
        assert befores == ["root", session.history[0].item_id]
        nursery.start_soon(partial(second.reply, "Fine.", id="resp_2"))
        turn = await session.ask("How are you?")
        assert (turn.text, turn.reconnected) == ("Fine.", False)
        assert 0 < turn.usage.replayed_tokens <= turn.usage.input_tokens
        assert session.usage.replayed_tokens == turn.usage.replayed_tokens
        assert [item.text for item in session.history] == ["Hello", "Hello there.", "How are you?", "Fine."]
        counted = session.statistics().connections
        assert (counted.losses, counted.attempts, counted.reconnects, counted.items_replayed) == (1, 1, 1, 2)
    assert [(each.code, each.closed_by) for each in session.outcome.connections] == [
        (1006, "network"),
        (1000, "client"),
    ]
    assert session.outcome.clean


async def test_a_loss_ends_the_session_where_nothing_says_otherwise(autojump_clock, service, runner) -> None:
    with pytest.raises(ConnectionLost):  # noqa: PT012  (the exit raises)
        async with runner.session() as session:
            service.last.wire.drop()
            await session.wait_closed()
    assert len(service.connections) == 1


async def test_a_close_in_order_is_no_loss(autojump_clock, service, make_runner) -> None:
    async with make_runner(reconnect={}).session() as session:
        await service.last.wire.aclose(1000)
        outcome = await session.wait_closed()
    assert (outcome.code, len(service.connections)) == (1000, 1)


async def test_everything_is_told_without_waiting(autojump_clock, service, make_runner) -> None:
    """100 items, and a server that acknowledges nothing before it has all of them."""
    async with make_runner(reconnect={}).session() as session:
        for number in range(100):
            await session.create_item(f"number {number}")
        service.answers = False
        service.last.wire.drop()
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(1)
        second = service.connections[1]
        assert [text for _, text in said(second)] == [f"number {number}" for number in range(100)]


async def test_what_is_sent_meanwhile_waits_and_keeps_its_order(autojump_clock, service, make_runner, dial) -> None:
    async with make_runner(reconnect={}).session() as session, trio.open_nursery() as nursery:
        dial.refuse(ConnectFailed("no route"), ConnectFailed("no route"))
        service.last.wire.drop()
        await wait_for(session, "connection_lost")
        made = []

        async def create() -> None:
            made.append(await session.create_item("one", previous_item_id="root"))

        nursery.start_soon(create)
        await trio.testing.wait_all_tasks_blocked()
        await session.send_message("two")
        assert not made
        assert len(service.connections) == 1
        await wait_for(session, "reconnected")
        second = service.connections[1]
        assert [text for _, text in said(second)] == ["one", "two"]
        assert len(second.of("response.create")) == 1
        assert made


async def test_settings_that_were_not_acknowledged_are_sent_again(autojump_clock, service, make_runner) -> None:
    async with make_runner(reconnect={}).session() as session, trio.open_nursery() as nursery:
        service.last.answers = False
        nursery.start_soon(session.update_settings, {"instructions": "Be long."})
        await service.last.expect("session.update", count=2)
        service.last.wire.drop()
        await wait_for(session, "reconnected")
        assert [each["instructions"] for each in service.connections[1].updates] == ["Be brief.", "Be long."]
    assert session.settings["instructions"] == "Be long."


async def test_callers_wait_for_room_meanwhile(autojump_clock, service, make_runner, dial) -> None:
    runner = make_runner(reconnect={}, send_queue_events=3)
    async with runner.session() as session, trio.open_nursery() as nursery:
        dial.refuse(*[ConnectFailed("no route")] * 3)
        service.last.wire.drop()
        await wait_for(session, "connection_lost")
        sent = []

        async def send() -> None:
            for number in range(10):
                await session.send_raw({"type": "conversation.item.create", "item": message(number)})
                sent.append(number)

        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        assert len(sent) == 4, "one more than the bound, as with a connection"
        await wait_for(session, "reconnected")
        assert [text for _, text in said(service.connections[1])] == [str(number) for number in range(10)]


def message(number: int) -> dict:
    content = [{"type": "input_text", "text": str(number)}]
    return {"id": f"item_{number}", "type": "message", "role": "user", "content": content}


async def test_a_tear_as_the_session_gets_ready_is_a_loss_of_an_open_session(
    autojump_clock, service, make_runner
) -> None:
    answer = Connection.answer

    async def answer_and_tear(self, event):
        await answer(self, event)
        if event["type"] == "session.update" and len(service.connections) == 1:
            self.wire.drop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "answer", answer_and_tear)
        async with make_runner(reconnect={}).session() as session:
            await wait_for(session, "reconnected")
            assert len(service.connections) == 2


# ---- attempts -------------------------------------------------------------------------------------------------------


async def test_attempts_wait_longer_and_longer(autojump_clock, service, make_runner, dial) -> None:
    runner = make_runner(reconnect={"base_delay_s": 1, "max_delay_s": 4})
    async with runner.session() as session:
        dial.refuse(*[ConnectFailed("no route")] * 4)
        lost_at = trio.current_time()
        service.last.wire.drop()
        await wait_for(session, "reconnected")
        waits = [after - before for before, after in zip([lost_at, *dial.times[1:]], dial.times[1:], strict=False)]
    for wait, most in zip(waits, [1, 2, 4, 4, 4], strict=True):
        assert most / 2 <= wait <= most


async def test_retry_after_is_obeyed(autojump_clock, service, make_runner, dial) -> None:
    async with make_runner(reconnect={}).session() as session:
        dial.refuse(
            ConnectFailed("busy", status=503, headers={"Retry-After": "7"}),
            ConnectFailed(
                "busy",
                status=429,
                headers={"retry-after": "Mon, 30 Nov 2026 10:00:20 GMT", "date": "Mon, 30 Nov 2026 10:00:00 GMT"},
            ),
        )
        service.last.wire.drop()
        await wait_for(session, "reconnected")
        first, second, third = dial.times[-3:]
        assert (second - first, third - second) == (7, 20)


@pytest.mark.parametrize(
    "error, attempts",
    [
        (ConnectFailed("no", status=401), 1),
        (ConnectFailed("no", status=404), 1),
        (ConnectFailed("no", status=429, body='{"error": {"code": "insufficient_quota"}}'), 1),
        (MissingApiKey("no key"), 1),
        (SettingsError([], what="headers"), 1),
        (ConnectFailed("no route"), 3),
        (ConnectFailed("no", status=502), 3),
        (RuntimeError("the token service is down"), 3),
    ],
)
async def test_an_error_that_waiting_does_not_mend_ends_the_session(
    autojump_clock, service, make_runner, dial, error, attempts
) -> None:
    runner = make_runner(reconnect=ReconnectPolicy(max_attempts=3))
    with pytest.raises(ConnectionLost) as caught:  # noqa: PT012  (the exit raises)
        async with runner.session() as session:
            dial.refuse(*[error] * 9)
            service.last.wire.drop()
            await session.wait_closed()
    notes = caught.value.__notes__
    assert len(notes) == attempts
    assert notes[0].startswith("attempt 1: ")
    assert caught.value.code == 1006
    assert session.outcome.attempts == tuple(notes)


async def test_callers_who_wait_meanwhile_learn_that_there_is_no_other_connection(
    autojump_clock, service, make_runner, dial
) -> None:
    async with make_runner(reconnect={"give_up_after_s": 5}).session() as session, trio.open_nursery() as nursery:
        dial.refuse(*[ConnectFailed("no route")] * 99)
        service.last.wire.drop()
        await wait_for(session, "connection_lost")
        raised = []

        async def call(method, *args) -> None:
            with pytest.raises(ConnectionLost):
                await method(*args)
            raised.append(method)

        for method, *args in [
            (session.create_item, "one"),
            (session.ask, "two"),
            (session.update_settings, {"instructions": "Be long."}),
            (session.retrieve_item, "item_x"),
        ]:
            nursery.start_soon(call, method, *args)
        await session.wait_closed()
        await trio.testing.wait_all_tasks_blocked()
        assert len(raised) == 4


async def test_attempts_end_with_the_time_that_is_given(autojump_clock, service, make_runner, dial) -> None:
    with pytest.raises(ConnectionLost):  # noqa: PT012  (the exit raises)
        async with make_runner(reconnect={"give_up_after_s": 20}).session() as session:
            dial.refuse(*[ConnectFailed("no route")] * 99)
            began = trio.current_time()
            service.last.wire.drop()
            await session.wait_closed()
    assert 10 <= trio.current_time() - began <= 20


async def test_a_dial_that_never_ends_is_given_up(autojump_clock, service, make_runner, dial) -> None:
    with pytest.raises(ConnectionLost) as caught:  # noqa: PT012  (the exit raises)
        async with make_runner(reconnect={"give_up_after_s": 20}).session() as session:
            dial.hangs = True
            service.last.wire.drop()
            with trio.fail_after(21):
                await session.wait_closed()
    assert "within the time" in caught.value.__notes__[-1]


async def test_a_connection_that_does_not_take_the_settings_in_time_is_a_failed_attempt(
    autojump_clock, service, make_runner
) -> None:
    async with make_runner(reconnect={}).session() as session:
        service.answers = False
        service.last.wire.drop()
        await wait_for(session, "reconnecting")
        event = None
        async with session.subscribe("reconnecting", "reconnected") as events:
            with trio.fail_after(30):
                event = await events.receive()
                assert (event.type, event.attempt) == ("reconnecting", 2)
                service.answers = True
                event = await events.receive()
        assert event.type == "reconnected"
        assert len(service.connections) == 3


async def test_refused_settings_end_the_session(autojump_clock, service, make_runner, nursery) -> None:
    with pytest.raises(ConnectionLost) as caught:  # noqa: PT012  (the exit raises)
        async with make_runner(reconnect={}).session() as session:
            service.answers = False

            async def refuse() -> None:
                await wait_for(session, "connection_lost")
                await trio.sleep(1)
                second = service.connections[1]
                update = await second.expect("session.update")
                await second.error(code="invalid_value", about=update, param="session.x")

            nursery.start_soon(refuse)
            await trio.testing.wait_all_tasks_blocked()
            service.connections[0].wire.drop()
            await session.wait_closed()
    assert "settings were refused" in caught.value.__notes__[-1]


async def test_a_setting_that_another_connection_refuses_is_left_out(
    autojump_clock, service, make_runner, nursery
) -> None:
    runner = make_runner(reconnect={}, model_settings={"max_output_tokens": 99})
    async with runner.session() as session, session.subscribe("error") as errors:
        service.answers = False
        service.last.wire.drop()
        await trio.sleep(1)
        second = service.connections[1]
        update = await second.expect("session.update")
        param = "session.max_output_tokens"
        await second.error(code="invalid_value", about=update, param=param)
        again = await second.expect("session.update", count=2)
        assert "max_output_tokens" in update["session"]
        assert "max_output_tokens" not in again["session"]
        assert again["session"]["instructions"] == "Be brief."
        second.answers = True
        await second.answer(again)
        assert (await errors.receive()).error.param == param
        await trio.testing.wait_all_tasks_blocked()
        assert not session._core.recovering


async def test_at_most_so_many_losses_are_made_good(autojump_clock, service, make_runner) -> None:
    with pytest.raises(ConnectionLost):  # noqa: PT012  (the exit raises)
        async with make_runner(reconnect={"max_reconnects": 2}).session() as session:
            for _ in range(2):
                service.last.wire.drop()
                await wait_for(session, "reconnected")
            service.last.wire.drop()
            await session.wait_closed()
    assert len(service.connections) == 3


async def test_a_session_can_be_left_while_its_connection_is_away(autojump_clock, service, make_runner, dial) -> None:
    async with make_runner(reconnect={}).session() as session:
        dial.refuse(*[ConnectFailed("no route")] * 99)
        service.last.wire.drop()
        await wait_for(session, "connection_lost")
    assert (session.outcome.closed_by, session.outcome.code) == ("client", 1006)
    assert not session.outcome.clean


# ---- in flight ------------------------------------------------------------------------------------------------------


async def test_an_answer_that_was_cut_is_continued(autojump_clock, service, make_runner) -> None:
    async with make_runner(reconnect={}).session() as session, trio.open_nursery() as nursery:
        turns = []

        async def ask() -> None:
            turns.append(await session.ask("Tell me a story."))

        nursery.start_soon(ask)
        first = service.connections[0]
        await first.begin(await first.expect("response.create"))
        await first.begin_item()
        await first.transcript("Once upon a time there was ")
        await first.audio(2.0, fill=1)
        first.wire.drop()
        event = await wait_for(session, "reconnected")
        assert event.response == "continued"
        second = service.connections[1]
        assert said(second) == [("user", "Tell me a story."), ("assistant", "Once upon a time there was ")]
        request = await second.expect("response.create")
        assert request["response"]["instructions"].startswith("Be brief.\n\n")
        assert '"Once upon a time there was"' in request["response"]["instructions"]
        await second.reply("a king.", id="resp_2")
    (turn,) = turns
    assert turn.text == "Once upon a time there was \na king." or turn.text == "Once upon a time there was a king."
    assert (turn.status, turn.reconnected, turn.response_id) == ("completed", True, "resp_2")
    assert len(turn.audio) == 3 * SECOND
    assert [item.text for item in session.history[1:]] == ["Once upon a time there was", "a king."]


async def test_an_answer_that_was_cut_can_be_dropped(autojump_clock, service, make_runner) -> None:
    runner = make_runner(reconnect={"on_cut": "drop"})
    async with runner.session() as session, session.respond("Tell me a story.") as response:
        first = service.connections[0]
        await first.begin(await first.expect("response.create"))
        await first.begin_item()
        await first.audio(0.2)
        first.wire.drop()
        result = await response.result()
        assert (result.status, result.reason) == ("incomplete", "connection_lost")
        event = await wait_for(session, "reconnected")
        assert event.response == "dropped"
        await trio.testing.wait_all_tasks_blocked()
        assert not service.connections[1].of("response.create")


async def test_a_request_that_nothing_has_answered_is_made_again(autojump_clock, service, make_runner) -> None:
    async with make_runner(reconnect={}).session() as session, trio.open_nursery() as nursery:
        turns = []

        async def ask() -> None:
            turns.append(await session.ask("Hello", instructions="In French."))

        nursery.start_soon(ask)
        await service.last.expect("response.create")
        service.last.wire.drop()
        await wait_for(session, "reconnected")
        second = service.connections[1]
        request = await second.expect("response.create")
        assert request["response"]["instructions"] == "In French."
        await second.reply("Bonjour.")
    assert (turns[0].text, turns[0].reconnected) == ("Bonjour.", True)


async def test_an_answer_of_which_only_the_end_is_missing_is_complete(autojump_clock, service, make_runner) -> None:
    async with make_runner(reconnect={}).session() as session, trio.open_nursery() as nursery:
        turns = []

        async def ask() -> None:
            turns.append(await session.ask("Hello"))

        nursery.start_soon(ask)
        first = service.last
        await first.begin(await first.expect("response.create"))
        await first.begin_item()
        await first.transcript("Hello there.")
        await first.audio(1.0)
        item = {
            "id": "item_a",
            "role": "assistant",
            "content": [{"type": "output_audio", "transcript": "Hello there."}],
        }
        await first.emit("response.output_item.done", response_id="resp_1", item=item)
        first.wire.drop()
        await wait_for(session, "reconnected")
        assert not service.connections[1].of("response.create")
    assert (turns[0].text, turns[0].status) == ("Hello there.", "completed")


async def test_an_interrupt_during_the_outage_is_applied(autojump_clock, service, make_runner, dial) -> None:
    async with make_runner(reconnect={}).session() as session, session.subscribe("audio") as audio:
        dial.refuse(*[ConnectFailed("no route")] * 3)
        await session.send_message("Tell me a story.")
        first = service.connections[0]
        await first.begin(await first.expect("response.create"))
        await first.begin_item()
        await first.transcript("Once upon a time there was a king who had a daughter and a son.")
        await first.audio(4.0)
        first.wire.drop()
        await wait_for(session, "connection_lost")
        for _ in range(20):
            await audio.receive()
        await trio.sleep(1)
        await session.interrupt()
        await wait_for(session, "reconnected")
        second = service.connections[1]
        assert not second.of("response.create")
        (_, heard) = said(second)[-1]
        assert heard == session.history[-1].text
        assert "Once upon a time".startswith(heard[:16])
        assert len(heard) < 30


async def test_audio_that_plays_on_and_is_interrupted_is_told_anew(autojump_clock, service, make_runner) -> None:
    """The answer was complete and still plays: the new connection has it as text, and cannot truncate it."""
    async with make_runner(reconnect={}).session() as session, session.subscribe("audio") as audio:
        await session.send_message("Tell me a story.")
        await service.last.reply("Once upon a time there was a king who had a daughter.", seconds=4.0)
        for _ in range(20):
            await audio.receive()
        item_id = session.history[-1].item_id
        service.last.wire.drop()
        await wait_for(session, "reconnected")
        await trio.sleep(1)
        await session.interrupt()
        await trio.testing.wait_all_tasks_blocked()
        second = service.connections[1]
        assert [event["item_id"] for event in second.of("conversation.item.delete")] == [item_id]
        assert not second.of("conversation.item.truncate")
        again = second.of("conversation.item.create")[-1]
        assert (again["item"]["id"], again["previous_item_id"]) == (item_id, session.history[0].item_id)
        assert again["item"]["content"][0]["text"] == session.history[-1].text != ""
        assert len(session.history) == 2


async def test_a_tool_runs_on_and_its_output_goes_to_the_new_connection(autojump_clock, service, make_runner) -> None:
    done = trio.Event()

    @function_tool
    async def look(thing: str) -> str:
        """Look at something."""
        await done.wait()
        return f"{thing} is red"

    async with make_runner(tools=[look], reconnect={}).session() as session, trio.open_nursery() as nursery:
        turns = []

        async def ask() -> None:
            turns.append(await session.ask("What colour is it?"))

        nursery.start_soon(ask)
        first = service.connections[0]
        await first.expect("response.create")
        await first.calls("look", arguments='{"thing": "it"}')
        await trio.testing.wait_all_tasks_blocked()
        first.wire.drop()
        await wait_for(session, "reconnected")
        second = service.connections[1]
        assert [item["type"] for item in told(second)] == ["message", "function_call"]
        done.set()
        assert await second.output() == "it is red"
        await second.reply("It is red.", id="resp_2")
    assert (turns[0].text, turns[0].reconnected) == ("It is red.", True)


async def test_calls_with_outputs_are_told_in_pairs(autojump_clock, service, make_runner) -> None:
    @function_tool
    async def look() -> str:
        """Look."""
        return "red"

    async with make_runner(tools=[look], reconnect={}).session() as session:
        await session.send_message("Look.")
        await service.last.expect("response.create")
        await service.last.calls("look")
        await service.last.output()
        await trio.testing.wait_all_tasks_blocked()
        service.last.wire.drop()
        await wait_for(session, "reconnected")
        second = service.connections[1]
        assert [item["type"] for item in told(second)] == ["message", "function_call", "function_call_output"]
        assert len(second.of("response.create")) == 1, "the answer to the output"


async def test_an_approval_stays_pending(autojump_clock, service, make_runner) -> None:
    @function_tool(needs_approval=True)
    async def pay() -> str:
        """Pay."""
        return "paid"

    async with make_runner(tools=[pay], reconnect={}).session() as session:
        await session.send_message("Pay.")
        await service.last.expect("response.create")
        await service.last.calls("pay")
        await wait_for(session, "tool_approval_required") if not session.pending_approvals else None
        service.last.wire.drop()
        await wait_for(session, "reconnected")
        (pending,) = session.pending_approvals
        await session.approve_tool_call(pending.call_id)
        assert await service.connections[1].output(pending.call_id) == "paid"


async def test_a_handoff_that_was_not_acknowledged_is_made_again(autojump_clock, service, run) -> None:
    clerk = RealtimeAgent(name="Clerk", instructions="You are the clerk.")
    runner = run(RealtimeAgent(name="Front", instructions="You are the front.", handoffs=[clerk]), reconnect={})
    async with runner.session() as session:
        await session.send_message("The clerk, please.")
        first = service.connections[0]
        await first.expect("response.create")
        first.answers = False
        await first.calls("transfer_to_clerk")
        await first.expect("session.update", count=2)
        first.wire.drop()
        await wait_for(session, "handoff")
        second = service.connections[1]
        assert [update["instructions"] for update in second.updates] == ["You are the front.", "You are the clerk."]
        assert session.current_agent is clerk
        assert "Clerk" in await second.output()


# ---- the user's audio -----------------------------------------------------------------------------------------------


async def test_the_turn_under_way_is_sent_again_whole(autojump_clock, service, make_runner, dial) -> None:
    async with make_runner(reconnect={}).session() as session:
        dial.refuse(ConnectFailed("no route"))
        spoken = b""

        async def speak(seconds: float) -> None:
            nonlocal spoken
            for _ in range(round(seconds * 50)):
                piece = random.Random(len(spoken)).randbytes(960)
                spoken += piece
                await session.send_audio(piece)
                await trio.sleep(0.02)

        await speak(1)
        first = service.connections[0]
        await first.emit("input_audio_buffer.speech_started", item_id="item_u", audio_start_ms=200)
        await speak(0.4)
        first.wire.drop()
        await speak(3)
        await trio.testing.wait_all_tasks_blocked()
        second = service.connections[1]
        assert audio_of(second) == spoken, "the words from before the loss, those of the outage, and those after it"
        counted = session.statistics().connections
        assert counted.audio_dropped_s == 0
        assert counted.audio_resent_s == pytest.approx(1.4 + counted.outage_s, abs=0.05)


async def test_a_turn_that_was_committed_is_told_by_its_audio_until_its_words_are_known(
    autojump_clock, service, make_runner
) -> None:
    async with make_runner(reconnect={}).session() as session:
        first = service.connections[0]
        await session.send_audio(SPEECH)
        await first.expect("input_audio_buffer.append")
        await first.emit("input_audio_buffer.speech_started", item_id="item_u", audio_start_ms=0)
        await first.emit("input_audio_buffer.speech_stopped", item_id="item_u", audio_end_ms=800)
        await first.emit("input_audio_buffer.committed", item_id="item_u")
        content = [{"type": "input_audio", "transcript": None}]
        item = {"id": "item_u", "type": "message", "role": "user", "content": content}
        await first.emit("conversation.item.added", item=item)
        await trio.testing.wait_all_tasks_blocked()
        first.wire.drop()
        await wait_for(session, "reconnected")
        second = service.connections[1]
        (item,) = told(second)
        assert base64.b64decode(item["content"][0]["audio"]) == SPEECH[: 800 * 48]
        assert audio_of(second) == SPEECH[800 * 48 :]
        assert len(second.of("response.create")) == 1, "the server owed an answer"
        await second.emit(
            "conversation.item.input_audio_transcription.completed", item_id="item_u", transcript="Hello there."
        )
        await trio.testing.wait_all_tasks_blocked()
        second.wire.drop()
        await wait_for(session, "reconnected")
        assert said(service.connections[2]) == [("user", "Hello there.")]


async def test_a_turn_that_was_committed_and_not_shown_is_told_too(autojump_clock, service, make_runner) -> None:
    async with make_runner(reconnect={}).session() as session:
        await session.send_audio(SPEECH)
        first = service.connections[0]
        await first.emit("input_audio_buffer.speech_started", item_id="item_u", audio_start_ms=0)
        await first.emit("input_audio_buffer.speech_stopped", item_id="item_u", audio_end_ms=1_000)
        await first.emit("input_audio_buffer.committed", item_id="item_u", previous_item_id=None)
        await trio.testing.wait_all_tasks_blocked()
        first.wire.drop()
        await wait_for(session, "reconnected")
        second = service.connections[1]
        await second.wait_received("response.create")
        (item,) = told(second)
        assert item["id"] == "item_u"
        assert base64.b64decode(item["content"][0]["audio"]) == SPEECH
        assert [each.item_id for each in session.history] == ["item_u"]


async def test_commits_of_the_app_come_after_their_audio(autojump_clock, service, make_runner, dial) -> None:
    settings = {"audio": {"input": {"turn_detection": None}}}
    runner = make_runner(reconnect={}, model_settings=settings)
    async with runner.session() as session:
        dial.refuse(ConnectFailed("no route"))
        await session.send_audio(SPEECH)
        service.last.wire.drop()
        await wait_for(session, "connection_lost")
        await session.send_audio(SPEECH[:9_600], commit=True)
        await session.create_response()
        await session.send_audio(SPEECH[:4_800])
        await wait_for(session, "reconnected")
        second = service.connections[1]
        kinds = [event["type"] for event in second.received if event["type"] != "session.update"]
        commit = kinds.index("input_audio_buffer.commit")
        sizes = [len(base64.b64decode(event["audio"])) for event in second.of("input_audio_buffer.append")]
        assert sum(sizes[:commit]) == len(SPEECH) + 9_600
        assert sum(sizes[commit:]) == 4_800
        assert kinds[-1] == "response.create"


async def test_a_source_that_is_no_microphone_waits(autojump_clock, service, make_runner, dial) -> None:
    """`send_audio` may be far ahead of real time: what has no room waits and is not dropped."""
    runner = make_runner(reconnect={"resend_buffer_s": 2})
    async with runner.session() as session, trio.open_nursery() as nursery:
        dial.refuse(*[ConnectFailed("no route")] * 4)
        service.last.wire.drop()
        await wait_for(session, "connection_lost")
        sent = []

        async def speak() -> None:
            for number in range(10):
                await session.send_audio(bytes([number]) * SECOND)
                sent.append(number)

        nursery.start_soon(speak)
        await trio.testing.wait_all_tasks_blocked()
        assert len(sent) == 3
        assert session.send_audio_nowait(bytes(960)) is False
        await wait_for(session, "reconnected")


async def test_an_endpoint_stays_attached(autojump_clock, service, make_runner) -> None:
    endpoint = MemoryEndpoint()
    async with make_runner(reconnect={}).session() as session, session.attach(endpoint):
        await endpoint.say(SPEECH)
        await service.last.expect("input_audio_buffer.append")
        await trio.sleep(0.1)
        service.last.wire.drop()
        await wait_for(session, "reconnected")
        assert audio_of(service.connections[1]) == SPEECH


# ---- refusals -------------------------------------------------------------------------------------------------------


async def test_a_refused_item_is_told_and_takes_no_other_with_it(autojump_clock, service, make_runner) -> None:
    async with make_runner(reconnect={}).session() as session:
        for number in range(4):
            await session.create_item(f"number {number}")
        service.answers = False
        service.last.wire.drop()
        await trio.sleep(1)
        second = service.connections[1]
        creates = [await second.expect("conversation.item.create", count=number + 1) for number in range(4)]
        async with session.subscribe("error") as errors:
            await second.answer(creates[0])
            for refused in creates[1:]:
                await second.error(code="invalid_value", about=refused)
            await trio.testing.wait_all_tasks_blocked()
            again = second.of("conversation.item.create")[4:]
            assert [event["item"]["content"][0]["text"] for event in again] == ["number 2", "number 3"]
            befores = [event["previous_item_id"] for event in again]
            assert befores == [creates[0]["item"]["id"], creates[2]["item"]["id"]]
            event = await errors.receive()
            assert event.error.code == "invalid_value"
            with trio.move_on_after(1):
                pytest.fail(f"a second error: {await errors.receive()}")
        assert session.statistics().connections.items_refused == 1
        assert len(session.history) == 4


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "policy, problem",
    [
        ({"max_attemps": 3}, "reconnect.max_attemps"),
        ({"give_up_after_s": -1}, "reconnect.give_up_after_s"),
        ({"max_attempts": 0}, "reconnect.max_attempts"),
        ({"on_cut": "repeat"}, "reconnect.on_cut"),
        ({"retry_on": [42]}, "reconnect.retry_on"),
        ({"retry_on": "network"}, "reconnect.retry_on"),
        ("yes", "reconnect"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(policy, problem) -> None:
    with pytest.raises(SettingsError) as caught:
        RealtimeRunner(RealtimeAgent(name="A"), config={"reconnect": policy})
    assert caught.value.problems[0].path == problem


async def test_a_model_that_cannot_connect_again_refuses_a_policy(autojump_clock, service, make_runner) -> None:
    service.reconnects = False
    with pytest.raises(SettingsError, match="cannot connect again"):
        await make_runner(reconnect={}).run()
    service.reconnects = True
    async with make_runner().session() as session:
        service.last.wire.drop()
        await wait_for(session, "reconnected")


# ---- what the server refuses for its own sake -----------------------------------------------------------------------


@pytest.fixture
def refuses_settings(service):
    """``refuses_settings(2)``: so many connections refuse their first settings, the next takes them."""

    async def refuse(connection: Connection) -> None:
        update = await connection.expect("session.update")
        error = {"type": "server_error", "code": None, "message": "Try again.", "event_id": update["event_id"]}
        await connection.emit("error", error=error)

    def begin(nursery: trio.Nursery, times: int) -> None:
        greet = service.greet

        def greet_and_refuse(connection: Connection):
            connection.answers = len(service.connections) > times
            if not connection.answers:
                nursery.start_soon(refuse, connection)
            return greet(connection)

        service.greet = greet_and_refuse

    return begin


async def test_first_settings_that_a_server_in_trouble_refuses_are_sent_on_another_connection(
    autojump_clock, service, make_runner, refuses_settings
) -> None:
    async with trio.open_nursery() as nursery:
        refuses_settings(nursery, 2)
        async with make_runner(reconnect={}).session() as session:
            assert len(service.connections) == 3
            assert service.last.updates[0]["instructions"] == "Be brief."
            nursery.start_soon(service.last.reply)
            assert (await session.ask("Hello")).text == "Hello there."


@pytest.mark.parametrize("reconnect, raises", [(None, SettingsRefused), ({"max_attempts": 2}, ConnectionLost)])
async def test_entering_ends_with_an_error_where_no_attempt_is_left(
    autojump_clock, service, make_runner, refuses_settings, reconnect, raises
) -> None:
    async with trio.open_nursery() as nursery:
        refuses_settings(nursery, 9)
        with pytest.raises(raises) as caught:
            async with make_runner(reconnect=reconnect).session():
                raise AssertionError("entered")
        nursery.cancel_scope.cancel()
    assert len(service.connections) == (1 if reconnect is None else 3)
    assert "Try again." in str(caught.value) + "".join(getattr(caught.value, "__notes__", ()))


async def test_the_answer_to_a_message_is_asked_for_again(autojump_clock, service, make_runner) -> None:
    async with make_runner().session() as session, session.subscribe("agent_end", "error") as events:
        await session.send_message("Hello")
        for number in range(3):
            request = await service.last.expect("response.create", count=number + 1)
            error = {"type": "server_error", "message": "Try again.", "event_id": request["event_id"]}
            await service.last.emit("error", error=error)
        refused_at = trio.current_time()
        request = await service.last.expect("response.create", count=4)
        assert trio.current_time() - refused_at == pytest.approx(4)
        await service.last.begin(request)
        await service.last.done()
        assert (await events.receive()).status == "completed"
