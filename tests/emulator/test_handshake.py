"""Who may open which session: paths, queries, keys."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trealtime.emulator import open_emulator
from trealtime.emulator.http import Callers, HandshakeRefused
from trealtime.emulator.rest import SessionRequest, read_request
from trealtime.errors import ConnectFailed


def read(resource: str, **given: Any) -> SessionRequest:
    return read_request(resource, **({"headers": {}, "subprotocols": (), "api_key": None} | given))


@pytest.mark.parametrize(
    "resource, expected",
    [
        ("/v1/realtime", SessionRequest()),
        ("/v1/realtime/", SessionRequest()),
        ("/openai/v1/realtime?model=my%20deployment", SessionRequest(model="my deployment")),
        ("/realtime?model=a&model=b&api-version=1&other", SessionRequest(model="b")),
        ("/v1/realtime?intent=transcription", SessionRequest(kind="transcription")),
        ("/v1/realtime?intent=conversation", SessionRequest()),
        ("/v1/realtime?call_id=rtc_1", SessionRequest(call_id="rtc_1")),
    ],
)
def test_the_url_says_which_session(resource: str, expected: SessionRequest) -> None:
    assert read(resource, headers={"openai-beta": "realtime=v1", "x-own": "y"}) == expected


@pytest.mark.parametrize("resource", ["/", "/v1/realtime/translations", "/v1/chat/completions", "/v1/realtimes"])
def test_nothing_else_is_served(resource: str) -> None:
    with pytest.raises(HandshakeRefused) as caught:
        read(resource)
    assert caught.value.status == 404
    assert json.loads(caught.value.body)["error"]["code"] == "not_found"


def test_the_subprotocol_realtime_is_taken_when_it_is_offered() -> None:
    assert read("/v1/realtime", subprotocols=("openai-organization.o", "realtime")).subprotocol == "realtime"
    assert read("/v1/realtime", subprotocols=("other",)).subprotocol is None


@pytest.mark.parametrize(
    "given",
    [
        {"headers": {"authorization": "Bearer right"}},
        {"headers": {"authorization": "bearer right"}},
        {"headers": {"api-key": "right"}},
        {"subprotocols": ("realtime", "openai-insecure-api-key.right")},
        {"headers": {"authorization": "Bearer wrong", "api-key": "right"}},
    ],
)
def test_the_key_may_come_in_any_of_the_known_ways(given: dict[str, Any]) -> None:
    assert read("/v1/realtime", api_key="right", **given).kind == "realtime"
    assert read("/v1/realtime?api-key=right", api_key="right").kind == "realtime"


@pytest.mark.parametrize(
    "headers, message",
    [
        ({}, "No API key"),
        ({"authorization": "Basic right"}, "No API key"),
        ({"authorization": "Bearer wrong"}, "Incorrect API key"),
        ({"api-key": "é"}, "Incorrect API key"),
    ],
)
def test_without_the_key_there_is_a_401_that_shows_no_key(headers: dict[str, str], message: str) -> None:
    with pytest.raises(HandshakeRefused) as caught:
        read("/v1/realtime", api_key="right", headers=headers)
    assert caught.value.status == 401
    error = json.loads(caught.value.body)["error"]
    assert error["code"] == "invalid_api_key"
    assert message in error["message"]
    assert "right" not in caught.value.body
    assert "wrong" not in caught.value.body


async def test_the_same_rules_hold_in_memory(kit: Any, autojump_clock: MockClock) -> None:
    async with open_emulator(listen=False, api_key="right", default_model="house-model") as emulator:
        with pytest.raises(ConnectFailed) as caught:
            async with emulator.connect():
                pytest.fail("it connected")
        assert (caught.value.status, "invalid_api_key" in caught.value.body) == (401, True)
        async with emulator.connect(headers={"Authorization": "Bearer right"}) as wire:
            created = await kit.client_of(wire).next()
        assert created["session"]["model"] == "house-model"


@pytest.mark.parametrize(
    "options, headers, code",
    [
        ({}, {}, None),
        ({}, {"host": "localhost:8765"}, None),
        ({}, {"host": "[::1]:8765"}, None),
        ({}, {"host": "evil.example"}, "host_not_allowed"),
        ({"hosts": ["Box"]}, {"host": "box:80"}, None),
        ({"hosts": ["*"]}, {"host": "evil.example"}, None),
        ({"bound_host": "0.0.0.0"}, {"host": "emulator"}, None),
        ({"bound_host": "::1"}, {"host": "evil.example"}, "host_not_allowed"),
        ({"bound_host": "localhost"}, {"host": "evil.example"}, "host_not_allowed"),
        ({}, {"origin": "http://evil.example"}, "origin_not_allowed"),
        ({}, {"origin": "null"}, "origin_not_allowed"),
        ({"origins": ["http://localhost:3000"]}, {"origin": "http://localhost:3000"}, None),
        ({"origins": ["http://localhost:3000"]}, {"origin": "http://localhost:3001"}, "origin_not_allowed"),
        ({"origins": ["*"]}, {"origin": "http://evil.example"}, None),
    ],
)
def test_pages_and_names_are_refused_unless_they_are_allowed(
    options: dict[str, Any], headers: dict[str, str], code: str | None
) -> None:
    callers = Callers.of(**{"bound_host": "127.0.0.1", "origins": [], "hosts": [], **options})
    if code is None:
        callers.check(headers, needs_key=False)
    else:
        with pytest.raises(HandshakeRefused, match=code) as caught:
            callers.check(headers, needs_key=False)
        assert caught.value.status == 403


@pytest.mark.parametrize("host, status", [("evil.example", 403), ("localhost:8765", 101)])
async def test_the_name_by_which_a_socket_is_asked_for_is_checked(host: str, status: int) -> None:
    lines = (
        "GET /v1/realtime?model=gpt-realtime HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        "Authorization: Bearer any",
    )
    with trio.fail_after(10):
        async with open_emulator() as emulator:
            port = int(emulator.url.split(":")[2].split("/")[0])
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all("\r\n".join((*lines, "", "")).encode())
                answer = await stream.receive_some(4096)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


def test_a_page_may_use_an_emulator_whose_key_it_knows() -> None:
    Callers().check({"origin": "http://app.example"}, needs_key=True)


async def test_an_emulator_refuses_the_socket_of_another_page(autojump_clock: MockClock) -> None:
    origin = {"Origin": "http://evil.example"}
    async with open_emulator(listen=False) as emulator:
        with pytest.raises(ConnectFailed, match="403"):
            async with emulator.connect(headers=origin):
                pass
    async with (
        open_emulator(listen=False, allow_origins=["http://evil.example"]) as emulator,
        emulator.connect(headers=origin) as wire,
    ):
        assert "session.created" in str(await wire.receive())
