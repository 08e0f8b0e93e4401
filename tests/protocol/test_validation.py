"""`structure` reads mappings and instances into settings classes of any room."""

# ruff: noqa: RUF009  # `setting` makes an attrs field
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import attrs
import numpy as np
import pytest

from trealtime.errors import SettingsError
from trealtime.protocol.validation import NOT_SET, NotSet, setting, structure


class Tracker(Protocol):
    def position(self) -> int: ...


class Agent:
    pass


@attrs.frozen
class Kept:
    """A value with no rules: not a settings class, its identity matters."""

    n: int = 0


@attrs.frozen(kw_only=True)
class Inner:
    count: int = setting(100, at_least=1)
    label: str = setting("", at_most=3)


@attrs.frozen(kw_only=True)
class Config:
    inner: Inner | NotSet = setting()
    kept: Kept | NotSet = NOT_SET
    formatter: Callable[..., object] | None = None
    key: str | Callable[[], str] | None = None
    agent: Agent | None = None
    tracker: Tracker | None = None
    guards: Sequence[Agent] = ()
    headers: Mapping[str, str] | None = None
    timeout_s: float = 10.0
    pair: tuple[int, ...] = ()
    mode: Literal["a", 1] = "a"
    anything: Any = None


def test_every_kind_of_annotation_is_read():
    agent, tracker = Agent(), object()
    value = {
        "inner": {"count": 3},
        "formatter": print,
        "key": "sk",
        "agent": agent,
        "tracker": tracker,
        "guards": [agent],
        "headers": {"a": "b"},
        "timeout_s": 3,
        "pair": [1, 2],
        "mode": 1,
        "anything": [1],
    }
    config = structure(Config, value)
    assert config == Config(**{**value, "inner": Inner(count=3), "guards": (agent,), "pair": (1, 2)})
    assert config.agent is agent
    assert config.tracker is tracker


def test_numbers_of_numpy_are_numbers():
    config = structure(Config, {"timeout_s": np.float32(0.5), "inner": {"count": np.int64(4)}})
    assert (config.timeout_s, config.inner) == (0.5, Inner(count=4))
    assert type(config.timeout_s) is float
    assert type(config.inner.count) is int


def test_an_instance_of_a_class_without_rules_is_kept_and_a_mapping_for_it_is_read():
    kept = Kept(5)
    assert structure(Config, {"kept": kept}).kept is kept
    assert structure(Config, Config(kept=kept)).kept is kept
    assert structure(Config, {"kept": {"n": 6}}).kept == Kept(6)


def test_not_set_is_false_and_says_so():
    assert not NOT_SET
    assert repr(Config()).startswith("Config(inner=NOT_SET, ")


def test_none_is_not_given_where_the_annotation_has_no_none():
    assert structure(Config, {"timeout_s": None, "inner": None, "guards": None, "headers": None}) == Config()


def test_paths_begin_where_the_caller_says_and_the_error_says_what_it_is_about():
    with pytest.raises(SettingsError) as caught:
        structure(Config, {"inner": {"count": 0}, "agent": "bob", "guards": [1]}, path="config", what="run config")
    assert str(caught.value).splitlines() == [
        "run config: 3 problems",
        "  - config.inner.count: got 0, allowed: a whole number, at least 1",
        "  - config.agent: got 'bob', allowed: an instance of Agent or None",
        "  - config.guards[0]: got 1, allowed: an instance of Agent",
    ]


@pytest.mark.parametrize(
    "value, path, allowed",
    [
        ({"inner": {"label": "long"}}, "inner.label", "a string, at most 3 characters"),
        ({"formatter": 3}, "formatter", "a callable or None"),
        ({"key": 3}, "key", "a string or a callable or None"),
        ({"headers": {"Authorization": "secret", "a": 1}}, "headers.a", "a string"),
        ({"headers": []}, "headers", "a mapping with string keys or None"),
        ({"mode": True}, "mode", "'a', 1"),
        ({"pair": ["x"]}, "pair[0]", "a whole number"),
        ({"pair": b"ab"}, "pair", "a list, each entry a whole number"),
        ({"timeout_s": "10"}, "timeout_s", "a number"),
    ],
)
def test_a_wrong_value_is_named(value, path, allowed):
    with pytest.raises(SettingsError) as caught:
        structure(Config, value)
    (problem,) = caught.value.problems
    assert (problem.path, problem.allowed) == (path, allowed)


class Word(str):
    """Of a template engine, or of an enum."""


def test_a_word_of_any_class_of_text_is_that_word() -> None:
    read = structure(Config, {"mode": Word("a")})
    assert (read.mode, type(read.mode)) == ("a", str)


def test_an_integer_that_no_float_holds_is_no_number_of_seconds():
    with pytest.raises(SettingsError, match="timeout_s"):
        structure(Config, {"timeout_s": 10**400})
