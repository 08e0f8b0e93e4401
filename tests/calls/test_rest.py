"""REST requests: what is sent, which failures are tried again and when, and what each comes out as."""

from __future__ import annotations

import gzip
import json
import random
import sys
import traceback
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import attrs
import pytest
import trio

from trealtime import RealtimeAgent, SettingsError
from trealtime.calls import ClientSecret, RealtimeRestClient
from trealtime.calls.http import asked_wait_s
from trealtime.errors import (
    CallGone,
    MissingApiKey,
    MissingDependency,
    RateLimited,
    RequestFailed,
)

httpx = pytest.importorskip("httpx")

AGENT = RealtimeAgent(name="Desk", instructions="Be brief.")
BASE_URL = "http://localhost/v1"
Act = Callable[[RealtimeRestClient], Awaitable[object]]

ACTS: dict[str, Act] = {
    "accept": lambda rest: rest.accept_call("rtc_1", AGENT),
    "reject": lambda rest: rest.reject_call("rtc_1"),
    "refer": lambda rest: rest.refer_call("rtc_1", "tel:+14155550123"),
    "hangup": lambda rest: rest.hang_up_call("rtc_1"),
    "client_secrets": lambda rest: rest.create_client_secret(),
}
REPEATABLE = {"reject", "hangup", "client_secrets"}
SECRET = {"value": "ek_1", "expires_at": 1_800_000_600, "session": {"type": "realtime"}}


@attrs.define(eq=False)
class Service:
    """Answers requests with what stands in `answers`, then with success; keeps them, and when they came."""

    answers: list[Any]
    requests: list[Any] = attrs.Factory(list)
    times: list[float] = attrs.Factory(list)

    async def __call__(self, request: Any) -> Any:
        self.requests.append(request)
        self.times.append(trio.current_time())
        answer = self.answers.pop(0) if self.answers else httpx.Response(200, json=SECRET)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, float):
            await trio.sleep(answer)
            answer = httpx.Response(200, json=SECRET)
        return answer

    def body(self) -> Any:
        content = self.requests[-1].content
        return json.loads(content) if content else None


@asynccontextmanager
async def client(*answers: Any, **options: Any) -> AsyncIterator[tuple[RealtimeRestClient, Service]]:
    service = Service(list(answers))
    async with httpx.AsyncClient(transport=httpx.MockTransport(service)) as http:
        values = {"api_key": "sk-test", "base_url": BASE_URL, "http_client": http, "rng": random.Random(1)}
        async with RealtimeRestClient(**{**values, **options}) as rest:
            yield rest, service
        assert not http.is_closed


def error(status: int, **fields: Any) -> Any:
    headers = {"x-request-id": "req_1", **fields.pop("headers", {})}
    body = {"error": {"message": "No.", "type": "invalid_request_error", "code": "some_code", "param": None, **fields}}
    return httpx.Response(status, json=body, headers=headers)


# ---- what is sent ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "act, path, body",
    [
        ("reject", "/v1/realtime/calls/rtc_1/reject", {"status_code": 603}),
        ("refer", "/v1/realtime/calls/rtc_1/refer", {"target_uri": "tel:+14155550123"}),
        ("hangup", "/v1/realtime/calls/rtc_1/hangup", None),
        ("client_secrets", "/v1/realtime/client_secrets", {"expires_after": {"anchor": "created_at", "seconds": 600}}),
    ],
)
async def test_each_request_has_its_path_and_body(schema, act, path, body) -> None:
    async with client() as (rest, service):
        await ACTS[act](rest)
    assert (service.requests[0].method, service.requests[0].url.path) == ("POST", path)
    assert service.body() == body
    name = schema.load()["x-rest"][f"POST {path.removeprefix('/v1').replace('rtc_1', '{call_id}')}"]["body"]
    assert name is None or schema.validate_def(name, body) == []


