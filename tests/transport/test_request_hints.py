"""What an answer that redirects is told to be, for every kind of request."""

from __future__ import annotations

import pytest

from trealtime.transport.failures import refusal
from trealtime.transport.request import redirect_hint


@pytest.mark.parametrize("status", [200, 299, 400, 503])
def test_other_answers_have_no_such_hint(status: int) -> None:
    assert redirect_hint(status, {"location": "wss://there.example"}, setting="url") is None


def test_the_hint_names_the_setting_and_hides_keys_in_the_address() -> None:
    there = {"location": "https://u:pw@there.example/v1?key=secret"}
    hint = "redirects are not followed: use the base_url that leads to https://there.example/v1?key=..."
    assert redirect_hint(302, there, setting="base_url") == hint
    assert str(refusal("wss://here.example", 307, there, "")).endswith(hint.replace("base_url", "url"))
    assert str(refusal("wss://here.example", 301, {}, "")).endswith("use the url that leads to the new address")
