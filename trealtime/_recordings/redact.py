"""The type of a function that changes the lines of a recording. Alone here, so that settings import nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Redact"]

Redact = Callable[[dict[str, Any]], Mapping[str, Any] | None]
"""Gets a line, and returns it, changed or another, or None to leave it out."""