async def test_a_call_is_accepted_with_the_session_of_its_agent(schema) -> None:
    async with client() as (rest, service):
        await rest.accept_call(
            "rtc_1", AGENT, overrides={"voice": "cedar"}, run_config={"model_settings": {"speed": 1.1}}
        )
    body = service.body()
    assert schema.validate_def("RealtimeSessionCreateRequestGA", body) == []
    assert (body["type"], body["model"], body["instructions"]) == ("realtime", "gpt-realtime-2.1", "Be brief.")
    assert body["audio"]["output"]["voice"] == "cedar"
    assert body["audio"]["output"]["speed"] == 1.1


async def test_a_client_secret_carries_the_session_of_its_agent_and_its_value_is_not_shown(schema) -> None:
    async with client() as (rest, service):
        secret = await rest.create_client_secret(AGENT, expires_after_s=60)
    assert service.body()["expires_after"] == {"anchor": "created_at", "seconds": 60}
    assert service.body()["session"]["instructions"] == "Be brief."
    assert schema.validate_def("RealtimeCreateClientSecretRequest", service.body()) == []
    assert secret == ClientSecret(value="ek_1", expires_at_unix_s=1_800_000_600, session={"type": "realtime"})
    assert "ek_1" not in repr(secret)


@pytest.mark.parametrize("seconds", [10, 7200])
async def test_a_client_secret_may_last_from_ten_seconds_to_two_hours(seconds) -> None:
    async with client() as (rest, service):
        await rest.create_client_secret(expires_after_s=seconds)
    assert service.body()["expires_after"]["seconds"] == seconds


async def test_headers_are_the_key_or_those_that_are_given(monkeypatch) -> None:
    async with client(organization="org_1", project="proj_1") as (rest, service):
        await rest.hang_up_call("rtc_1")
    sent = service.requests[0].headers
    assert sent["authorization"] == "Bearer sk-test"
    assert (sent["openai-organization"], sent["openai-project"]) == ("org_1", "proj_1")
    assert sent["user-agent"].startswith("trealtime/")
    async with client(api_key=None, headers={"api-key": "azure"}) as (rest, service):
        await rest.hang_up_call("rtc_1")
    assert service.requests[0].headers["api-key"] == "azure"
    assert "authorization" not in service.requests[0].headers


async def test_a_key_may_come_from_a_callable_for_each_request_or_from_the_environment(monkeypatch) -> None:
    keys = iter(["one", "two"])

    async def fetch() -> str:
        await trio.lowlevel.checkpoint()
        return next(keys)

    async with client(api_key=fetch) as (rest, service):
        await rest.hang_up_call("rtc_1")
        await rest.hang_up_call("rtc_1")
    assert [request.headers["authorization"] for request in service.requests] == ["Bearer one", "Bearer two"]
    async with client(api_key=None) as (rest, service):
        with pytest.raises(MissingApiKey, match="OPENAI_API_KEY"):
            await rest.hang_up_call("rtc_1")
        assert service.requests == []
        monkeypatch.setenv("OPENAI_API_KEY", "from outside")
        await rest.hang_up_call("rtc_1")
    assert service.requests[0].headers["authorization"] == "Bearer from outside"


async def test_a_call_id_cannot_leave_its_place_in_the_path() -> None:
    async with client() as (rest, service):
        await rest.hang_up_call("../client_secrets?x=1")
    assert service.requests[0].url.raw_path == b"/v1/realtime/calls/..%2Fclient_secrets%3Fx%3D1/hangup"


async def test_a_scheme_may_be_written_in_capitals() -> None:
    async with client() as (rest, service):
        await rest.refer_call("rtc_1", "SIP:desk@example.com")
    assert service.body() == {"target_uri": "SIP:desk@example.com"}


@pytest.mark.parametrize(
    "given, used",
    [
        ("wss://host.example/v1", "https://host.example/v1"),
        ("https://host.example/openai/v1/", "https://host.example/openai/v1"),
        ("ws://127.0.0.1:8765/v1", "http://127.0.0.1:8765/v1"),
        (None, "https://api.openai.com/v1"),
    ],
)
async def test_the_base_url_may_be_that_of_the_sockets(given, used) -> None:
    async with client(base_url=given) as (rest, service):
        await rest.hang_up_call("rtc_1")
    assert str(service.requests[0].url) == f"{used}/realtime/calls/rtc_1/hangup"


