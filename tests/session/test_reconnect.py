"""A lost connection is replaced, and the session goes on."""

from __future__ import annotations

import base64
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
)
from trealtime.errors import MissingApiKey, SettingsRefused
from trealtime.settings import ReconnectPolicy

from .conftest import Connection

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
