"""The emulator on a real socket, with clients of two makes."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import trio
from trio_websocket import open_websocket_url

from trealtime.emulator import ScriptedBrain, open_emulator
from trealtime.errors import ConnectFailed
from trealtime.transport import WireClosed
from trealtime.transport.dial import open_websocket_wire


async def test_a_turn_over_a_socket(kit: Any) -> None:
    with trio.fail_after(20):
        async with open_emulator(brain=ScriptedBrain(["Hello there."])) as emulator:
            assert emulator.url.startswith("ws://127.0.0.1:")
            assert emulator.url.endswith("/v1/realtime")
            async with open_websocket_wire(f"{emulator.url}?model=gpt-realtime-2") as wire:
                client = kit.client_of(wire)
                assert (await client.next())["session"]["model"] == "gpt-realtime-2"
                await client.say("Hi")
                await client.send("response.create")
                response = (await client.get("response.done"))["response"]
                assert response["status"] == "completed"
                await wire.aclose()
            assert emulator.statistics().responses_done == 1


async def test_another_websocket_client_with_a_subprotocol_can_talk_to_it() -> None:
    with trio.fail_after(20):
        async with (
            open_emulator() as emulator,
            open_websocket_url(emulator.url, subprotocols=["realtime", "openai-insecure-api-key.any"]) as socket,
        ):
            assert socket.subprotocol == "realtime"
            assert json.loads(await socket.get_message())["type"] == "session.created"
            await socket.send_message(b"\x00")
            assert json.loads(await socket.get_message())["error"]["code"] == "invalid_event"


async def test_a_large_append_and_its_retrieval_pass_the_socket(kit: Any) -> None:
    with trio.fail_after(30):
        async with open_emulator() as emulator, open_websocket_wire(emulator.url) as wire:
            client = kit.client_of(wire)
            await client.update({"audio": {"input": {"turn_detection": None}}})
            audio = bytes(10 * 2**20)
            await client.send("input_audio_buffer.append", {"audio": kit.b64(audio)})
            await client.send("input_audio_buffer.commit")
            item_id = (await client.get("input_audio_buffer.committed"))["item_id"]
            await client.send("conversation.item.retrieve", {"item_id": item_id})
            item = (await client.get("conversation.item.retrieved"))["item"]
            assert len(item["content"][0]["audio"]) == len(kit.b64(audio))


async def test_a_wrong_key_or_path_is_an_http_status_with_a_json_body(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with trio.fail_after(20):
        async with open_emulator(api_key="right") as emulator:
            with pytest.raises(ConnectFailed) as caught:
                async with open_websocket_wire(emulator.url, headers={"Authorization": "Bearer very-secret"}):
                    pytest.fail("it connected")
            assert caught.value.status == 401
            assert json.loads(caught.value.body)["error"]["code"] == "invalid_api_key"
            with pytest.raises(ConnectFailed) as caught:
                async with open_websocket_wire(emulator.url.replace("/v1/realtime", "/v1/other")):
                    pytest.fail("it connected")
            assert caught.value.status == 404
            assert emulator.statistics().handshakes_refused == 2
    assert "very-secret" not in caplog.text


async def test_what_is_no_websocket_handshake_hurts_nobody(kit: Any) -> None:
    with trio.fail_after(20):
        async with open_emulator() as emulator, open_websocket_wire(emulator.url) as wire:
            port = int(emulator.url.split(":")[2].split("/")[0])
            for garbage in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x00"):
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                if garbage:
                    await stream.send_all(garbage)
                await stream.aclose()
            client = kit.client_of(wire)
            await client.say("Still there?")
            await client.until("conversation.item.done")


POST = b"POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
UPGRADE = b"GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"


@pytest.mark.parametrize(
    "request_bytes, status",
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 2**22 + b"\r\n\r\n", 431),
        (UPGRADE + b"X: " + b"x" * 2**22 + b"\r\n\r\n", 431),
        (POST + b"Content-Length: 8388608\r\n\r\n" + b"x" * 2**23, 413),
        (POST + b"Content-Length: 20\r\n\r\nUpgrade: websocket\r\n", 400),
    ],
)
async def test_a_request_that_is_too_long_gets_its_answer_and_no_reset(request_bytes: bytes, status: int) -> None:
    with trio.fail_after(20):
        async with open_emulator() as emulator:
            stream = await trio.open_tcp_stream("127.0.0.1", int(emulator.url.split(":")[2].split("/")[0]))
            await stream.send_all(request_bytes)
            head = await stream.receive_some()
            assert head.startswith(b"HTTP/1.1 %d " % status)
            await stream.aclose()


async def test_a_client_that_asks_whether_to_send_its_body_is_told_to() -> None:
    with trio.fail_after(20):
        async with open_emulator() as emulator:
            stream = await trio.open_tcp_stream("127.0.0.1", int(emulator.url.split(":")[2].split("/")[0]))
            await stream.send_all(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")
            await stream.send_all(b"{}")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
            await stream.aclose()


async def test_leaving_closes_the_sockets_with_1001(kit: Any) -> None:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            opened, ended = trio.Event(), trio.Event()

            async def call(url: str) -> None:
                async with open_websocket_wire(url) as wire:
                    client = kit.client_of(wire)
                    await client.until("session.created")
                    opened.set()
                    with pytest.raises(WireClosed) as caught:
                        await client.next()
                    assert (caught.value.code, caught.value.closed_by) == (1001, "server")
                    ended.set()

            async with open_emulator() as emulator:
                nursery.start_soon(call, emulator.url)
                await opened.wait()
            await ended.wait()
            with pytest.raises(ConnectFailed):
                async with open_websocket_wire(emulator.url):
                    pytest.fail("it still listens")


async def test_a_port_in_use_is_an_os_error() -> None:
    async with open_emulator() as emulator:
        port = int(emulator.url.split(":")[2].split("/")[0])
        with pytest.raises(OSError, match=r"(?i)address"):
            async with open_emulator(port=port):
                pytest.fail("it bound the port twice")
