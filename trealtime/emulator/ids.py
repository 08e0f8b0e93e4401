"""Ids in the service's style (``item_`` and 21 letters), from a random source that the emulator's seed decides."""

from __future__ import annotations

import random
import string

__all__ = ["Ids"]

_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 21


class Ids:
    """Makes ids for one session. The same seed gives the same ids in the same order."""

    def __init__(self, source: random.Random) -> None:
        self._source = source

    def new(self, prefix: str) -> str:
        """A fresh id: ``new("resp")`` might be ``resp_C9G8p7IH2WxLbkgPNouYL``."""
        return f"{prefix}_{''.join(self._source.choices(_ALPHABET, k=_LENGTH))}"
