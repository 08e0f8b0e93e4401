"""A prompt that is stored on the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

__all__ = ["Prompt"]


class Prompt(TypedDict):
    """The id of a stored prompt, its version, and the values of its variables."""

    id: str
    version: NotRequired[str]
    variables: NotRequired[Mapping[str, Any]]