# ---- what is tried again --------------------------------------------------------------------------------------------


def not_sent() -> Exception:
    return httpx.ConnectError("nobody listens")


def no_room() -> Exception:
    return httpx.PoolTimeout("all connections are taken")


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("failure", [not_sent, no_room, lambda: error(429), lambda: error(503)])
async def test_what_was_not_acted_on_is_tried_again_with_growing_waits(autojump_clock, act, failure) -> None:
    async with client(failure(), failure()) as (rest, service):
        await ACTS[act](rest)
    waits = [after - before for before, after in zip(service.times, service.times[1:], strict=False)]
    assert len(waits) == 2
    assert 0.375 <= waits[0] <= 0.5
    assert 0.75 <= waits[1] <= 1.0


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(
    "failure",
    [lambda: error(408), lambda: error(500), lambda: error(504), lambda: httpx.ReadError("reset")],
    ids=["408", "500", "504", "reset"],
)
async def test_what_may_have_been_acted_on_is_tried_again_only_where_twice_does_no_harm(
    autojump_clock, act, failure
) -> None:
    async with client(failure()) as (rest, service):
        if act in REPEATABLE:
            await ACTS[act](rest)
        else:
            with pytest.raises(RequestFailed) as caught:
                await ACTS[act](rest)
            assert not caught.value.not_acted_on
    assert len(service.requests) == (2 if act in REPEATABLE else 1)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 422])
async def test_a_refusal_is_final(act, status) -> None:
    async with client(error(status)) as (rest, service):
        with pytest.raises(RequestFailed):
            await ACTS[act](rest)
    assert len(service.requests) == 1


async def test_the_last_failure_comes_out_when_the_attempts_are_used_up(autojump_clock) -> None:
    async with client(error(503), error(503), error(429), attempts=3) as (rest, service):
        with pytest.raises(RateLimited):
            await rest.hang_up_call("rtc_1")
    assert len(service.requests) == 3


async def test_the_service_may_ask_for_a_longer_wait(autojump_clock) -> None:
    async with client(error(429, headers={"retry-after": "4"})) as (rest, service):
        await rest.hang_up_call("rtc_1")
    assert service.times[1] - service.times[0] == 4


@pytest.mark.parametrize(
    "headers, wait_s",
    [
        ({"date": "Wed, 21 Oct 2015 07:28:00 GMT", "retry-after": "Wed, 21 Oct 2015 07:28:04 GMT"}, 4),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
    ],
)
async def test_the_wait_may_be_a_date_or_in_milliseconds(autojump_clock, headers, wait_s) -> None:
    async with client(error(429, headers=headers)) as (rest, service):
        await rest.hang_up_call("rtc_1")
    assert service.times[1] - service.times[0] == pytest.approx(wait_s)


async def test_a_date_without_one_to_compare_with_counts_from_the_wall_clock() -> None:
    at = "Wed, 21 Oct 2099 07:28:00 GMT"
    assert asked_wait_s({"retry-after": at}, lambda: parsedate_to_datetime(at).timestamp() - 7) == 7
    assert asked_wait_s({"retry-after": at}, lambda: parsedate_to_datetime(at).timestamp() + 7) == 0


