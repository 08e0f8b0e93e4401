"""X-Twilio-Signature: the documented example, the documented algorithm by hand, and what must not pass."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Any

import pytest

from trealtime.endpoints.twilio import check_twilio_signature, sign_twilio_request
from trealtime.errors import WebhookRefused

TOKEN = "12345"
URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
PARAMS = {
    "To": "+18005551212",
    "CallSid": "CA1234567890ABCDE",
    "Digits": "1234",
    "From": "+12349013030",
    "Caller": "+12349013030",
}


def by_hand(text: str, token: str = TOKEN) -> str:
    return base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()


def test_the_example_of_twilios_documentation() -> None:
    signature = "0/KCTR6DLpKmkAf8muzZqo1nDgQ="
    assert sign_twilio_request(URL, auth_token=TOKEN, params=PARAMS) == signature
    check_twilio_signature(URL, auth_token=TOKEN, signature=signature, params=PARAMS)


@pytest.mark.parametrize(
    "url, params, text",
    [
        ("https://a.example/x", None, "https://a.example/x"),
        ("https://a.example/x", {}, "https://a.example/x"),
        ("wss://a.example/stream", None, "wss://a.example/stream"),
        ("https://a.example/x", {"b": "2", "a": "1", "B": "3"}, "https://a.example/xB3a1b2"),
        ("https://a.example/x", {"a": ["2", "1", "2"]}, "https://a.example/xa1a2"),
        ("https://a.example/x", {"a": ""}, "https://a.example/xa"),
        ("https://a.example/ü", {"name": "Jürgen"}, "https://a.example/ünameJürgen"),
    ],
)
def test_the_algorithm(url, params, text) -> None:
    assert sign_twilio_request(url, auth_token=TOKEN, params=params) == by_hand(text)
    check_twilio_signature(url, auth_token=TOKEN, signature=by_hand(text), params=params)


@pytest.mark.parametrize(
    "url, signed",
    [
        ("https://a.example/x", "https://a.example:443/x"),
        ("https://a.example:443/x", "https://a.example/x"),
        ("wss://a.example/x?y=1", "wss://a.example:443/x?y=1"),
        ("http://a.example:80/x", "http://a.example/x"),
        ("https://a.example:8443/x", "https://a.example:8443/x"),
        ("https://a.example:8443/x?y=1", "https://a.example/x?y=1"),
        ("wss://a.example:8443/x", "wss://a.example/x"),
        ("https://[2001:db8::1]:8443/x", "https://[2001:db8::1]/x"),
        ("https://[2001:db8::1]/x", "https://[2001:db8::1]:443/x"),
    ],
)
def test_twilio_may_sign_with_the_port_or_without(url, signed) -> None:
    check_twilio_signature(url, auth_token=TOKEN, signature=by_hand(signed))


@pytest.mark.parametrize(
    "url, signed",
    [
        ("https://a.example/x", "https://a.example:8443/x"),
        ("https://a.example:8443/x", "https://a.example:443/x"),
        ("https://a.example:8443/x", "https://a.example:9443/x"),
        ("https://a.example:8443/x", "https://b.example/x"),
    ],
)
def test_another_port_or_host_is_refused(url, signed) -> None:
    with pytest.raises(WebhookRefused):
        check_twilio_signature(url, auth_token=TOKEN, signature=by_hand(signed))


@pytest.mark.parametrize(
    "url, signed",
    [
        ("https://a.example/x?Caller=sip%3A1%4010.0.0.1", "https://a.example/x?Caller=sip:1@10.0.0.1"),
        ("https://a.example/x?say=Couldn%27t+find", "https://a.example/x?say=Couldn't+find"),
        ("https://a.example:8443/x?say=Couldn%27t", "https://a.example/x?say=Couldn't"),
        ("https://a.example/x?b=2&a=1&a=%2F&c&d=", "https://a.example/x?b=2&a=1&a=%2F&c&d="),
        ("https://a.example/x?", "https://a.example:443/x?"),
        ("https://a.example/x%40y?q=%40", "https://a.example/x%40y?q=@"),
        ("https://a.example", "https://a.example/"),
        ("wss://a.example/", "wss://a.example"),
        ("wss://a.example:8443", "wss://a.example/"),
        ("https://a.example?x=1", "https://a.example/?x=1"),
    ],
)
def test_the_query_is_taken_as_it_was_signed_and_an_empty_path_as_a_slash(url, signed) -> None:
    check_twilio_signature(url, auth_token=TOKEN, signature=by_hand(url))
    check_twilio_signature(url, auth_token=TOKEN, signature=by_hand(signed))


@pytest.mark.parametrize(
    "url, signed",
    [
        ("https://a.example/x", "https://a.example/x/"),
        ("https://a.example/x%40y", "https://a.example/x@y"),
        ("https://a.example/x?a=%26b", "https://a.example/x?a=&b"),
        ("https://a.example/x?b=1&a=2", "https://a.example/x?a=2&b=1"),
    ],
)
def test_another_path_or_query_is_refused(url, signed) -> None:
    with pytest.raises(WebhookRefused):
        check_twilio_signature(url, auth_token=TOKEN, signature=by_hand(signed))


@pytest.mark.parametrize("method", ["getlist", "getall"])
def test_the_form_of_a_web_framework_has_all_values_of_a_name(method) -> None:
    class Form(dict[str, str]):  # its items are the first values alone
        pass

    setattr(Form, method, lambda self, name: {"a": ["2", "1", "2"], "b": ["3"]}[name])
    check_twilio_signature(
        "https://a.example/x",
        auth_token=TOKEN,
        signature=by_hand("https://a.example/xa1a2b3"),
        params=Form(a="2", b="3"),
    )


def test_a_body_that_is_no_form_is_vouched_for_by_its_hash_in_the_url() -> None:
    body = b'{"CallSid": "CA1"}'
    url = f"https://a.example/x?bodySHA256={hashlib.sha256(body).hexdigest()}"
    check_twilio_signature(url, auth_token=TOKEN, signature=by_hand(url), body=body)


@pytest.mark.parametrize(
    "change, reason, words",
    [
        ({"signature": None}, "missing_header", "the request has no X-Twilio-Signature"),
        ({"signature": ""}, "missing_header", "the request has no X-Twilio-Signature"),
        ({"signature": "0/KCTR6DLpKmkAf8muzZqo1nDgQ"}, "bad_signature", "X-Twilio-Signature does not fit"),
        ({"signature": "ü"}, "bad_signature", "X-Twilio-Signature does not fit"),
        ({"signature": "half \ud83d"}, "bad_signature", "no Unicode"),
        ({"params": {**PARAMS, "Body": "half \ud83d"}}, "bad_signature", "no Unicode"),
        ({"url": URL + "&half=\ud83d"}, "bad_signature", "no Unicode"),
        ({"body": b"", "url": URL + "&bodySHA256=\ud83d"}, "bad_body", "bodySHA256 does not fit the body"),
        ({"auth_token": "54321"}, "bad_signature", "another auth token, other parameters, or not the URL"),
        ({"url": "http://mycompany.com/myapp.php?foo=1&bar=2"}, "bad_signature", "'http://mycompany.com/myapp.php"),
        ({"url": "https://mycompany.com/myapp.php"}, "bad_signature", "does not fit"),
        ({"params": {**PARAMS, "Digits": "9999"}}, "bad_signature", "does not fit"),
        ({"params": {**PARAMS, "More": "1"}}, "bad_signature", "does not fit"),
        ({"params": None}, "bad_signature", "does not fit"),
        ({"body": b"{}"}, "bad_body", "the URL has no bodySHA256"),
        ({"body": b"{}", "url": URL + "&bodySHA256=" + "0" * 64}, "bad_body", "bodySHA256 does not fit the body"),
    ],
)
def test_whatever_else_is_refused_with_the_reason(change, reason, words) -> None:
    request = {"url": URL, "auth_token": TOKEN, "signature": "0/KCTR6DLpKmkAf8muzZqo1nDgQ=", "params": PARAMS, **change}
    with pytest.raises(WebhookRefused) as caught:
        check_twilio_signature(request.pop("url"), **request)
    assert caught.value.reason == reason
    assert words in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"auth_token": ""}, "auth_token: expected the account's auth token, got an empty string"),
        ({"url": "mycompany.com/myapp.php"}, "url: expected one of http, https, ws or wss"),
    ],
)
def test_what_the_app_gets_wrong_is_no_refusal_of_the_request(change, words) -> None:
    request = {"url": URL, "auth_token": TOKEN, "signature": "x", **change}
    with pytest.raises(ValueError) as caught:
        check_twilio_signature(request.pop("url"), **request)
    assert not isinstance(caught.value, WebhookRefused)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "params, words",
    [
        ([("Digits", "1")], "params: expected a mapping of names to values, got list"),
        ({"Digits": 1}, "params['Digits']: expected a str, or a sequence of them, got int"),
        ({"Digits": None}, "params['Digits']: expected a str, or a sequence of them, got NoneType"),
        ({"Digits": [1]}, "params['Digits']: expected a str, or a sequence of them, got list"),
        ({"Digits": b"1"}, "params['Digits']: expected a str, or a sequence of them, got bytes"),
    ],
)
def test_parameters_of_other_types_are_named(params, words) -> None:
    with pytest.raises(TypeError, match=re.escape(words)):
        check_twilio_signature(URL, auth_token=TOKEN, signature="s", params=params)


@pytest.mark.parametrize("name", ["signature", "auth_token"])
@pytest.mark.parametrize("value", [b"as ASGI has it", ["one", "another"]])
def test_text_of_another_type_is_a_type_error_that_names_it(name: str, value: Any) -> None:
    arguments: dict[str, Any] = {"auth_token": "token", "signature": "AAAA", name: value}
    with pytest.raises(TypeError, match=f"{name}: expected a str, got {type(value).__name__}"):
        check_twilio_signature("https://voice.example/voice", **arguments)
