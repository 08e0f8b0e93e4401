"""Ids that the client chooses, and the memory of the last few ids of something."""

from __future__ import annotations

import random
from itertools import count
from typing import Final, TypeVar

import attrs

from trealtime._value import Shown

__all__ = ["IdSource", "Recent"]

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_LENGTH = 16
"""16 of 36 characters are 82 bits; with a prefix the id stays under the 32 characters that servers accept for items."""

_SYSTEM_RANDOM: Final = random.SystemRandom()
"""It has no state of its own, but takes 2.5 KB."""


@attrs.define(eq=False, repr=False)
class IdSource(Shown):
    """Makes ids: random ones for what lives on the server, counted ones for what only has to be unique in a session.

    The randomness comes from `rng`, so a seeded session makes the same ids each time.
    """

    rng: random.Random = _SYSTEM_RANDOM
    _counter: count[int] = attrs.field(factory=lambda: count(1), init=False)

    def new(self, prefix: str) -> str:
        """Return a random id such as ``item_k3f...``: safe where other clients choose ids in the same conversation."""
        return f"{prefix}_{''.join(self.rng.choices(_ALPHABET, k=_LENGTH))}"

    def next(self, prefix: str) -> str:
        """Return a counted id such as ``evt_17``: unique in this session."""
        return f"{prefix}_{next(self._counter)}"


KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class Recent(dict[KeyT, ValueT]):
    """A mapping that keeps the newest `limit` entries: enough to know a latecomer, and never more.

    Entries come in by assignment, one at a time: the other ways of a dict do not look at the limit. A session has
    twenty of these, nearly all of them empty, and a dict of its own takes the least space.
    """

    __slots__ = ("limit",)

    def __init__(self, limit: int = 64) -> None:
        self.limit = limit

    def __setitem__(self, key: KeyT, value: ValueT) -> None:
        super().__setitem__(key, value)
        if len(self) > self.limit:
            del self[next(iter(self))]

    def discard(self, key: KeyT) -> bool:
        """Remove an entry; return whether it was there."""
        there = key in self
        self.pop(key, None)
        return there