@pytest.mark.parametrize(
    "act, status, outcome", [("accept", 200, None), ("hangup", 404, CallGone), ("refer", 500, None)]
)
async def test_a_body_that_does_not_end_hides_no_status(autojump_clock, act, status, outcome) -> None:
    class Stalled(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"{"
            await trio.sleep_forever()

    async with client(httpx.Response(status, stream=Stalled())) as (rest, service):
        if status == 200:
            await ACTS[act](rest)
        else:
            with pytest.raises(outcome or RequestFailed, match=f"HTTP {status}"):
                await ACTS[act](rest)
    assert len(service.requests) == 1
    assert trio.current_time() == pytest.approx(5)


async def test_everything_together_ends_at_the_time_out(autojump_clock) -> None:
    async with client(error(503), 60.0, timeout_s=5) as (rest, _service):
        with pytest.raises(RequestFailed, match="no answer within 5 s") as caught:
            await rest.hang_up_call("rtc_1")
    assert caught.value.status is None
    assert trio.current_time() == pytest.approx(5, abs=0.01)


async def test_a_wait_that_goes_past_the_time_out_is_not_begun(autojump_clock) -> None:
    async with client(error(429, headers={"retry-after": "3600"}), timeout_s=5) as (rest, _service):
        with pytest.raises(RateLimited):
            await rest.hang_up_call("rtc_1")
    assert trio.current_time() == 0


# ---- what comes out -------------------------------------------------------------------------------------------------


async def test_a_failure_has_all_that_the_service_said() -> None:
    async with client(error(400, param="session.voice", message="No such voice.")) as (rest, _service):
        with pytest.raises(RequestFailed) as caught:
            await rest.accept_call("rtc_1", AGENT)
    failed = caught.value
    assert type(failed) is RequestFailed
    assert (failed.status, failed.code, failed.type) == (400, "some_code", "invalid_request_error")
    assert (failed.param, failed.request_id, failed.request) == ("session.voice", "req_1", "accept call rtc_1")
    assert str(failed) == 'accept call rtc_1: HTTP 400; "No such voice."'
    assert "No such voice." in failed.body


@pytest.mark.parametrize("act", sorted(set(ACTS) - {"client_secrets"}))
async def test_b283_a_call_that_is_gone_has_an_error_of_its_own(act) -> None:
    async with client(error(404)) as (rest, _service):
        with pytest.raises(CallGone, match="the caller has hung up, or there never was such a call"):
            await ACTS[act](rest)


async def test_a_404_about_something_else_is_no_call_that_is_gone() -> None:
    async with client(error(404)) as (rest, _service):
        with pytest.raises(RequestFailed) as caught:
            await rest.create_client_secret()
    assert type(caught.value) is RequestFailed


async def test_too_many_requests_say_how_long_to_wait() -> None:
    async with client(error(429, headers={"retry-after": "7"}), attempts=1) as (rest, _service):
        with pytest.raises(RateLimited) as caught:
            await rest.hang_up_call("rtc_1")
    assert caught.value.retry_after_s == 7


@pytest.mark.parametrize("value", ["soon", "-1", "nan", "1e300"])
async def test_a_wait_that_cannot_be_read_is_none(value) -> None:
    async with client(error(429, headers={"retry-after": value}), attempts=1) as (rest, _service):
        with pytest.raises(RateLimited) as caught:
            await rest.hang_up_call("rtc_1")
    assert caught.value.retry_after_s is None


@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b"[]", b'{"error": 5, "detail": []}', b"\xff"])
async def test_an_error_page_that_is_no_error_object_is_survived(body) -> None:
    async with client(httpx.Response(418, content=body)) as (rest, _service):
        with pytest.raises(RequestFailed, match=r"hangup call rtc_1: HTTP 418$") as caught:
            await rest.hang_up_call("rtc_1")
    assert caught.value.code is None


@pytest.mark.parametrize("body", [{"error": "No."}, {"message": "No."}, {"detail": "No."}])
async def test_what_a_gateway_says_in_a_shape_of_its_own_is_in_the_error(body) -> None:
    async with client(httpx.Response(418, json=body)) as (rest, _service):
        with pytest.raises(RequestFailed, match=r'hangup call rtc_1: HTTP 418; "No\."$'):
            await rest.hang_up_call("rtc_1")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"value": 1}', b'{"value": "ek_1", "expires_at": "soon"}'])
async def test_an_answer_without_a_secret_is_a_failure(body) -> None:
    async with client(httpx.Response(200, content=body)) as (rest, _service):
        with pytest.raises(RequestFailed, match="has no value and expires_at"):
            await rest.create_client_secret()


