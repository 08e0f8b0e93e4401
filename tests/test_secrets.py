"""What is a secret, and how values are shown without it."""

from __future__ import annotations

import pytest

from trealtime._secrets import hidden, is_secret_name, names_only, redacted, redacted_url, shown, without_values
from trealtime.errors import SettingsError, SettingsProblem
from trealtime.protocol.validation import NOT_SET
from trealtime.settings import RealtimeModelConfig

S = "sk-SECRET0123"


@pytest.mark.parametrize(
    "name",
    ["api_key", "apikey", "apiKey", "API-KEY", "x-api-key", "token", "access_token", "accessToken", "secret",
     "password", "client_secret", "authorization", "authorisation", "Proxy-Authorization", "cookie", "Set-Cookie",
     "headers", "header", "env", "credentials", "ephemeral_key", "private_key", "OPENAI_API_KEY", "webhook_secret",
     "auth"],
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
    ],
)
def test_a_problem_of_settings_shows_no_secret(value: object, path: str) -> None:
    problem = SettingsProblem(path, value, "something else")
    for text in (str(problem), repr(problem), str(SettingsError([problem])), repr(SettingsError([problem]))):
        assert S not in text
    assert problem.value is value


def test_what_is_no_secret_is_shown_as_it_is() -> None:
    for value in ("text", 5, None, ["a", {"b": 1}], ("x",), {"model": "m"}, b"bytes", "me@example.com"):
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


def test_an_address_keeps_what_tells_where_it_leads() -> None:
    assert redacted_url(f"https://u:{S}@host:8/path?model=m&x={S}#{S}") == "https://host:8/path?model=m&x=..."
    assert redacted_url("http://[bad") == "an unreadable URL"


def test_json_is_written_without_secrets() -> None:
    value = {"a": [{"token": S}, 1], "server_url": f"https://h/?t={S}", "text": "https://h/?t=1", "password": None}
    assert redacted(value) == {
        "a": [{"token": "<removed>"}, 1], "server_url": "https://h/?t=...", "text": "https://h/?t=1", "password": None,
    }  # fmt: skip


def test_a_header_that_a_page_repeats_is_cut_out_of_it() -> None:
    assert without_values(f"bad key {S}", {"Authorization": f"Bearer {S}", "X": "1"}) == "bad key ..."
