"""How the agent's audio is played while it is not sure whether the user interrupts."""

from __future__ import annotations

from typing import Literal

import attrs

__all__ = ["PlaybackChange"]


@attrs.frozen
class PlaybackChange:
    """What whoever plays does from now on with what it has and with what comes.

    ``"play"``: play as usual, from where it stands. ``"duck"``: play on, every sample times `gain`. ``"hold"``: stop
    where it stands and keep the rest; nothing is heard until the next change.
    """

    how: Literal["play", "duck", "hold"]
    gain: float = 1.0
    """A factor, below 1 only where it ducks."""
