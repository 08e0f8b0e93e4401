from __future__ import annotations

import pytest

from trealtime.endpoints.coalescing import Coalescer


def test_what_comes_after_a_pause_goes_at_once() -> None:
    coalescer = Coalescer(0.04)
    assert coalescer.add(b"a", 10.0) == b"a"
    assert coalescer.add(b"b", 10.04) == b"b"
    assert coalescer.due_at == float("inf")


def test_what_follows_soon_after_is_collected_for_as_long_as_the_bound() -> None:
    coalescer = Coalescer(0.04)
    coalescer.add(b"a", 10.0)
    assert [coalescer.add(each, 10 + ms / 1000) for each, ms in ((b"b", 10), (b"c", 20), (b"d", 30))] == [b""] * 3
    assert coalescer.due_at == pytest.approx(10.04)
    assert coalescer.add(b"e", 10.041) == b"bcde"


def test_nothing_waits_for_more_than_the_bound_when_nothing_follows() -> None:
    coalescer = Coalescer(0.04)
    coalescer.add(b"a", 10.0)
    coalescer.add(b"b", 10.01)
    assert coalescer.release(coalescer.due_at) == b"b"
    assert coalescer.release(11.0) == b""
    assert coalescer.add(b"c", 10.05) == b"", "the bound counts from what was sent last"


def test_without_a_bound_everything_goes_at_once() -> None:
    coalescer = Coalescer(0.0)
    assert [coalescer.add(b"x", 10.0) for _ in range(3)] == [b"x"] * 3
