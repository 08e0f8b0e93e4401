"""What is a secret, and how values are shown without it."""

from __future__ import annotations

import copy
import pickle
import pprint
import traceback
from types import SimpleNamespace

import pytest

from trealtime import AzureRealtimeModel, OpenAIRealtimeModel, RealtimeAgent
from trealtime._secrets import (
    Headers,
    hidden,
    is_secret_name,
    names_only,
    parsed_url,
    redacted,
    redacted_url,
    shown,
    without_keys,
    without_values,
)
from trealtime.calls import RealtimeRestClient
from trealtime.endpoints import check_twilio_signature
from trealtime.errors import (
    ConnectFailed,
    ConnectionLost,
    MCPServerFailed,
    MissingDependency,
    RequestFailed,
    RequestTimedOut,
    SettingsError,
    SettingsProblem,
    ToolTimedOut,
    TrealtimeError,
    WebhookRefused,
)
from trealtime.protocol.validation import NOT_SET
from trealtime.settings import RealtimeModelConfig, RealtimeRunConfig, SessionSettings
from trealtime.transport.models import ConnectionTarget
from trealtime.transport.request import is_loopback, realtime_url

S = "sk-SECRET0123"
P = "hunter22hunter22"
"""A password, which looks like no key."""


@pytest.mark.parametrize(
    "name",
    ["api_key", "apikey", "apiKey", "API-KEY", "x-api-key", "token", "access_token", "accessToken", "secret",
     "password", "client_secret", "authorization", "authorisation", "Proxy-Authorization", "cookie", "Set-Cookie",
     "headers", "header", "env", "credentials", "ephemeral_key", "private_key", "OPENAI_API_KEY", "webhook_secret",
     "auth", "authtoken", "x-accesstoken", "privatekey", "Ocp-Apim-Subscription-Key", "x-functions-key", "account_key",
     "session_key", "jwt"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "key", "keywords", "total_tokens", "max_output_tokens", "token_limits", "input_token_details", "call_id",
     "url", "author", "sort_key", "name", "instructions", "metadata", "environmental", "passage", "headline"],
)  # fmt: skip
def test_names_that_are_none(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "value, path",
    [
        (S.encode(), "api_key"),
        (S, "model_config.apikey"),
        ([("Authorization", S)], "headers"),
        ({"Authorization": S}, "params.header"),
        (S, "headers.Authorization"),
        ({"nested": {"password": S}}, "anything"),
        ([{"token": S}], "list"),
        (f"wss://example.com/?api-key={S}\n", "url"),
        (f"http://user:{S}@proxy:1", "proxi"),
        (f"user:{S}@proxy:1", "proxy"),
        (f"ws:///user:{S}@h/", "url"),
        (f"ws:user:{S}@h/", "url"),
        (f"wss://h/?api-key={S}".encode(), "url"),
        (f"wss://h/{S}/x", "url"),
        (S, ""),
        ([S], ""),
        (f"--token {S}", "params.args"),
        (1, f"headers.Authorization: Bearer {S}"),
        ({"type": "mcp", "authorization": S, "headers": {"x": S}}, "tools"),
        *(
            (value, "")
            for value in (
                SimpleNamespace(api_key=P),
                SimpleNamespace(headers={"x": P}),
                SimpleNamespace(env=[("a", P)]),
                SimpleNamespace(api_key=P.encode()),
                {("api_key", P)},
                [("api_key", P)],
                ["x", "--token", P],
                [f"--token={P}"],
                f"api_key={P}",
                f'{{"api_key": "{P}"}}',
                f"password: '{P}'",
                f"https://u:{P}@ho\u2100st/",
                {f"token={P}": 1},
            )
        ),
    ],
)
def test_a_problem_of_settings_shows_no_secret(value: object, path: str) -> None:
    problem = SettingsProblem(path, value, "something else")
    for text in (str(problem), repr(problem), str(SettingsError([problem])), repr(SettingsError([problem]))):
        assert S not in text
        assert P not in text
    assert problem.value is value


def test_the_value_of_a_key_that_there_is_not_is_not_shown() -> None:
    """It may be a misspelt name: ``key``, ``environ``."""
    problem = SettingsProblem("params.environ", {"KEY": S}, "keys here: env", "env", unknown_key=True)
    assert S not in str(problem) + repr(problem)


