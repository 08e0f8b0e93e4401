"""The emulator's REST side: HTTP beside WebSockets on one port, calls, client secrets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio

from trealtime import ConnectFailed, RealtimeAgent, RealtimeRunner
from trealtime.emulator import EmulatedSession, LoggedEvent, open_emulator
from trealtime.errors import MissingDependency
from trealtime.transport.dial import open_websocket_wire

httpx = pytest.importorskip("httpx")

NOW = 1_800_000_000.0
AGENT = RealtimeAgent(name="Desk", instructions="You are Otto.")
SESSION = {"type": "realtime", "model": "gpt-realtime-2", "instructions": "You are Otto."}


@asynccontextmanager
async def rest(**options: Any) -> AsyncIterator[tuple[Any, Any]]:
    async with (
        open_emulator(**{"listen": False, "seed": 7, "unix_time_s": NOW, **options}) as emulator,
        httpx.AsyncClient(transport=emulator.http_transport(), base_url="http://localhost/v1/realtime") as http,
    ):
        yield emulator, http


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


# ---- HTTP -----------------------------------------------------------------------------------------------------------


async def test_rest_and_sockets_share_a_port(kit: Any) -> None:
    with trio.fail_after(20):
        async with open_emulator() as emulator, httpx.AsyncClient(trust_env=False) as http:
            base = emulator.url.replace("ws://", "http://")
            minted = await http.post(f"{base}/client_secrets", json={})
            assert minted.status_code == 200
            async with open_websocket_wire(emulator.url) as wire:
                await kit.client_of(wire).until("session.created")
            again = await http.post(f"{base}/client_secrets", json={})
            assert again.json()["value"] != minted.json()["value"]


@pytest.mark.parametrize(
    "sent, status",
    [
        (b"GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\n\r\n", 426),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /v1/realtime/client_secrets HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: minus\r\n\r\n", 400),
        (b"GET /" + b"a" * 70_000, 431),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n" + b"a" * 2_000_000, 413),
    ],
)
async def test_what_is_no_request_of_the_api_has_an_answer_with_a_reason(sent, status) -> None:
    with trio.fail_after(20):
        async with open_emulator() as emulator:
            answer = await exchange(emulator.url, sent)
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(f"HTTP/1.1 {status} ".encode())
            assert json.loads(body)["error"]["message"]
            async with open_websocket_wire(emulator.url) as wire:
                assert "session.created" in str(await wire.receive())


async def test_a_request_in_small_pieces_is_put_together() -> None:
    body = b'{"expires_after": {"anchor": "created_at", "seconds": 60}}'
    head = b"POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += b"Content-Length: %d\r\n\r\n"
    sent = head % len(body) + body
    with trio.fail_after(20):
        async with open_emulator() as emulator:
            answer = await exchange(emulator.url, *(sent[at : at + 7] for at in range(0, len(sent), 7)))
    assert answer.startswith(b"HTTP/1.1 200 ")


async def exchange(url: str, *pieces: bytes) -> bytes:
    port = int(url.split(":")[2].split("/")[0])
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            for piece in pieces:
                try:
                    await stream.send_all(piece)
                except trio.BrokenResourceError:
                    return

        nursery.start_soon(send)
        answer = bytearray()
        try:
            async for data in stream:
                answer += data
        except trio.BrokenResourceError:
            pass
    await stream.aclose()
    return bytes(answer)


@pytest.mark.parametrize(
    "content, kind, expected",
    [
        (b"{}", "text/plain", (415, "unsupported_media_type")),
        (b"{}", "", (415, "unsupported_media_type")),
        (b"not JSON", "application/json", (400, "invalid_json")),
        (b"[]", "application/json", (400, "invalid_json")),
        (b"\xff", "application/json", (400, "invalid_json")),
        (b"[" * 10_000, "application/json", (400, "invalid_json")),
        (b'{"session": 1}', "application/json; charset=utf-8", (400, "invalid_type")),
        (b'{"colour": 1}', "application/json", (400, "unknown_parameter")),
    ],
)
async def test_bodies_that_cannot_be_read_are_refused(autojump_clock, content, kind, expected) -> None:
    async with rest() as (_emulator, http):
        headers = {"content-type": kind} if kind else {}
        assert code(await http.post("client_secrets", content=content, headers=headers)) == expected


@pytest.mark.parametrize("key", [None, "wrong"])
async def test_the_key_of_the_emulator_is_asked_for(autojump_clock, key) -> None:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with rest(api_key="right") as (_emulator, http):
        assert code(await http.post("client_secrets", json={}, headers=headers)) == (401, "invalid_api_key")
        right = {"Authorization": "Bearer right"}
        assert (await http.post("client_secrets", json={}, headers=right)).status_code == 200


# ---- client secrets -------------------------------------------------------------------------------------------------


async def test_a_client_secret_opens_sessions_with_its_settings_until_it_expires(autojump_clock, schema) -> None:
    async with rest(api_key="right") as (emulator, http):
        http.headers["Authorization"] = "Bearer right"
        asked = {"expires_after": {"anchor": "created_at", "seconds": 60}, "session": SESSION}
        answer = (await http.post("client_secrets", json=asked)).json()
        assert schema.validate_def("RealtimeCreateClientSecretResponse", answer) == []
        assert answer["expires_at"] == NOW + 60
        assert answer["session"]["instructions"] == "You are Otto."
        headers = {"Authorization": f"Bearer {answer['value']}"}
        for _ in range(2):
            async with emulator.connect(headers=headers) as wire:
                session = json.loads(await wire.receive())["session"]
                assert (session["model"], session["instructions"]) == ("gpt-realtime-2", "You are Otto.")
        async with emulator.connect(headers=headers, model="gpt-realtime-mini") as wire:
            assert json.loads(await wire.receive())["session"]["model"] == "gpt-realtime-mini"
        async with emulator.connect(headers=headers) as wire:
            await trio.sleep(61)
            assert json.loads(await wire.receive())["type"] == "session.created"
            with pytest.raises(ConnectFailed) as caught:
                async with emulator.connect(headers=headers):
                    pytest.fail("it connected")
            assert "has expired" in caught.value.body
        # A client secret is no key: it mints no others.
        again = await http.post("client_secrets", json={}, headers=headers)
        assert code(again) == (401, "invalid_api_key")


async def test_the_session_type_of_a_secret_is_that_of_its_sessions(autojump_clock, schema) -> None:
    async with rest() as (emulator, http):
        answer = (await http.post("client_secrets", json={"session": {"type": "transcription"}})).json()
        assert schema.validate_def("RealtimeCreateClientSecretResponse", answer) == []
        async with emulator.connect(headers={"Authorization": f"Bearer {answer['value']}"}) as wire:
            assert json.loads(await wire.receive())["session"]["type"] == "transcription"


@pytest.mark.parametrize(
    "body, param",
    [
        ({"expires_after": {"anchor": "created_at", "seconds": 9}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "now"}}, "expires_after.anchor"),
        ({"session": {}}, "session.type"),
        ({"session": {"type": "realtime", "voice": "ash"}}, "session.voice"),
    ],
)
async def test_secrets_that_cannot_be_are_refused_with_the_field(autojump_clock, body, param) -> None:
    async with rest() as (_emulator, http):
        answer = await http.post("client_secrets", json=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param


async def test_only_the_latest_secrets_are_kept(autojump_clock) -> None:
    async with rest(api_key="right") as (emulator, http):
        http.headers["Authorization"] = "Bearer right"
        first = (await http.post("client_secrets", json={})).json()["value"]
        for _ in range(1_000):
            await http.post("client_secrets", json={})
        with pytest.raises(ConnectFailed):
            async with emulator.connect(headers={"Authorization": f"Bearer {first}"}):
                pytest.fail("it connected")


async def test_our_client_uses_a_secret_as_its_key(autojump_clock) -> None:
    async with rest(api_key="right") as (emulator, http):
        http.headers["Authorization"] = "Bearer right"
        value = (await http.post("client_secrets", json={"session": SESSION})).json()["value"]
        runner = RealtimeRunner(AGENT, model=emulator.memory_model())
        async with runner.session(model_config={"api_key": value}) as session:
            assert "Otto" in (await session.ask("Who are you?")).text


# ---- calls ----------------------------------------------------------------------------------------------------------


async def never(headers: Any, body: Any) -> int:
    await trio.sleep_forever()
    raise AssertionError


@pytest.mark.parametrize("action", ["accept", "reject", "refer", "hangup"])
async def test_a_call_that_is_not_there_is_not_found(autojump_clock, action) -> None:
    async with rest() as (emulator, http):
        assert code(await http.post(f"calls/rtc_1/{action}", json=SESSION)) == (404, "call_id_not_found")
        async with emulator.ring(never, secret="s") as call:
            pass
        assert code(await http.post(f"calls/{call.call_id}/{action}", json=SESSION)) == (404, "call_id_not_found")


async def test_a_call_that_rings_cannot_be_transferred_nor_watched(autojump_clock) -> None:
    async with rest() as (emulator, http), emulator.ring(never, secret="s") as call:
        answer = await http.post(f"calls/{call.call_id}/refer", json={"target_uri": "tel:+1"})
        assert code(answer) == (409, "call_state_conflict")
        for call_id in (call.call_id, "rtc_unknown"):
            with pytest.raises(ConnectFailed) as caught:
                async with emulator.connect(call_id=call_id):
                    pytest.fail("it connected")
            assert caught.value.status == 404


@pytest.mark.parametrize(
    "action, body, param",
    [
        ("accept", {}, "session.type"),
        ("accept", {"type": "realtime", "audio": {"output": {"voice": 7}}}, "session.audio.output.voice"),
        ("reject", {"status_code": 200}, "status_code"),
        ("reject", {"reason": "busy"}, "reason"),
        ("refer", {}, "target_uri"),
    ],
)
async def test_a_request_about_a_call_that_cannot_be_is_refused_and_the_call_rings_on(
    autojump_clock, action, body, param
) -> None:
    async with rest() as (emulator, http), emulator.ring(never, secret="s") as call:
        answer = await http.post(f"calls/{call.call_id}/{action}", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        assert call.state == "ringing"


async def test_a_call_without_a_body_is_rejected_with_603(autojump_clock) -> None:
    async with rest() as (emulator, http), emulator.ring(never, secret="s") as call:
        answer = await http.post(f"calls/{call.call_id}/reject")
        # Without a type: a client that parses JSON by it has nothing to parse.
        assert (answer.status_code, answer.content, answer.headers.get("content-type")) == (200, b"", None)
        assert call.rejected_with == 603


async def test_an_emulator_that_is_full_accepts_no_call(autojump_clock) -> None:
    from trealtime.emulator import EmulatorLimits

    async with (
        rest(limits=EmulatorLimits(max_sessions=1)) as (emulator, http),
        emulator.connect(),
        emulator.ring(never, secret="s") as call,
    ):
        assert code(await http.post(f"calls/{call.call_id}/accept", json=SESSION)) == (503, "server_overloaded")
        assert call.state == "ringing"


async def test_leaving_the_emulator_ends_its_calls(autojump_clock) -> None:
    async with AsyncExitStack() as caller:
        async with rest() as (emulator, http):
            call = await caller.enter_async_context(emulator.ring(never, secret="s"))
            await http.post(f"calls/{call.call_id}/accept", json=SESSION)
            assert await call.wait_answered()
            await trio.sleep(1)
        assert call.over
    assert trio.current_time() < 5


async def test_what_sideband_connections_get_is_schema_valid(autojump_clock, kit: Any) -> None:
    seen: list[str] = []

    def note(session: EmulatedSession, entry: LoggedEvent) -> None:
        assert session in emulator.sessions
        seen.append(entry.event["type"])

    async with rest(on_event=note) as (emulator, http), emulator.ring(never, secret="s") as call:
        await http.post(f"calls/{call.call_id}/accept", json=SESSION)
        async with emulator.connect(call_id=call.call_id) as wire:
            client = kit.client_of(wire)
            assert (await client.get("session.created"))["session"]["model"] == "gpt-realtime-2"
            call.press("9")
            assert (await client.get("input_audio_buffer.dtmf_event_received"))["event"] == "9"
            await client.send("response.create")
            await client.get("output_audio_buffer.started")
            await client.get("response.done")
            await client.send("output_audio_buffer.clear")
            await client.get("output_audio_buffer.cleared")
            await client.get("conversation.item.truncated")
            await client.send("nonsense")
            assert (await client.get("error"))["error"]["code"] == "invalid_value"
            played = [kind for kind in seen if "dtmf" in kind or kind.startswith("output_audio_buffer.")]
            assert played == [
                "input_audio_buffer.dtmf_event_received",
                "output_audio_buffer.started",
                "output_audio_buffer.clear",
                "output_audio_buffer.cleared",
            ]


async def test_without_httpx_the_transport_names_the_extra(autojump_clock, monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "httpx", None)
    async with open_emulator(listen=False) as emulator:
        with pytest.raises(MissingDependency, match=r"trealtime\[http\]"):
            emulator.http_transport()
