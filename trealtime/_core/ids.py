"""Ids that the client chooses: items, requests, events."""

from __future__ import annotations

import random
from itertools import count

import attrs

__all__ = ["IdSource"]

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_LENGTH = 16
"""16 of 36 characters are 82 bits; with a prefix the id stays under the 32 characters that servers accept for items."""


@attrs.define
class IdSource:
    """Makes ids: random ones for what lives on the server, counted ones for what only has to be unique in a session.

    The randomness comes from `rng`, so a seeded session makes the same ids each time.
    """

    rng: random.Random = attrs.field(factory=random.SystemRandom)
    _counter: count[int] = attrs.field(factory=lambda: count(1), init=False)

    def new(self, prefix: str) -> str:
        """A random id such as ``item_k3f...``: safe where other clients choose ids in the same conversation."""
        return f"{prefix}_{''.join(self.rng.choices(_ALPHABET, k=_LENGTH))}"

    def next(self, prefix: str) -> str:
        """A counted id such as ``evt_17``: unique in this session."""
        return f"{prefix}_{next(self._counter)}"
