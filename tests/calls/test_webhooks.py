"""Webhooks: what is taken, what is refused and why, and what counts only once. Peer behaviours B282, B297."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from trealtime import SettingsError
from trealtime.calls import IncomingCall, OtherWebhook, RealtimeWebhooks, SipHeader
from trealtime.calls.webhooks import webhook_signature
from trealtime.errors import WebhookRefused

NOW = 1_800_000_000
SECRET = "whsec_" + base64.b64encode(b"a key of the service").decode()
EVENT = {
    "object": "event",
    "id": "evt_1",
    "type": "realtime.call.incoming",
    "created_at": NOW - 1,
    "data": {
        "call_id": "rtc_1",
        "sip_headers": [
            {"name": "From", "value": "sip:+14155550100@example.com"},
            {"name": "CSeq", "value": "1 INVITE"},
        ],
    },
}


def make(**options: Any) -> RealtimeWebhooks:
    return RealtimeWebhooks(**{"secret": SECRET, "now": lambda: float(NOW), **options})


def delivery(
    event: object = EVENT, *, id: str = "wh_1", at: object = NOW, secret: str = SECRET
) -> tuple[dict[str, str], bytes]:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    signature = webhook_signature(secret, id, str(at), body)
    return {"webhook-id": id, "webhook-timestamp": str(at), "webhook-signature": signature}, body


def refused(webhooks: RealtimeWebhooks, headers: Mapping[str, str], body: bytes) -> WebhookRefused:
    with pytest.raises(WebhookRefused) as caught:
        webhooks.receive(headers, body)
    return caught.value


# ---- what is taken --------------------------------------------------------------------------------------------------


def test_an_incoming_call_has_its_id_and_the_headers_of_the_invite() -> None:
    event = make().receive(*delivery())
    assert event == IncomingCall(
        call_id="rtc_1",
        sip_headers=(SipHeader("From", "sip:+14155550100@example.com"), SipHeader("CSeq", "1 INVITE")),
        event_id="evt_1",
        webhook_id="wh_1",
        created_at_unix_s=NOW - 1,
    )
    assert event.sip_header("from") == "sip:+14155550100@example.com"
    assert event.sip_header("To") is None


def test_the_example_of_the_standard_has_the_signature_that_it_says() -> None:
    # https://github.com/standard-webhooks/standard-webhooks, the vector of its libraries.
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    signature = webhook_signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_documented_example_of_the_service_is_read(schema: Any) -> None:
    example = json.loads((schema.HERE / "examples" / "webhook" / "realtime.call.incoming.json").read_text())
    event = make().receive(*delivery(example))
    assert isinstance(event, IncomingCall)
    assert event.call_id == example["data"]["call_id"]
    assert event.sip_header("cseq") == "851287 INVITE"


def test_header_names_come_in_any_case() -> None:
    headers, body = delivery()
    assert make().receive({name.title(): value for name, value in headers.items()}, body) is not None


def test_one_of_several_signatures_is_enough() -> None:
    headers, body = delivery()
    other = delivery(secret="whsec_" + base64.b64encode(b"the old key").decode())[0]["webhook-signature"]
    headers["webhook-signature"] = f"v2,later {other} {headers['webhook-signature']}"
    assert make().receive(headers, body) is not None


def test_a_secret_that_is_not_base64_is_the_key_itself() -> None:
    headers, body = delivery(secret="plain")
    assert RealtimeWebhooks("plain", now=lambda: float(NOW)).receive(headers, body) is not None


def test_a_webhook_of_another_type_is_handed_on() -> None:
    event = make().receive(*delivery({"id": "evt_2", "type": "response.completed", "data": {"id": "resp_1"}}))
    assert event == OtherWebhook(type="response.completed", data={"id": "resp_1"}, event_id="evt_2", webhook_id="wh_1")


@pytest.mark.parametrize("headers", [None, "junk", [None, {"name": 1, "value": "x"}, {"name": "a"}]])
def test_headers_of_the_caller_that_cannot_be_read_are_left_out(headers) -> None:
    event = make().receive(*delivery({**EVENT, "data": {"call_id": "rtc_1", "sip_headers": headers}}))
    assert isinstance(event, IncomingCall)
    assert event.sip_headers == ()


# ---- once -----------------------------------------------------------------------------------------------------------


def test_b282_a_delivery_that_is_repeated_is_none() -> None:
    webhooks = make()
    assert webhooks.receive(*delivery()) is not None
    assert webhooks.receive(*delivery()) is None
    assert webhooks.receive(*delivery(at=NOW + 20)) is None  # signed anew, the same id
    assert webhooks.receive(*delivery(id="wh_2")) is not None


def test_a_delivery_that_was_forgotten_is_new() -> None:
    webhooks = make()
    event = webhooks.receive(*delivery())
    assert event is not None
    webhooks.forget(event)
    assert webhooks.receive(*delivery()) == event


def test_a_forged_delivery_does_not_use_up_the_id_of_the_real_one() -> None:
    webhooks = make()
    headers, body = delivery()
    refused(webhooks, {**headers, "webhook-signature": "v1,AAAA"}, body)
    assert webhooks.receive(headers, body) is not None


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_header_that_is_missing_is_named(name, value) -> None:
    headers, body = delivery()
    headers = {key: each for key, each in headers.items() if key != name} | ({} if value is None else {name: value})
    error = refused(make(), headers, body)
    assert error.reason == "missing_header"
    assert name in str(error)


@pytest.mark.parametrize(
    "signature",
    ["v1,AAAA", "AAAA", "v1,", "v1a,AAAA", "v1,ümläut", "v1 AAAA", webhook_signature(SECRET, "wh_2", str(NOW), b"{}")],
)
def test_a_signature_that_is_not_ours_is_refused(signature) -> None:
    headers, body = delivery()
    assert refused(make(), {**headers, "webhook-signature": signature}, body).reason == "bad_signature"


def test_a_changed_body_or_timestamp_breaks_the_signature() -> None:
    headers, body = delivery()
    assert refused(make(), headers, body + b" ").reason == "bad_signature"
    assert refused(make(), {**headers, "webhook-timestamp": str(NOW + 1)}, body).reason == "bad_signature"


@pytest.mark.parametrize(
    "age_s, reason", [(-301, "too_new"), (-300, None), (0, None), (300, None), (301, "too_old"), (86_400, "too_old")]
)
def test_a_timestamp_may_be_off_by_the_tolerance(age_s, reason) -> None:
    headers, body = delivery(at=NOW - age_s)
    if reason is None:
        assert make().receive(headers, body) is not None
    else:
        assert refused(make(), headers, body).reason == reason


def test_the_tolerance_can_be_chosen() -> None:
    assert refused(make(tolerance_s=5), *delivery(at=NOW - 6)).reason == "too_old"


@pytest.mark.parametrize("timestamp", ["yesterday", "1.5", "-1", "nan", "9" * 400])
def test_a_timestamp_that_is_no_whole_number_of_seconds_is_refused(timestamp) -> None:
    error = refused(make(), *delivery(at=timestamp))
    assert error.reason == "bad_timestamp"
    assert len(str(error)) < 600


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not JSON",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"type": 1, "data": {}}',
        b'{"type": "realtime.call.incoming"}',
        b'{"type": "realtime.call.incoming", "data": []}',
        b'{"type": "realtime.call.incoming", "data": {}}',
        b'{"type": "realtime.call.incoming", "data": {"call_id": ""}}',
        b'{"type": "realtime.call.incoming", "data": {"call_id": 7}}',
    ],
)
def test_a_signed_body_that_is_no_event_is_refused(body) -> None:
    assert refused(make(), *delivery(body)).reason == "bad_body"


def test_a_refusal_is_a_value_error_and_shows_no_secret() -> None:
    headers, body = delivery()
    error = refused(make(), {**headers, "webhook-signature": "v1,AAAA"}, body)
    assert isinstance(error, ValueError)
    assert SECRET not in str(error)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda headers: list(headers.items()), "got list"),
        (lambda headers: {name.encode(): value.encode() for name, value in headers.items()}, "got bytes to bytes"),
        (lambda headers: {name: [value] for name, value in headers.items()}, "got str to list"),
        (lambda headers: {**headers, None: "text"}, "got NoneType to str"),
    ],
)
def test_headers_of_another_shape_are_a_type_error_that_says_what_to_pass(change, words) -> None:
    headers, body = delivery()
    with pytest.raises(TypeError, match=f"headers must be a mapping of names to text.*{words}"):
        make().receive(change(headers), body)


@pytest.mark.parametrize("body", ["{}", {}, None, 5, [1]])
def test_a_body_that_was_decoded_is_a_type_error_that_says_what_to_pass(body: Any) -> None:
    headers, _ = delivery()
    with pytest.raises(TypeError, match=f"the request's bytes as they came, got {type(body).__name__}"):
        make().receive(headers, body)


class Lines(Mapping[str, str]):
    """Headers of a web framework, in which a name may have several lines."""

    def __init__(self, *lines: tuple[str, str]) -> None:
        self.lines = lines

    def items(self) -> Any:
        return list(self.lines)

    def __getitem__(self, name: str) -> str:
        return next(value for each, value in self.lines if each == name)

    def __iter__(self) -> Any:
        return (name for name, _ in self.lines)

    def __len__(self) -> int:
        return len(self.lines)


@pytest.mark.parametrize("ours_first", [True, False])
def test_several_signatures_may_come_in_several_lines_or_be_joined_by_commas(ours_first: bool) -> None:
    headers, body = delivery()
    pair = [headers["webhook-signature"], delivery(secret="another")[0]["webhook-signature"]]
    ours, other = signatures = pair if ours_first else pair[::-1]
    rest = [(name.title(), value) for name, value in headers.items() if name != "webhook-signature"]
    lines = Lines(*rest, ("Webhook-Signature", ours), ("webhook-signature", other))
    assert make().receive(lines, body) is not None
    for separator in (", ", ",", " ", "\t"):
        assert make().receive({**headers, "webhook-signature": separator.join(signatures)}, body) is not None


@pytest.mark.parametrize("ours_first", [True, False])
def test_a_header_that_says_two_things_is_refused(ours_first: bool) -> None:
    headers, body = delivery()
    lines = [*headers.items(), ("Webhook-Id", "wh_2")]
    webhooks = make()
    assert refused(webhooks, Lines(*lines if ours_first else lines[::-1]), body).reason == "bad_signature"
    assert webhooks.receive(Lines(*headers.items(), *headers.items()), body) is not None


# ---- the secret -----------------------------------------------------------------------------------------------------


def test_the_secret_is_taken_from_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", SECRET)
    assert RealtimeWebhooks(now=lambda: float(NOW)).receive(*delivery()) is not None


def test_several_secrets_are_taken_while_one_is_being_changed() -> None:
    webhooks = make(secret=["the new one", SECRET])
    assert webhooks.receive(*delivery()) is not None
    assert webhooks.receive(*delivery(id="wh_2", secret="the new one")) is not None
    assert refused(webhooks, *delivery(id="wh_3", secret="a third")).reason == "bad_signature"


@pytest.mark.parametrize(
    "options, complaint",
    [
        ({"secret": ""}, "OPENAI_WEBHOOK_SECRET"),
        ({"secret": []}, "OPENAI_WEBHOOK_SECRET"),
        ({"secret": [SECRET, ""]}, "OPENAI_WEBHOOK_SECRET"),
        ({"secret": b"!!not shown"}, "text: whsec_ and base64"),
        ({"secret": 5}, "text: whsec_ and base64"),
        ({"tolerance_s": "5"}, "tolerance_s: got '5'"),
        ({"remembered": "5"}, "remembered: got '5'"),
        ({"secret": "whsec_"}, "whsec_ and base64"),
        ({"secret": "whsec_!!not base64!!"}, "whsec_ and base64"),
        ({"tolerance_s": -1}, "tolerance_s: got -1"),
        ({"tolerance_s": float("nan")}, "tolerance_s: got nan"),
        ({"remembered": 0}, "remembered: got 0"),
    ],
)
def test_settings_that_cannot_be_are_refused_and_secrets_not_shown(monkeypatch, options, complaint) -> None:
    monkeypatch.delenv("OPENAI_WEBHOOK_SECRET", raising=False)
    with pytest.raises(SettingsError, match=complaint) as caught:
        make(**options)
    assert "!!not" not in str(caught.value)


def test_what_could_be_replayed_is_remembered_and_others_up_to_the_number() -> None:
    now = [float(NOW)]
    webhooks = make(remembered=2, now=lambda: now[0])
    for number in range(5000):
        assert webhooks.receive(*delivery(id=f"wh_{number}")) is not None
    assert [webhooks.receive(*delivery(id=f"wh_{number}")) for number in (0, 1, 4999)] == [None, None, None]
    now[0] += 301  # past the tolerance: the timestamp refuses a replay, so the ids may go
    assert webhooks.receive(*delivery(id="new", at=NOW + 301)) is not None
    assert len(webhooks._seen) == 2
    assert webhooks.receive(*delivery(id="wh_4999", at=NOW + 301)) is None
    assert webhooks.receive(*delivery(id="wh_0", at=NOW + 301)) is not None


def test_a_repetition_is_remembered_for_as_long_as_it_could_be_replayed_itself() -> None:
    now = [float(NOW)]
    webhooks = make(remembered=1, now=lambda: now[0])
    assert webhooks.receive(*delivery(id="wh_0")) is not None
    now[0] += 200
    again = delivery(id="wh_0", at=NOW + 200)
    assert webhooks.receive(*again) is None
    now[0] += 150  # past the tolerance of the first, not of the second
    assert webhooks.receive(*delivery(id="wh_1", at=NOW + 350)) is not None
    assert webhooks.receive(*delivery(id="wh_2", at=NOW + 350)) is not None
    assert webhooks.receive(*again) is None


@pytest.mark.parametrize("name", ["id", "timestamp", "signature"])
def test_half_a_character_in_a_header_is_refused(name: str) -> None:
    headers, body = delivery()
    error = refused(make(), {**headers, f"webhook-{name}": f"{headers[f'webhook-{name}']}\ud83d"}, body)
    assert error.reason == "bad_signature"


def test_half_a_character_in_a_call_id_is_refused() -> None:
    event = {**EVENT, "data": {"call_id": "rtc_\ud83d"}}
    assert refused(make(), *delivery(event)).reason == "bad_body"


@pytest.mark.parametrize("value, told", [("srtp", "srtp"), ("rtp", "rtp"), ("new", "new"), (None, None), (5, None)])
def test_how_the_audio_of_a_call_travels_is_told(value: object, told: str | None) -> None:
    event = {**EVENT, "data": {"call_id": "rtc_1", "sip_media_security": value}}
    call = make().receive(*delivery(event))
    assert isinstance(call, IncomingCall)
    assert call.sip_media_security == told


def test_half_a_character_that_a_caller_wrote_can_be_printed() -> None:
    headers = [{"name": "From\ud83d", "value": "\ud83dAda"}]
    event = {"id": "evt\ud83d", "type": "realtime.call.incoming", "created_at": True}
    call = make().receive(*delivery({**event, "data": {"call_id": "c", "sip_headers": headers}}))
    assert call == IncomingCall(
        call_id="c", sip_headers=(SipHeader("From?", "?Ada"),), event_id="evt?", webhook_id="wh_1"
    )
    other = make().receive(*delivery({"type": "\ud83d", "data": {}}))
    assert other == OtherWebhook(type="?", webhook_id="wh_1")