UNREADABLE = f"https://user:{P}@ho\u2100st/v1"
"""An address whose host has a character that `urllib` refuses, with the whole of it in the error."""


@pytest.mark.parametrize(
    "use",
    [
        lambda: RealtimeRestClient(api_key="k", base_url=UNREADABLE),
        lambda: check_twilio_signature(UNREADABLE, auth_token="t", signature="s"),
        lambda: check_twilio_signature(f"https://user:{P}@host/?token={P}", auth_token="t", signature="s"),
        lambda: check_twilio_signature(f"user:{P}@host/", auth_token="t", signature="s"),
        lambda: realtime_url(UNREADABLE, model="m", call_id=None),
        lambda: AzureRealtimeModel(deployment="d", endpoint=UNREADABLE)._url(ConnectionTarget()),
    ],
)
def test_the_error_of_an_address_shows_no_password(use) -> None:
    with pytest.raises((ValueError, WebhookRefused)) as caught:
        use()
    assert P not in "".join(traceback.format_exception(caught.value, chain=True)).partition("Error")[2]


def test_an_address_that_cannot_be_read_is_no_loopback_and_has_no_parts() -> None:
    assert parsed_url(UNREADABLE) is parsed_url("http://h:port") is parsed_url("http://[::1") is None
    assert not is_loopback(UNREADABLE)
    assert without_values("page", {"X": "12345678"}, UNREADABLE) == "page"


def test_models_and_configurations_with_settings_show_no_secret() -> None:
    tool = {"type": "mcp", "server_label": "l", "server_url": f"https://u:{P}@h/?t={P}", "authorization": P}
    url = f"https://u:{P}@h/v1?key={P}"
    for value in (
        RealtimeModelConfig(initial_model_settings={"tools": [tool]}),
        RealtimeRunConfig(model_settings={"tools": [tool]}),
        OpenAIRealtimeModel(base_url=url),
        AzureRealtimeModel(deployment="d", endpoint=url),
    ):
        assert P not in repr(value)


def test_a_sentence_with_a_colon_is_no_secret() -> None:
    text = "two args: 5 and 6, sort_key=name, max_tokens=5, https://h/p"
    assert without_keys(text) == text
    assert without_keys(f"login failed: password={P}, user=me") == "login failed: password=<removed>, user=me"


def test_what_is_no_secret_is_shown_as_it_is() -> None:
    for value in ("text", 5, None, ["a", {"b": 1}], ("x",), {"model": "m"}, b"bytes", "me@example.com", {"a"}, set()):
        assert shown(value, "model") == repr(value)
    assert shown("wss://h:1/p?model=m&key=k", "url") == repr("wss://h:1/p?model=m&key=...")


def test_configurations_show_what_is_set_and_no_value() -> None:
    config = RealtimeModelConfig(api_key=S, headers={"Authorization": S}, url=f"wss://u:{S}@h/?api-key={S}")
    assert S not in repr(config)
    assert "api_key=<str, not shown>" in repr(config)
    assert "headers=<Authorization; values not shown>" in repr(config)
    assert "url='wss://h/?api-key=...'" in repr(config)
    assert "api_key=NOT_SET" in repr(RealtimeModelConfig())
    assert (hidden(None), hidden(NOT_SET), names_only(None), names_only({})) == (
        "None", "NOT_SET", "None", "<none; values not shown>",
    )  # fmt: skip


def test_session_settings_show_tools_without_their_secrets() -> None:
    tool = {"type": "mcp", "server_label": "l", "server_url": f"https://u:{S}@h/?t={S}", "authorization": S}
    settings = SessionSettings(tools=[tool], extra={"api_key": S})
    assert S not in repr(settings)
    assert "'server_label': 'l'" in repr(settings)
    with pytest.raises(TypeError) as caught:
        RealtimeAgent(name="a", tools=[tool])  # type: ignore[list-item]
    assert S not in str(caught.value)


@pytest.mark.parametrize("segment", ["sk-abcdef0123", "a1" * 10, "0b5e6a3c-1111-2222-3333-444455556666"])
def test_a_secret_in_a_path_is_hidden(segment: str) -> None:
    assert redacted_url(f"https://mcp.example/s/{segment}/mcp") == "https://mcp.example/s/.../mcp"
    assert redacted_url(f"https://mcp.example/{segment}") == "https://mcp.example/..."