# ---- what cannot be asked -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "act, complaint",
    [
        (lambda rest: rest.reject_call("rtc_1", status_code=200), "status_code: got 200"),
        (lambda rest: rest.reject_call("rtc_1", status_code=True), "status_code: got True"),
        (lambda rest: rest.refer_call("rtc_1", "+14155550123"), r"target_uri: got '\+14155550123'"),
        (lambda rest: rest.refer_call("rtc_1", "tel:+1\r\nX: y"), "target_uri"),
        (lambda rest: rest.hang_up_call(""), "call_id: got ''"),
        (lambda rest: rest.hang_up_call(".."), "call_id: got '..'"),
        (lambda rest: rest.hang_up_call("."), "call_id: got '.'"),
        (lambda rest: rest.hang_up_call(5), "call_id: got 5"),
        (lambda rest: rest.hang_up_call(b"rtc_1"), "call_id"),
        (lambda rest: rest.hang_up_call("\udc80"), "call_id"),
        (lambda rest: rest.refer_call("rtc_1", None), "target_uri: got None"),
        (lambda rest: rest.create_client_secret(expires_after_s=9), "expires_after_s: got 9"),
        (lambda rest: rest.create_client_secret(expires_after_s=7201), "expires_after_s: got 7201"),
        (lambda rest: rest.accept_call("rtc_1", AGENT, overrides={"voise": "ash"}), "did you mean 'voice'"),
    ],
)
async def test_what_cannot_be_sent_is_refused_before_anything_is(act, complaint) -> None:
    async with client() as (rest, service):
        with pytest.raises(SettingsError, match=complaint):
            await act(rest)
    assert service.requests == []


@pytest.mark.parametrize(
    "options, complaint",
    [
        ({"base_url": "api.openai.com"}, "base_url"),
        ({"base_url": "http://api.openai.com/v1"}, "in the clear"),
        ({"base_url": "https://me:secret@host/v1"}, "without user and password"),
        ({"timeout_s": 0}, "timeout_s: got 0"),
        ({"attempts": 0}, "attempts: got 0"),
    ],
)
def test_a_client_that_cannot_work_is_refused(options, complaint) -> None:
    with pytest.raises(SettingsError, match=complaint) as caught:
        RealtimeRestClient(**options)
    assert "secret" not in str(caught.value)


def test_a_base_url_of_the_environment_is_named_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("api.openai.com", "http://[", "http://api.openai.com/v1"):
        monkeypatch.setenv("OPENAI_BASE_URL", value)
        with pytest.raises(SettingsError, match="OPENAI_BASE_URL: got"):
            RealtimeRestClient(api_key="sk-test")


async def test_a_client_is_used_inside_its_block() -> None:
    rest = RealtimeRestClient(api_key="sk-test", base_url=BASE_URL)
    with pytest.raises(RuntimeError, match="async with RealtimeRestClient"):
        await rest.hang_up_call("rtc_1")
    async with rest:
        with pytest.raises(RuntimeError, match="open already"):
            await rest.__aenter__()


async def test_without_httpx_the_error_names_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingDependency, match=r'pip install "trealtime\[http\]"'):
        async with RealtimeRestClient(api_key="sk-test", base_url=BASE_URL):
            pytest.fail("it opened")


# ---- answers that are no friends ------------------------------------------------------------------------------------


async def test_json_that_is_nested_without_end_is_a_failure_and_no_recursion() -> None:
    for status in (200, 400):
        async with client(httpx.Response(status, text="[" * 200_000)) as (rest, _):
            with pytest.raises(RequestFailed):
                await rest.create_client_secret()


async def test_a_key_that_the_service_repeats_is_not_in_the_error() -> None:
    refusal = httpx.Response(401, json={"error": {"message": "wrong key sk-test-secret", "code": "sk-test-secret"}})
    async with client(refusal, api_key="sk-test-secret") as (rest, _):
        with pytest.raises(RequestFailed) as caught:
            await rest.create_client_secret()
    assert "sk-test-secret" not in f"{caught.value}{caught.value.body}{caught.value.code}"
    assert "wrong key ..." in str(caught.value)


