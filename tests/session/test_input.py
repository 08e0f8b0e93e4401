"""What a session takes from the app, and what it refuses with which words."""

from __future__ import annotations

import base64

import numpy as np
import pytest
import trio
import trio.testing

from trealtime._session.model_shim import (
    RealtimeModelSendAudio,
    RealtimeModelSendInterrupt,
    RealtimeModelSendRawMessage,
    RealtimeModelSendSessionUpdate,
    RealtimeModelSendUserInput,
)
from trealtime._session.runner import RealtimeRunner
from trealtime.errors import AudioFormatError, ServerRefused, SessionClosed, SettingsError, SettingsRefused
from trealtime.tools.function_tool import function_tool


def sent_audio(connection) -> bytes:
    return b"".join(base64.b64decode(event["audio"]) for event in connection.of("input_audio_buffer.append"))


async def test_audio_goes_out_as_it_came_with_its_commit_right_behind(autojump_clock, service, runner) -> None:
    samples = np.arange(480, dtype=np.int16)
    async with runner.session() as session:
        await session.send_audio(b"\x01\x02" * 10)
        await session.send_audio(memoryview(b"\x03\x04"))
        await session.send_audio(samples, commit=True)
        await session.send_audio(b"")
        await session.clear_audio()
    assert sent_audio(service.last) == b"\x01\x02" * 10 + b"\x03\x04" + samples.astype("<i2").tobytes()
    assert [event["type"].rpartition(".")[2] for event in service.last.received[1:]] == [
        "append", "append", "append", "commit", "clear",
    ]  # fmt: skip


async def test_big_endian_samples_are_turned_round(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        await session.send_audio(np.array([1, 2], dtype=">i2"))
    assert sent_audio(service.last) == b"\x01\x00\x02\x00"


@pytest.mark.parametrize(
    "audio, error, words",
    [
        (b"\0\0\0", AudioFormatError, "whole samples"),
        (np.zeros(4, dtype=np.float32), AudioFormatError, "float32"),
        (np.zeros((4, 2), dtype=np.int16), AudioFormatError, "int16"),
        ("sound", TypeError, "str"),
        ([1, 2], TypeError, "list"),
    ],
)
async def test_audio_that_would_be_noise_is_refused(autojump_clock, service, runner, audio, error, words) -> None:
    async with runner.session() as session:
        with pytest.raises(error, match=words):
            await session.send_audio(audio)
        with pytest.raises(error, match=words):
            session.send_audio_nowait(audio)
    assert not service.last.of("input_audio_buffer.append")


async def test_audio_in_the_format_of_the_session(autojump_clock, service, make_runner) -> None:
    runner = make_runner(model_settings={"input_audio_format": "g711_ulaw"})
    async with runner.session() as session:
        await session.send_audio(b"\x01\x02\x03")
        with pytest.raises(AudioFormatError, match="g711_ulaw"):
            await session.send_audio(np.zeros(4, dtype=np.int16))
    assert sent_audio(service.last) == b"\x01\x02\x03"


async def test_send_audio_waits_and_send_audio_nowait_drops_when_the_uplink_is_stuck(
    autojump_clock, service, make_runner
) -> None:
    service.capacity = 1
    async with make_runner(input_buffer_s=1.0).session() as session:
        service.last.stop_reading()
        await trio.testing.wait_all_tasks_blocked()
        second = bytes(48_000)
        while session.send_audio_nowait(second):
            await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1) as scope:
            await session.send_audio(second)
        assert scope.cancelled_caught
        statistics = session.statistics().send_queue
        assert statistics.audio_refused == 1
        assert statistics.audio_queued_s <= 2


@pytest.mark.parametrize(
    "message, words",
    [
        ({"role": "user", "content": [{"type": "input_video", "video_url": "x"}]}, "input_video"),
        ({"role": "nobody", "content": []}, "nobody"),
        ({"content": [{"type": "input_text"}]}, r"content\[0\].text"),
        ({"content": [{"type": "input_image", "image_url": "http://x/y.png"}]}, "data URI"),
        (7, "a string"),
    ],
)
async def test_a_message_that_cannot_be_sent_is_refused_by_part(
    autojump_clock, service, runner, message, words
) -> None:
    async with runner.session() as session:
        with pytest.raises(SettingsError, match=words):
            await session.send_message(message)
        with pytest.raises(SettingsError, match=words):
            await session.ask(message)
    assert len(service.last.received) == 1


