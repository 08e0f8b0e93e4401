"""Ids that the client chooses, and the memory of the last few ids of something."""

from __future__ import annotations

import random
from collections.abc import Iterator, MutableMapping
from itertools import count
from typing import Final, Generic, TypeVar

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


@attrs.define(eq=False, repr=False)
class Recent(Shown, MutableMapping[KeyT, ValueT], Generic[KeyT, ValueT]):
    """A mapping that keeps the newest `limit` entries: enough to know a latecomer, and never more."""

    limit: int = 64
    _entries: dict[KeyT, ValueT] = attrs.field(factory=dict, init=False)

    def __getitem__(self, key: KeyT) -> ValueT:
        return self._entries[key]

    def __setitem__(self, key: KeyT, value: ValueT) -> None:
        self._entries[key] = value
        if len(self._entries) > self.limit:
            del self._entries[next(iter(self._entries))]

    def __delitem__(self, key: KeyT) -> None:
        del self._entries[key]

    def __iter__(self) -> Iterator[KeyT]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def discard(self, key: KeyT) -> bool:
        """Remove an entry; return whether it was there."""
        there = key in self._entries
        self._entries.pop(key, None)
        return there

    def __contains__(self, key: object) -> bool:
        return key in self._entries
