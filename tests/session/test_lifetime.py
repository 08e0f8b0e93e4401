"""How a session begins and ends, case by case."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing

from trealtime._session.runner import serve_realtime_session
from trealtime.errors import ConnectFailed, ConnectionLost, SessionClosed, SessionNotOpen, SettingsRefused


def task_count() -> int:
    root = trio.lowlevel.current_root_task()
    waiting = [root]
    count = 0
    while waiting:
        task = waiting.pop()
        count += 1
        for nursery in task.child_nurseries:
            waiting.extend(nursery.child_tasks)
    return count


# ---- entering -------------------------------------------------------------------------------------------------------


async def test_the_session_is_ready_when_created_and_acknowledged(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        assert service.last.received[0]["type"] == "session.update"
        assert session.settings["instructions"] == "Be brief."
        with pytest.raises(RuntimeError, match="entered before"):
            await session.__aenter__()


async def test_a_silent_server_fails_the_entry(autojump_clock, service, runner) -> None:
    service.greet = lambda connection: None
    service.answers = False
    began = trio.current_time()
    with pytest.raises(ConnectFailed, match="10 s"):
        async with runner.session():
            pytest.fail("the body must not run")
    assert trio.current_time() - began == pytest.approx(10, abs=0.1)
    assert service.left == 1


async def test_a_refused_setting_fails_the_entry_and_is_named(autojump_clock, service, runner, nursery) -> None:
    service.answers = False

    async def refuse() -> None:
        await service.connected.wait()
        await service.last.error(
            code="invalid_value", about=await service.last.expect("session.update"), param="session.audio.output.voice"
        )

    nursery.start_soon(refuse)
    with pytest.raises(SettingsRefused, match=r"session\.audio\.output\.voice"):
        async with runner.session():
            pytest.fail("the body must not run")
    assert (await service.last.expect_closed()).code == 1000


async def test_hanging_up_during_the_entry_is_a_lost_connection(autojump_clock, service, runner, nursery) -> None:
    service.answers = False

    async def hang_up() -> None:
        await service.connected.wait()
        await service.last.expect("session.update")
        await service.last.wire.aclose(1000, "no")

    nursery.start_soon(hang_up)
    with pytest.raises(ConnectionLost) as caught:
        async with runner.session():
            pytest.fail("the body must not run")
    assert (caught.value.code, caught.value.closed_by) == (1000, "server")


async def test_what_connecting_raises_comes_out_bare(autojump_clock, service, runner) -> None:
    class Refusing:
        def connect(self, target):
            raise ConnectFailed("HTTP 401", status=401)

    runner._model = Refusing()
    before = task_count()
    with pytest.raises(ConnectFailed, match="401"):
        async with runner.session():
            pytest.fail("the body must not run")
    assert task_count() == before


async def test_a_settings_mismatch_is_an_event(autojump_clock, service, runner, nursery) -> None:
    service.answers = False

    async def answer() -> None:
        await service.connected.wait()
        update = await service.last.expect("session.update")
        session = json.loads(json.dumps(update["session"]))
        session["audio"]["output"]["voice"] = "other"
        await service.last.send({"type": "session.updated", "session": session})

    nursery.start_soon(answer)
    async with runner.session() as session:
        async for event in session:
            if event.type == "settings_mismatch":
                break
        assert [each.path for each in event.differences] == ["audio.output.voice"]


# ---- misuse ---------------------------------------------------------------------------------------------------------


async def test_a_session_is_not_open_before_entry_and_closed_after(autojump_clock, service, runner) -> None:
    session = await runner.run()
    with pytest.raises(SessionNotOpen):
        await session.send_message("too early")
    with pytest.raises(SessionNotOpen):
        session.send_audio_nowait(b"\0\0")
    async with session:
        pass
    for call in (
        lambda: session.send_message("x"),
        lambda: session.send_audio(b"\0\0"),
        session.interrupt,
        session.commit_audio,
        session.clear_audio,
        session.create_response,
        session.cancel_response,
        session.wait_for_playback,
        lambda: session.ask("x"),
        lambda: session.create_item("x"),
        lambda: session.delete_item("x"),
        lambda: session.retrieve_item("x"),
        lambda: session.truncate_item("x", audio_end_ms=0),
        lambda: session.update_settings({"instructions": "x"}),
        lambda: session.send_raw({"type": "input_audio_buffer.clear"}),
    ):
        with pytest.raises(SessionClosed):
            await call()
    with pytest.raises(SessionClosed):
        session.subscribe("audio")
    with pytest.raises(RuntimeError, match="entered before"):
        async with session:
            pytest.fail("the body must not run")


async def test_enter_names_the_forms_that_exist(autojump_clock, service, runner) -> None:
    session = await runner.run()
    with pytest.raises(RuntimeError, match="serve_realtime_session"):
        await session.enter()
    with pytest.raises(SessionNotOpen):
        await session.close()


async def test_events_queued_at_the_end_are_still_delivered(autojump_clock, service, runner) -> None:
    session = await runner.run()
    async with session:
        pass
    assert "history_updated" in [event.type async for event in session]


# ---- what comes out -------------------------------------------------------------------------------------------------


async def test_a_users_exception_comes_out_bare_after_a_clean_close(autojump_clock, service, runner) -> None:
    before = task_count()
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with runner.session():
            raise error
    assert caught.value is error
    assert not getattr(error, "__notes__", [])
    assert service.last.closed.code == 1000
    assert task_count() == before


async def test_a_users_group_comes_out_unchanged(autojump_clock, service, runner) -> None:
    async def fail() -> None:
        raise KeyError("mine")

    with pytest.RaisesGroup(KeyError):
        async with runner.session(), trio.open_nursery() as nursery:
            nursery.start_soon(fail)


async def test_keyboard_interrupt_in_the_body_comes_out_bare(autojump_clock, service, runner) -> None:
    with pytest.raises(KeyboardInterrupt):
        async with runner.session():
            raise KeyboardInterrupt


async def test_a_lost_connection_comes_out_of_iteration_once(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        service.last.wire.drop()
        with pytest.raises(ConnectionLost) as caught:
            async for _event in session:
                pass
        assert (caught.value.code, caught.value.closed_by) == (1006, "network")
        assert [event async for event in session] == []
    assert session.outcome.closed_by == "network"


async def test_a_lost_connection_that_nobody_saw_comes_out_of_the_exit(autojump_clock, service, runner) -> None:
    with pytest.raises(ConnectionLost):  # noqa: PT012  (what a whole session raises)
        async with runner.session():
            service.last.wire.drop()
            await trio.testing.wait_all_tasks_blocked()


async def test_a_lost_connection_ends_every_feed_and_is_told_to_one(autojump_clock, service, runner) -> None:
    outcomes = []

    async def consume(subscription) -> None:
        try:
            async for _event in subscription:
                pass
            outcomes.append("end")
        except ConnectionLost:
            outcomes.append("lost")

    async with runner.session() as session, trio.open_nursery() as nursery:
        for subscription in (session.subscribe("audio"), session.subscribe(), session):
            nursery.start_soon(consume, subscription)
        await trio.testing.wait_all_tasks_blocked()
        service.last.wire.drop()
    assert sorted(outcomes) == ["end", "end", "lost"]


async def test_a_call_that_waits_for_an_answer_is_told_of_the_loss(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        async with trio.open_nursery() as nursery:
            for call in (
                lambda: session.retrieve_item("item_x"),
                lambda: session.ask("Hi"),
                lambda: session.truncate_item("item_x", audio_end_ms=3),
            ):

                async def expect(call=call) -> None:
                    with pytest.raises(ConnectionLost):
                        await call()

                nursery.start_soon(expect)
            await trio.testing.wait_all_tasks_blocked()
            service.last.wire.drop()
        with pytest.raises(ConnectionLost):
            await session.send_message("now?")


async def test_a_send_only_program_learns_of_the_loss(autojump_clock, service, runner) -> None:
    with pytest.raises(ConnectionLost):  # noqa: PT012  (what a whole session raises)
        async with runner.session() as session:
            for _ in range(100):
                await session.send_audio(bytes(960))
                await trio.sleep(0.02)
                if _ == 10:
                    service.last.wire.drop()
            pytest.fail("sending went on")


async def test_a_users_error_wins_over_a_loss_and_says_so_in_a_note(autojump_clock, service, runner) -> None:
    with pytest.raises(ValueError, match="mine") as caught:  # noqa: PT012  (what a whole session raises)
        async with runner.session():
            service.last.wire.drop()
            await trio.testing.wait_all_tasks_blocked()
            raise ValueError("mine")
    assert "ConnectionLost" in caught.value.__notes__[0]


async def test_a_bug_in_a_service_task_cancels_the_body_and_comes_out_bare(autojump_clock, service, runner) -> None:
    before = task_count()
    cleaned = False
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  (what a whole session raises)
        async with runner.session() as session:
            session._driver.core.receive = lambda *args: 1 / 0
            try:
                await service.last.send({"type": "rate_limits.updated", "rate_limits": []})
                await trio.sleep_forever()
            finally:
                cleaned = True
    assert cleaned
    assert task_count() == before


# ---- the server closes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001])
async def test_a_clean_close_by_the_server_ends_iteration(autojump_clock, service, runner, code) -> None:
    async with runner.session() as session:
        await service.last.wire.aclose(code, "bye")
        async for _event in session:
            pass
        assert (session.outcome.closed_by, session.outcome.code, session.outcome.reason) == ("server", code, "bye")
        assert not session.outcome.response_cut
        with pytest.raises(SessionClosed, match="bye"):
            await session.send_message("x")


@pytest.mark.parametrize("code", [1000, 1001])
async def test_a_close_that_cuts_an_answer_is_a_loss(autojump_clock, service, runner, code) -> None:
    async with runner.session() as session:
        await service.last.begin()
        await trio.testing.wait_all_tasks_blocked()
        await service.last.wire.aclose(code)
        with pytest.raises(ConnectionLost) as caught:
            async for _event in session:
                pass
    assert caught.value.response_cut
    assert session.outcome.response_cut


@pytest.mark.parametrize("code", [1008, 1009, 1011, 4000])
async def test_any_other_close_is_a_loss(autojump_clock, service, runner, code) -> None:
    with pytest.raises(ConnectionLost) as caught:  # noqa: PT012  (what a whole session raises)
        async with runner.session():
            await service.last.wire.aclose(code, "why")
            await trio.testing.wait_all_tasks_blocked()
    assert (caught.value.code, caught.value.reason, caught.value.closed_by) == (code, "why", "server")


async def test_expiry_is_an_outcome_of_its_own(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        await service.last.wire.aclose(1001, "Your session hit the maximum duration of 60 minutes.")
        async for _event in session:
            pass
    assert session.outcome.expired


# ---- frames ---------------------------------------------------------------------------------------------------------


async def test_frames_that_are_no_events_are_error_events_and_the_session_goes_on(
    autojump_clock, service, runner
) -> None:
    async with runner.session() as session, session.subscribe("error") as subscription:
        await service.last.wire.send("{not json")
        await service.last.wire.send_binary(b"\x00\x01")
        await service.last.send({"type": "brand.new", "x": None})
        await service.last.send({"type": "response.created", "response": None})
        assert "JSON" in str((await subscription.receive()).error)
        assert (await subscription.receive()).type == "error"
        await session.send_message("still here?")
        await service.last.expect("response.create")


# ---- the order of the end -------------------------------------------------------------------------------------------


async def test_leaving_cancels_the_answer_and_writes_the_outbox_before_the_close(
    autojump_clock, service, runner
) -> None:
    async with runner.session() as session:
        await service.last.begin()
        await trio.testing.wait_all_tasks_blocked()
        await session.send_audio(bytes(48_000))
        await session.send_message("last words")
    types = [event["type"] for event in service.last.received]
    assert sorted(types[1:]) == ["conversation.item.create", "input_audio_buffer.append", "response.cancel"]
    assert service.last.closed.code == 1000
    assert session.outcome.response_cut


async def test_the_bodys_finally_still_has_a_working_session_under_outer_cancellation(
    autojump_clock, service, runner
) -> None:
    with trio.move_on_after(1) as scope:
        async with runner.session() as session:
            try:
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(1, shield=True):
                    await trio.sleep(0.5)
                    await session.create_item("noted")
    assert scope.cancelled_caught
    assert service.last.of("conversation.item.create")
    assert service.last.closed.code == 1000


async def test_leaving_a_stuck_peer_is_bounded(autojump_clock, service, make_runner) -> None:
    service.capacity = 2
    runner = make_runner(close_timeout_s=2.0)
    before = task_count()
    async with runner.session() as session:
        service.last.stop_reading()
        for _ in range(10):
            await session.create_response(out_of_band=True)
        began = trio.current_time()
    assert trio.current_time() - began <= 3.0
    assert task_count() == before


async def test_close_from_the_body_ends_iteration_and_the_block_goes_on(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        await session.close()
        await session.close()
        assert [event async for event in session]
        assert service.last.closed.code == 1000
        with pytest.raises(SessionClosed):
            await session.send_message("x")
    assert session.outcome.closed_by == "client"


async def test_outer_cancellation_leaves_no_task_and_no_deadlock(autojump_clock, service, runner) -> None:
    before = task_count()
    with trio.move_on_after(5) as scope:
        async with runner.session() as session, trio.open_nursery() as nursery:
            nursery.start_soon(session.ask, "Hi")
            nursery.start_soon(session.wait_for_playback)
            async for _event in session:
                pass
    assert scope.cancelled_caught
    await trio.testing.wait_all_tasks_blocked()
    assert task_count() == before


async def test_a_served_session_lives_in_the_nursery_of_the_app(autojump_clock, service, runner) -> None:
    async with trio.open_nursery() as nursery:
        session = await nursery.start(serve_realtime_session, runner)
        await session.send_message("Hi")
        await service.last.expect("response.create")
        await session.close()
    assert session.outcome.code == 1000


async def test_cancelling_a_served_session_closes_it(autojump_clock, service, runner) -> None:
    async with trio.open_nursery() as nursery:
        session = await nursery.start(serve_realtime_session, runner)
        nursery.cancel_scope.cancel()
    assert service.last.closed.code == 1000
    assert session.outcome.closed_by == "client"


async def test_two_sessions_of_one_runner_live_side_by_side(autojump_clock, service, runner) -> None:
    async with runner.session() as one, runner.session() as two, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: service.connections[0].reply("First."))
        nursery.start_soon(lambda: service.connections[1].reply("Second."))
        assert (await one.ask("?")).text == "First."
        assert (await two.ask("?")).text == "Second."
        await one.close()
        await two.send_message("still here")
        await service.connections[1].expect("response.create", count=2)