async def test_an_image_is_sent_with_its_detail(autojump_clock, service, runner) -> None:
    part = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}
    async with runner.session() as session:
        await session.send_message({"type": "message", "role": "user", "content": [part]})
        assert (await service.last.expect("conversation.item.create"))["item"]["content"] == [part]


async def test_raw_events_go_out_whole_in_both_spellings(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        await session.send_raw({"type": "input_audio_buffer.clear", "event_id": "mine"})
        message = {"type": "session.update", "other_data": {"session": {"type": "realtime", "instructions": "x"}}}
        await session.send_raw(message)
        for bad in ({}, {"type": None}, {"type": ""}):
            with pytest.raises(SettingsError, match="type"):
                await session.send_raw(bad)
        with pytest.raises(TypeError, match="object"):
            await session.send_raw({"type": "x", "y": object()})
    assert service.last.of("input_audio_buffer.clear")[0]["event_id"] == "mine"
    assert service.last.of("session.update")[1]["session"]["instructions"] == "x"


@pytest.mark.parametrize("event", [None, "response.create", 5, [("type", "response.create")], b"{}"])
async def test_a_raw_event_that_is_no_mapping_is_refused_where_it_is_sent(autojump_clock, runner, event) -> None:
    async with runner.session() as session:
        with pytest.raises(TypeError, match=r"event: got .*, allowed: a mapping"):
            await session.send_raw(event)


async def test_a_raw_response_create_waits_its_turn(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        await service.last.begin()
        await trio.testing.wait_all_tasks_blocked()
        await session.send_raw({"type": "response.create"})
        await trio.testing.wait_all_tasks_blocked()
        assert not service.last.of("response.create")
        await service.last.done()
        await service.last.expect("response.create")


async def test_the_sdk_way_to_send_past_the_session(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        for event in (
            RealtimeModelSendRawMessage(message={"type": "input_audio_buffer.clear"}),
            RealtimeModelSendUserInput("Hi"),
            RealtimeModelSendAudio(b"\0\0", commit=True),
            RealtimeModelSendSessionUpdate({"instructions": "x"}),
            RealtimeModelSendInterrupt(),
            RealtimeModelSendInterrupt(response_id="resp_x"),
        ):
            await session.model.send_event(event)
        with pytest.raises(TypeError, match="send_event"):
            await session.model.send_event("hello")
    types = {event["type"] for event in service.last.received}
    assert {"input_audio_buffer.clear", "conversation.item.create", "input_audio_buffer.commit"} <= types


# ---- what waits for the server --------------------------------------------------------------------------------------


async def test_settings_are_changed_when_the_server_says_so(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        acknowledged = await session.update_settings({"audio": {"output": {"speed": 1.2}}})
        assert acknowledged["audio"]["output"]["speed"] == 1.2
        assert session.settings["audio"]["output"]["speed"] == 1.2
        with pytest.raises(SettingsError, match="did you mean 'speed'"):
            await session.update_settings({"audio": {"output": {"sped": 1.2}}})


async def test_settings_without_a_json_form_are_refused_before_connecting(autojump_clock, service, runner) -> None:
    settings = {"extra": {"new": object()}}
    with pytest.raises(TypeError, match="settings"):
        async with runner.session(model_config={"initial_model_settings": settings}):
            pytest.fail("the body must not run")
    assert not service.connections
    async with runner.session() as session:
        with pytest.raises(TypeError, match="settings"):
            await session.update_settings(settings)


async def test_a_refused_change_raises_where_it_was_made(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        service.last.answers = False

        async def refuse() -> None:
            about = await service.last.expect("session.update", count=2)
            await service.last.error(code="cannot_update_voice", about=about, param="session.audio.output.voice")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(refuse)
            with pytest.raises(SettingsRefused, match="voice"):
                await session.update_settings({"voice": "marin"})


async def test_items_are_made_deleted_and_retrieved_when_the_server_says_so(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        item_id = await session.create_item("Remember this.", previous_item_id="root")
        assert [item.item_id for item in session.history] == [item_id]
        assert service.last.of("conversation.item.create")[0]["previous_item_id"] == "root"
        output = {"type": "function_call_output", "call_id": "c", "output": "3"}
        assert await session.create_item({**output, "id": "item_mine"}) == "item_mine"
        await session.delete_item(item_id)
        assert item_id not in [item.item_id for item in session.history]

        async def refuse() -> None:
            await service.last.error(
                code="item_not_found", about=await service.last.expect("conversation.item.retrieve")
            )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(refuse)
            with pytest.raises(ServerRefused) as caught:
                await session.retrieve_item("item_x")
        assert caught.value.code == "item_not_found"
        assert session.statistics().questions_open == 0


# ---- configuration --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config, words",
    [
        ({"modle_settings": {}}, "did you mean 'model_settings'"),
        ({"model_settings": {"voice": 3}}, "model_settings.voice"),
        ({"barge_in": "sometimes"}, "'immediate', 'off'"),
        ({"subscription_overflow": "explode"}, "drop_oldest_audio"),
        ({"tool_concurrency": 0}, "tool_concurrency"),
        (
            {"tool_execution": {"pre_approval_tool_input_guardrails": 1}},
            "tool_execution.pre_approval_tool_input_guardrails: got 1, allowed: True or False",
        ),
        ({"tool_error_formatter": 3}, "tool_error_formatter"),
        ({"after_tool": "sometimes"}, "'auto', 'always', 'never'"),
    ],
)
async def test_a_wrong_run_config_is_refused_when_the_runner_is_made(
    autojump_clock, make_runner, config, words
) -> None:
    with pytest.raises(SettingsError, match=words):
        make_runner(**config)


async def test_all_problems_of_a_model_config_come_at_once(autojump_clock, runner) -> None:
    with pytest.raises(SettingsError) as caught:
        await runner.run(model_config={"api_kee": "x", "headers": 3, "initial_model_settings": {"speed": 9}})
    assert {problem.path for problem in caught.value.problems} == {
        "api_kee", "headers", "initial_model_settings.speed",
    }  # fmt: skip


async def test_an_agent_is_needed(autojump_clock) -> None:
    with pytest.raises(TypeError, match="RealtimeAgent"):
        RealtimeRunner("agent")


async def test_layers_of_settings_win_in_order(autojump_clock, service, make_runner) -> None:
    runner = make_runner(model_settings={"model_name": "gpt-realtime", "voice": "ash", "speed": 0.9})
    model_config = {
        "initial_model_settings": {"speed": 1.1, "turn_detection": None},
        "url": "wss://x/y",
        "api_key": "k",
        "headers": {"a": "b"},
    }
    async with runner.session(model_config=model_config):
        sent = service.last.of("session.update")[0]["session"]
    assert sent["model"] == "gpt-realtime"
    assert sent["instructions"] == "Be brief."
    assert sent["audio"]["output"] == {"voice": "ash", "speed": 1.1, "format": {"type": "audio/pcm", "rate": 24000}}
    assert sent["audio"]["input"]["turn_detection"] is None
    target = service.last.target
    assert (target.model_name, target.url, target.api_key, dict(target.headers)) == (
        "gpt-realtime", "wss://x/y", "k", {"a": "b"},
    )  # fmt: skip


async def test_while_the_user_speaks_the_output_of_a_tool_gets_no_answer(autojump_clock, service, make_runner) -> None:
    @function_tool
    async def search() -> str:
        await trio.sleep(3)
        return "found"

    async with make_runner(tools=[search], model_settings={"turn_detection": None}).session() as session:
        await service.last.begin()
        await service.last.call("search", "{}")
        await service.last.done()
        await trio.sleep(1)
        with session.user_speaking():
            for _ in range(40):
                await session.send_audio(bytes(4800))
                await trio.sleep(0.1)
            await session.commit_audio()
            assert service.last.of("response.create") == []
        await service.last.send({"type": "input_audio_buffer.committed", "item_id": "item_u"})
        await service.last.expect("response.create")
        with session.user_speaking():
            await session.close()
    with pytest.raises(SessionClosed), session.user_speaking():
        pass