@pytest.mark.parametrize("path", ["/v1/realtime", "/openai/deployments/gpt-4o-realtime-preview-2024-10-01/chat", "/"])
def test_an_ordinary_path_is_shown(path: str) -> None:
    assert redacted_url(f"https://h{path}") == f"https://h{path}"


def test_an_address_keeps_what_tells_where_it_leads() -> None:
    assert redacted_url(f"https://u:{S}@host:8/path?model=m&x={S}#{S}") == "https://host:8/path?model=m&x=..."
    assert redacted_url("http://[bad") == "an unreadable URL"


def test_json_is_written_without_secrets() -> None:
    value = {"a": [{"token": S}, 1], "server_url": f"https://h/?t={S}", "text": "https://h/?t=1", "password": None}
    assert redacted(value) == {
        "a": [{"token": "<removed>"}, 1], "server_url": "https://h/?t=...", "text": "https://h/?t=1", "password": None,
    }  # fmt: skip


def test_keys_and_credentials_in_the_text_of_a_message_are_not_written() -> None:
    value = {
        "error": {"message": f"wrong key {S}."}, "text": f"see https://u:{P}@h/?q=1", "proxy": f"http://u:{P}@p:1",
        "location": f"https://h/?sig={P}", "said": "the basic token is a sk-etch of task-management_tools",
    }  # fmt: skip
    assert redacted(value) == {
        "error": {"message": "wrong key <removed>."}, "text": "see https://h/?q=1", "proxy": "http://p:1",
        "location": "https://h/?sig=...", "said": value["said"],
    }  # fmt: skip


def test_a_header_that_a_page_repeats_is_cut_out_of_it() -> None:
    assert without_values(f"bad key {S}", {"Authorization": f"Bearer {S}", "X": "1"}) == "bad key ..."


def test_what_was_in_the_address_is_cut_out_of_a_page_too() -> None:
    url = "wss://h/p?model=gpt-realtime&api-key=abc%2Fdefgh%3D"
    page = "Cannot GET /p?model=gpt-realtime&api-key=abc%2Fdefgh%3D (abc/defgh=)"
    assert without_values(page, None, url) == "Cannot GET /p?model=gpt-realtime&api-key=... (...)"


@pytest.mark.parametrize(
    "error",
    [
        ConnectFailed("m", url="wss://h", status=401, headers={"a": "b"}),
        MCPServerFailed("m", server_name="n"),
        MissingDependency("f", extra="http"),
        RequestFailed("m", request="r", status=500),
        RequestTimedOut(request="r", timeout_s=1.0),
        SettingsError([SettingsProblem("a", 1, "b")]),
        ToolTimedOut(tool_name="t", timeout=1.0),
        WebhookRefused("m", reason="bad_body"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_can_be_pickled_and_copied(error: TrealtimeError) -> None:
    """As pools of processes and parallel test runs do."""
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is type(error)
        assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))


def test_headers_show_their_names_alone() -> None:
    headers = Headers(Authorization=f"Bearer {S}")
    assert repr(headers) == str(headers) == "<Authorization; values not shown>"
    assert pprint.pformat({"headers": headers}) == "{'headers': <Authorization; values not shown>}"
    assert headers["Authorization"] == f"Bearer {S}"


@pytest.mark.parametrize("kind", [TrealtimeError, ConnectFailed, ConnectionLost, WebhookRefused, MissingDependency])
def test_the_text_of_an_error_commands_no_terminal(kind) -> None:
    said = "one\n\x1b[2Jgone\x9b2J\u202e\r"
    options = {WebhookRefused: {"reason": "bad_body"}, MissingDependency: {"extra": "x"}}.get(kind, {})
    assert r"\x1b[2Jgone\x9b2J\u202e\r" in str(kind(said, **options))
    assert "one\n" in str(kind(said, **options))


@pytest.mark.parametrize("run", ["a", "a1", "a.", "-", "a ", "://a", "sk-"])
def test_a_long_text_takes_no_longer_than_its_length(run: str) -> None:
    """A server or a file may bring one, and with the square of its length this would take hours."""
    text = run * (600_000 // len(run))
    assert without_keys(f"{text} password=hunter2").endswith("password=<removed>")