class Stream(httpx.AsyncByteStream):
    """A body that comes in pieces, and counts how much of it was taken."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            await trio.lowlevel.checkpoint()
            self.taken += len(piece)
            yield piece


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compressed_answer_is_read_to_a_bound(encoding) -> None:
    bomb = {"gzip": gzip.compress, "deflate": zlib.compress}[encoding](b'{"value": "' + bytes(100 << 20))
    tracemalloc.start()
    async with client(httpx.Response(500, stream=Stream(bomb), headers={"content-encoding": encoding})) as (rest, _):
        with pytest.raises(RequestFailed):
            await rest.accept_call("rtc_1", AGENT)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20 << 20
    good = (
        gzip.compress(json.dumps(SECRET).encode()) if encoding == "gzip" else zlib.compress(json.dumps(SECRET).encode())
    )
    headers = {"content-encoding": encoding}
    async with client(httpx.Response(200, stream=Stream(good), headers=headers)) as (rest, service):
        assert (await rest.create_client_secret()).value == "ek_1"
        assert service.requests[-1].headers["accept-encoding"] == "identity"


async def test_an_answer_without_end_is_read_to_a_bound() -> None:
    stream = Stream(*[bytes(65536)] * 1000)
    async with client(httpx.Response(400, stream=stream)) as (rest, _):
        with pytest.raises(RequestFailed) as caught:
            await rest.create_client_secret()
    assert caught.value.status == 400
    assert stream.taken <= 2 << 20


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed_so_that_no_other_host_sees_the_key(status) -> None:
    """Also with a client that follows redirects, which keeps headers such as ``api-key`` on the way."""
    hosts = []

    async def service(request: Any) -> Any:
        hosts.append(request.url.host)
        if request.url.host == "elsewhere.example":
            return httpx.Response(200, json=SECRET)
        return httpx.Response(status, headers={"Location": "https://u:pw@elsewhere.example/v1?x=1"})

    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(service), follow_redirects=True) as http,
        RealtimeRestClient(headers={"api-key": "k"}, base_url=BASE_URL, http_client=http) as rest,
    ):
        with pytest.raises(RequestFailed, match=f"HTTP {status}; redirects are not followed") as caught:
            await rest.create_client_secret()
    assert hosts == ["localhost"]
    assert "https://elsewhere.example/v1?x=..." in str(caught.value)


async def test_an_error_has_no_escape_sequences_and_no_key_that_the_service_repeats() -> None:
    async def service(request: Any) -> Any:
        key = request.headers["authorization"].rpartition(" ")[2]
        return httpx.Response(
            401, json={"error": {"message": "\x1b[2Jgone\n\u202e"}}, headers={"x-request-id": f"req {key}"}
        )

    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(service)) as http,
        RealtimeRestClient(api_key="sk-SECRET0123", base_url=BASE_URL, http_client=http) as rest,
    ):
        with pytest.raises(RequestFailed, match="HTTP 401") as caught:
            await rest.hang_up_call("rtc_1")
    assert r'"\x1b[2Jgone\n\u202e"' in str(caught.value)
    assert caught.value.request_id == "req ..."


async def test_a_report_with_local_variables_has_no_key() -> None:
    async def service(request: Any) -> Any:
        raise httpx.ConnectError("refused")

    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(service)) as http,
        RealtimeRestClient(api_key="sk-SECRET0123", base_url=BASE_URL, http_client=http, attempts=1) as rest,
    ):
        with pytest.raises(RequestFailed) as caught:
            await rest.hang_up_call("rtc_1")
    error: BaseException | None = caught.value
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if "trealtime" in frame.f_globals["__name__"]:
                assert "SECRET" not in repr(frame.f_locals)
        error = error.__cause__
