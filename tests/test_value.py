"""`trealtime._value.Value` does what the methods that attrs generates do."""

from __future__ import annotations

import copy
import math
import pickle

import attrs
import pytest

from trealtime._value import Shown, Value


@attrs.frozen
class Generated:
    name: str
    number: float = 1.0
    note: str = attrs.field(default="", eq=False, kw_only=True)
    key: str = attrs.field(default="", repr=False, kw_only=True)
    shown: str = attrs.field(default="", repr=str.upper, kw_only=True)


@attrs.frozen(eq=False, repr=False)
class Written(Value):
    name: str
    number: float = 1.0
    note: str = attrs.field(default="", eq=False, kw_only=True)
    key: str = attrs.field(default="", repr=False, kw_only=True)
    shown: str = attrs.field(default="", repr=str.upper, kw_only=True)


@attrs.frozen(eq=False, repr=False)
class More(Written):
    more: int = 0


CASES = [
    {"name": "a"},
    {"name": "b"},
    {"name": "a", "number": 2},
    {"name": "a", "number": math.nan},
    {"name": "a", "note": "x"},
    {"name": "a", "key": "secret"},
    {"name": "a", "shown": "x"},
]


@pytest.mark.parametrize("one", CASES)
@pytest.mark.parametrize("other", CASES)
def test_values_are_equal_where_attrs_says_so(one, other) -> None:
    assert (Written(**one) == Written(**other)) == (Generated(**one) == Generated(**other))
    if one == other:
        assert hash(Written(**one)) == hash(Written(**other))


@pytest.mark.parametrize("case", CASES)
def test_values_show_as_attrs_shows_them(case) -> None:
    assert repr(Written(**case)) == repr(Generated(**case)).replace("Generated", "Written")


def test_another_class_is_never_equal_and_a_value_stays_a_value() -> None:
    value = Written("a", 2, key="k")
    assert value != More("a", 2, key="k")
    assert More("a", more=1) != More("a", more=2)
    assert value != Generated("a", 2, key="k")
    assert not hasattr(value, "__dict__")
    assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == attrs.evolve(value) == value
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        value.name = "b"


def test_a_value_with_a_field_that_has_no_hash_has_none() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Written([]))


@attrs.define
class GeneratedState:
    name: str
    others: list[object] = attrs.field(factory=list)
    key: str = attrs.field(default="k", repr=False)


@attrs.define(eq=False, repr=False)
class State(Shown):
    name: str
    others: list[object] = attrs.field(factory=list)
    key: str = attrs.field(default="k", repr=False)


def test_state_shows_as_attrs_shows_it_also_where_it_holds_itself() -> None:
    generated, state = GeneratedState("a"), State("a")
    for each in (generated, state):
        each.others += [each, "b"]
    assert repr(state) == "State(name='a', others=[..., 'b'])"
    assert repr(state) == repr(generated).replace("Generated", "")


def test_state_is_compared_by_identity() -> None:
    state = State("a")
    assert state == state != State("a")
    assert state in {state}
