"""TransportConfig takes what the SDK's users write, and says everything that is wrong with it at once."""

from __future__ import annotations

import ssl

import pytest

from trealtime.errors import SettingsError
from trealtime.transport import TransportConfig


def test_the_defaults_are_bounded() -> None:
    config = TransportConfig.from_value(None)
    assert (config.ping_interval, config.ping_timeout) == (20.0, 20.0)
    assert (config.handshake_timeout, config.close_timeout) == (10.0, 2.0)
    assert config.max_size == 32 * 1024 * 1024
    assert config.proxy is None


def test_a_mapping_sets_some_keys_and_none_switches_off() -> None:
    context = ssl.create_default_context()
    config = TransportConfig.from_value({"ping_interval": None, "max_size": None, "ssl_context": context})
    assert (config.ping_interval, config.max_size, config.ssl_context) == (None, None, context)
    assert config.ping_timeout == 20.0
    assert TransportConfig.from_value(config) is config


def test_every_problem_of_a_mapping_is_in_one_error() -> None:
    with pytest.raises(SettingsError) as caught:
        TransportConfig.from_value({"ping_intervall": 5, "close_timeout": 0, "max_size": "1 MB"})
    problems = {problem.path: problem for problem in caught.value.problems}
    assert set(problems) == {"ping_intervall", "close_timeout", "max_size"}
    assert problems["ping_intervall"].suggestion == "ping_interval"
    assert "positive, finite number of seconds" in problems["close_timeout"].allowed
    assert problems["max_size"].value == "1 MB"


@pytest.mark.parametrize(
    "key, value",
    [
        ("ping_interval", -1),
        ("ping_interval", True),
        ("ping_timeout", float("inf")),
        ("handshake_timeout", None),
        ("handshake_timeout", float("nan")),
        ("close_timeout", "2"),
        ("max_size", 0),
        ("max_size", 1.5),
        ("ssl_context", True),
        ("proxy", "proxy.example:8080"),
        ("proxy", "https://proxy.example:8080"),
        ("proxy", "http://proxy.example"),
        ("proxy", "http://proxy.example:port"),
        ("proxy", 8080),
    ],
)
def test_a_value_out_of_range_is_refused_by_mapping_and_constructor_alike(key: str, value: object) -> None:
    for make in (lambda: TransportConfig.from_value({key: value}), lambda: TransportConfig(**{key: value})):
        with pytest.raises(SettingsError, match=f"transport_config: 1 problem\n  - {key}: got "):
            make()


def test_what_is_not_a_mapping_is_refused() -> None:
    with pytest.raises(SettingsError, match="a mapping or TransportConfig"):
        TransportConfig.from_value(20)  # type: ignore[arg-type]


def test_a_proxy_password_is_neither_in_repr_nor_in_errors() -> None:
    assert "hunter2" not in repr(TransportConfig(proxy="http://me:hunter2@proxy.example:8080"))
    assert "proxy.example:8080" in repr(TransportConfig(proxy="http://me:hunter2@proxy.example:8080"))
    with pytest.raises(SettingsError) as caught:
        TransportConfig(proxy="socks5://me:hunter2@proxy.example:8080")
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.problems)
