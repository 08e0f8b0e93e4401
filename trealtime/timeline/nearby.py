"""Finding what lies in a stretch of time, without looking at the whole call for each tile of its drawing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Generic, TypeVar

import attrs

__all__ = ["Nearby"]

T = TypeVar("T")

_BUCKET_S: Final = 20.0
_MOST_BUCKETS: Final = 64
"""What is longer than so many stands in a list of its own."""


@attrs.define
class Nearby(Generic[T]):
    """Things with their times, in order."""

    _count: int = attrs.field(default=0, init=False)
    _buckets: dict[int, list[tuple[int, T]]] = attrs.field(factory=dict, init=False)
    _long: list[tuple[int, T]] = attrs.field(factory=list, init=False)

    @classmethod
    def of(cls, entries: Iterable[tuple[T, float, float]]) -> Nearby[T]:
        """Return an index of ``(thing, begin_s, end_s)``."""
        index = cls()
        for thing, begin_s, end_s in entries:
            index.add(thing, begin_s, end_s)
        return index

    def add(self, thing: T, begin_s: float, end_s: float) -> None:
        """Add a thing that lies between these times."""
        first, last = int(begin_s // _BUCKET_S), int(max(begin_s, end_s) // _BUCKET_S)
        entry = (self._count, thing)
        self._count += 1
        if last - first > _MOST_BUCKETS:
            self._long.append(entry)
            return
        for bucket in range(first, last + 1):
            self._buckets.setdefault(bucket, []).append(entry)

    def between(self, begin_s: float, end_s: float) -> list[T]:
        """Return the things that may lie there, and some that lie near, in the order in which they were added."""
        found = dict(self._long)
        for bucket in range(int(begin_s // _BUCKET_S), int(end_s // _BUCKET_S) + 1):
            found.update(self._buckets.get(bucket, ()))
        return [found[number] for number in sorted(found)]
