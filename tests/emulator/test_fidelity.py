"""Where servers that copy the protocol are known to differ from it: each point has a test that names it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Message, Request, TextMessage
from wsproto.extensions import PerMessageDeflate

from trealtime import RealtimeAgent, RealtimeRunner, function_tool
from trealtime.emulator import EmulatorLimits, Faults, ScriptedBrain, ScriptedTranscriber, open_emulator
from trealtime.emulator.brain import CallFunction
from trealtime.errors import ConnectFailed
from trealtime.testing import called, said
from trealtime.transport.dial import open_websocket_wire
from trealtime.transport.wire import WireClosed

MANUAL = {"audio": {"input": {"turn_detection": None}}}
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}


def updated(engine: Any, session: dict[str, Any]) -> dict[str, Any]:
    (event,) = engine("session.update", {"session": {"type": "realtime"} | session})
    assert event["type"] == "session.updated"
    return dict(event["session"])


# ---- partial session updates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "alone",
    [{"tools": [TOOL]}, {"instructions": "Be quick."}, {"tool_choice": "none"}, {"max_output_tokens": 50}],
)
def test_an_update_of_one_thing_alone_leaves_all_the_rest(kit: Any, alone: dict[str, Any]) -> None:
    engine = kit.engine()
    before = updated(engine, {"instructions": "Be brief.", "tools": [{**TOOL, "name": "find"}], **MANUAL})
    assert updated(engine, alone) == before | alone


def test_an_update_of_nothing_changes_nothing(kit: Any) -> None:
    engine = kit.engine()
    assert updated(engine, {}) == updated(engine, {})


def test_turn_detection_null_makes_turns_manual_and_stays_so(kit: Any) -> None:
    engine = kit.engine()
    assert updated(engine, MANUAL)["audio"]["input"]["turn_detection"] is None
    later = updated(engine, {"audio": {"input": {"noise_reduction": {"type": "near_field"}}}})
    assert later["audio"]["input"]["turn_detection"] is None
    audio = kit.b64(kit.pcm(700, loud=True) + kit.pcm(1_500))
    assert engine("input_audio_buffer.append", {"audio": audio}) == []


# ---- items ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "item_id", ["x", "msg 1", "a/b.c:d", "größe-1", "0", "6f1c0f6e-6d1f-4b5e-9c1a-0d1e2f3a4b5c", "i" * 512]
)
def test_clients_choose_item_ids_of_any_form(kit: Any, item_id: str) -> None:
    engine = kit.engine()
    content = [{"type": "input_text", "text": "Hello"}]
    item = {"type": "message", "role": "user", "id": item_id, "content": content}
    added, done = engine("conversation.item.create", {"item": item})
    assert added["item"]["id"] == done["item"]["id"] == item_id
    (retrieved,) = engine("conversation.item.retrieve", {"item_id": item_id})
    assert retrieved["item"]["id"] == item_id
    after, _ = engine("conversation.item.create", {"previous_item_id": item_id, "item": {**item, "id": "second"}})
    assert after["previous_item_id"] == item_id


async def spoken_item(client: Any) -> str:
    """The id of an answer that has been spoken."""
    await client.send("response.create")
    done = await client.get("response.done")
    return str(done["response"]["output"][0]["id"])


@pytest.mark.parametrize("end_ms", [0, 1, 500])
async def test_a_truncated_item_is_retrieved_with_what_was_heard(
    kit: Any, end_ms: int, autojump_clock: MockClock
) -> None:
    async with kit.client(brain=ScriptedBrain(["A long story about a short day."])) as client:
        item_id = await spoken_item(client)
        fields = {"item_id": item_id, "content_index": 0, "audio_end_ms": end_ms}
        await client.send("conversation.item.truncate", fields)
        truncated = await client.get("conversation.item.truncated")
        assert {name: truncated[name] for name in fields} == fields
        await client.send("conversation.item.retrieve", {"item_id": item_id})
        (part,) = (await client.get("conversation.item.retrieved"))["item"]["content"]
    assert len(base64.b64decode(part["audio"])) == end_ms * 48
    assert "transcript" not in part


# ---- responses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["completed", "cancelled", "failed"])
async def test_metadata_is_in_every_response_object(kit: Any, end: str, autojump_clock: MockClock) -> None:
    class Broken:
        async def reply(self, request: Any) -> Any:
            raise ZeroDivisionError

    brain = Broken() if end == "failed" else ScriptedBrain(["A long story about a short day."])
    async with kit.client(brain=brain) as client:
        await client.send("response.create", {"response": {"metadata": {"topic": "day"}}})
        await client.get("response.created")
        if end == "cancelled":
            await client.get("response.output_audio.delta")
            await client.send("response.cancel")
        await client.get("response.done")
    objects = [event["response"] for event in client.seen if "response" in event]
    assert [(each["status"], each["metadata"]) for each in objects] == [
        ("in_progress", {"topic": "day"}),
        (end, {"topic": "day"}),
    ]


async def test_out_of_band_responses_run_next_to_the_default_one(kit: Any, autojump_clock: MockClock) -> None:
    async with kit.client(brain=ScriptedBrain(["A long story about a short day."] * 3)) as client:
        await client.send("response.create")
        for topic in ("one", "two"):
            aside = {"conversation": "none", "output_modalities": ["text"], "metadata": {"topic": topic}, "input": []}
            await client.send("response.create", {"response": aside})
        await client.rest()
    created = [event["response"] for event in client.seen if event["type"] == "response.created"]
    done = [event["response"] for event in client.seen if event["type"] == "response.done"]
    assert [each["conversation_id"] is None for each in created] == [False, True, True]
    assert {each["status"] for each in done} == {"completed"}
    first_done = next(index for index, event in enumerate(client.seen) if event["type"] == "response.done")
    assert len([event for event in client.seen[:first_done] if event["type"] == "response.created"]) == 3
    (item,) = [event["item"] for event in client.seen if event["type"] == "conversation.item.added"]
    in_conversation = {each["id"] for each in done if each["conversation_id"] is not None}
    assert item["id"] in {part["id"] for each in done if each["id"] in in_conversation for part in each["output"]}


def order(client: Any, *kinds: str) -> list[str]:
    return [event["type"] for event in client.seen if event["type"] in kinds]


ADDED = ("response.output_item.added", "conversation.item.added")
DONE = ("response.output_item.done", "conversation.item.done")
END = ("response.done", "rate_limits.updated")


@pytest.mark.parametrize("event_order", ["usual", "other"])
async def test_both_orders_that_the_protocol_allows_can_be_had(
    kit: Any, event_order: str, autojump_clock: MockClock
) -> None:
    async with kit.client(brain=ScriptedBrain(["Hello."]), event_order=event_order) as client:
        await client.send("response.create")
        await client.rest()
    for pair in (ADDED, DONE, END):
        assert order(client, *pair) == list(pair if event_order == "usual" else reversed(pair))


@pytest.mark.parametrize("event_order", ["usual", "other"])
async def test_a_session_comes_to_the_same_with_both_orders(event_order: Any, autojump_clock: MockClock) -> None:
    @function_tool
    async def look(at: str) -> str:
        """Look."""
        return f"seen {at}"

    brain = ScriptedBrain([CallFunction("look", '{"at": "it"}'), "There it is."])
    async with open_emulator(listen=False, seed=1, brain=brain, event_order=event_order) as emulator:
        agent = RealtimeAgent(name="Assistant", tools=[look])
        async with RealtimeRunner(agent, model=emulator.memory_model()).session() as session:
            assert (await session.ask("Where is it?")).text == "There it is."
    assert [item.type for item in session.history] == ["message", "function_call", "message"]
    called(session, "look", at="it")
    said(session, "There it is")


# ---- transcription sessions -----------------------------------------------------------------------------------------


async def test_a_transcription_session_transcribes_and_makes_no_responses(kit: Any, autojump_clock: MockClock) -> None:
    async with kit.client(
        connect={"intent": "transcription"}, transcriber=ScriptedTranscriber(["Good evening."])
    ) as client:
        created = client.seen[0]["session"]
        assert (created["type"], created["object"]) == ("transcription", "realtime.transcription_session")
        session = {"type": "transcription", "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}}
        await client.send("session.update", {"session": session})
        await client.append(kit.pcm(700, loud=True) + kit.pcm(1_500))
        words = await client.get("conversation.item.input_audio_transcription.completed")
        assert words["transcript"] == "Good evening."
        await client.send("response.create", {"event_id": "mine"})
        assert (await client.get("error"))["error"]["event_id"] == "mine"
        await client.rest()
    assert not [kind for kind in kit.types(client.seen) if kind.startswith("response.")]


# ---- error codes ----------------------------------------------------------------------------------------------------


def test_the_codes_of_refused_events(kit: Any) -> None:
    engine = kit.engine()
    assert engine.raw("{}")[0]["error"]["code"] == "invalid_event"
    unknown = engine.refused("session.updates")
    assert (unknown["code"], unknown["param"]) == ("invalid_value", "type")
    assert engine.refused("session.update")["code"] == "missing_required_parameter"
    assert engine.refused("response.create", {"response": {"temperature": 1}})["code"] == "unknown_parameter"
    assert engine.refused("input_audio_buffer.commit")["code"] == "input_audio_buffer_commit_empty"
    assert engine.refused("response.cancel")["code"] == "response_cancel_not_active"
    engine("response.create")
    assert engine.refused("response.create")["code"] == "conversation_already_has_active_response"


@pytest.mark.parametrize(
    "code",
    [
        "session_expired",
        "rate_limit_exceeded",
        "inference_rate_limit_exceeded",
        "insufficient_quota",
        "account_deactivated",
        "billing_hard_limit_reached",
    ],
)
async def test_the_codes_of_a_bad_day_come_on_demand(kit: Any, code: str, autojump_clock: MockClock) -> None:
    async with kit.client(faults=Faults(errors={code: 1.0})) as client:
        await client.send("response.create", {"event_id": "mine"})
        error = (await client.get("error"))["error"]
    assert (error["code"], error["event_id"]) == (code, "mine")


# ---- handshakes -----------------------------------------------------------------------------------------------------


async def test_unknown_query_arguments_and_headers_are_ignored(kit: Any) -> None:
    with trio.fail_after(20):
        async with open_emulator() as emulator:
            url = f"{emulator.url}?model=gpt-realtime&api-version=2025-04-01&utm=x&flag&model2=%F0%9F%A6%8A"
            headers = {"OpenAI-Beta": "realtime=v1", "OpenAI-Safety-Identifier": "abc", "X-Own": "y"}
            async with open_websocket_wire(url, headers=headers) as wire:
                assert (await kit.client_of(wire).next())["session"]["model"] == "gpt-realtime"


async def test_an_offer_of_permessage_deflate_is_declined_and_the_client_works() -> None:
    with trio.fail_after(20):
        async with open_emulator() as emulator:
            host, port = emulator.url.split("/")[2].split(":")
            stream = await trio.open_tcp_stream(host, int(port))
            client = WSConnection(ConnectionType.CLIENT)
            request = Request(host=host, target="/v1/realtime", extensions=[PerMessageDeflate()])
            await stream.send_all(client.send(request))
            events: list[Any] = []
            while not any(isinstance(event, TextMessage) and event.message_finished for event in events):
                client.receive_data(bytes(await stream.receive_some()))
                events += client.events()
            assert isinstance(events[0], AcceptConnection)
            assert events[0].extensions == []
            assert json.loads("".join(event.data for event in events[1:]))["type"] == "session.created"
            await stream.send_all(client.send(Message(data='{"type": "nonsense"}')))
            client.receive_data(bytes(await stream.receive_some()))
            (answer,) = client.events()
            assert isinstance(answer, TextMessage)
            assert json.loads(answer.data)["error"]["param"] == "type"
            await stream.aclose()


# ---- bad input ------------------------------------------------------------------------------------------------------


async def lives(kit: Any, url: str) -> None:
    """The server answers a client that behaves."""
    async with open_websocket_wire(url) as wire:
        client = kit.client_of(wire)
        await client.say("Still there?")
        await client.until("conversation.item.done")


UPGRADE = (
    b"GET TARGET HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
DEEP = (
    b"POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 100000\r\n\r\n" + b"[" * 100_000
)
JUNK = [
    b"\x00" * 4_096,
    b"\xff\xfe" * 2_000,
    b"GET /v1/realtime HTTP/1.1\r\n" + b"X: y\r\n" * 20_000,
    b"POST /v1/realtime HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\nshort",
    b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "GET /v1/realtime HTTP/1.1\r\nHost: ü\r\n\r\n".encode(),
    b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"HEAD /v1/realtime HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET //[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    UPGRADE.replace(b"TARGET", b"//["),
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    DEEP,
    b"GET /v1/realtime?\xff=%ff%00 HTTP/1.1\r\nHost: [\r\nUpgrade: websocket\r\n\r\n",
]


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
async def test_junk_on_a_new_socket_hurts_nobody(kit: Any, junk: bytes) -> None:
    with trio.fail_after(30):
        async with open_emulator() as emulator:
            host, port = emulator.url.split("/")[2].split(":")
            stream = await trio.open_tcp_stream(host, int(port))
            try:
                await stream.send_all(junk)
                await stream.send_eof()
                while await stream.receive_some(65_536):
                    pass
            except trio.BrokenResourceError:
                pass
            await stream.aclose()
            await lives(kit, emulator.url)


async def test_junk_in_an_open_websocket_ends_that_session_alone(kit: Any) -> None:
    with trio.fail_after(30):
        async with open_emulator() as emulator, open_websocket_wire(emulator.url) as bystander:
            host, port = emulator.url.split("/")[2].split(":")
            stream = await trio.open_tcp_stream(host, int(port))
            client = WSConnection(ConnectionType.CLIENT)
            await stream.send_all(client.send(Request(host=host, target="/v1/realtime")))
            await stream.receive_some()
            await stream.send_all(b"\xff" * 10_000)
            try:
                while await stream.receive_some():
                    pass
            except trio.BrokenResourceError:
                pass
            await stream.aclose()
            await kit.client_of(bystander).until("session.created")
            await lives(kit, emulator.url)


async def send_and_listen(wire: Any, message: str) -> None:
    await wire.send(message)
    while True:
        await wire.receive()


async def test_a_frame_that_is_too_big_closes_its_session_with_1009(kit: Any) -> None:
    with trio.fail_after(60):
        async with open_emulator() as emulator:
            async with open_websocket_wire(emulator.url) as wire:
                await wire.receive()
                with pytest.raises(WireClosed) as caught:
                    await send_and_listen(wire, " " * (33 * 2**20))
            assert caught.value.code in (1009, 1006)  # cut off while we still wrote, the close frame may be lost
            await lives(kit, emulator.url)


async def test_wrong_keys_are_refused_and_right_ones_still_taken(kit: Any) -> None:
    with trio.fail_after(30):
        async with open_emulator(api_key="right") as emulator:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic right"}, {"api-key": "no"}):
                with pytest.raises(ConnectFailed) as caught:
                    async with open_websocket_wire(emulator.url, headers=headers):
                        pytest.fail("it connected")
                assert caught.value.status == 401
            async with open_websocket_wire(emulator.url, headers={"Authorization": "Bearer right"}) as wire:
                assert (await kit.client_of(wire).next())["type"] == "session.created"
            assert emulator.statistics().handshakes_refused == 4


async def test_a_thousand_connects_are_bounded_and_the_server_lives(kit: Any, autojump_clock: MockClock) -> None:
    refused: list[int | None] = []

    async def connect(emulator: Any) -> None:
        try:
            async with emulator.connect() as wire:
                await kit.client_of(wire).next()
                await trio.sleep(1)
        except ConnectFailed as failed:
            refused.append(failed.status)

    async with open_emulator(listen=False, limits=EmulatorLimits(max_sessions=100)) as emulator:
        async with trio.open_nursery() as nursery:
            for _ in range(1_000):
                nursery.start_soon(connect, emulator)
        await trio.testing.wait_all_tasks_blocked()
        assert (refused, emulator.statistics().sessions_open) == ([503] * 900, 0)
        async with emulator.connect() as wire:
            assert (await kit.client_of(wire).next())["type"] == "session.created"


async def test_a_thousand_sockets_that_say_nothing_do_not_keep_others_out(kit: Any) -> None:
    with trio.fail_after(60):
        async with open_emulator() as emulator:
            host, port = emulator.url.split("/")[2].split(":")
            streams = [await trio.open_tcp_stream(host, int(port)) for _ in range(1_000)]
            await lives(kit, emulator.url)
            for stream in streams:
                await stream.aclose()
            await lives(kit, emulator.url)
