"""What the server's error codes mean for the conversation (protocol reference 7.9).

No official list of codes was found; a code that is not in these tables is an ordinary error: reported, survived.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trealtime.events import ServerErrorInfo
from trealtime.protocol.lenient import as_text

__all__ = ["is_collision", "is_harmless", "is_refused_create", "read_error"]

_COLLISIONS: Final = frozenset({"conversation_already_has_active_response"})

_REFUSED_CREATE: Final = _COLLISIONS | {"bad_response_create"}
"""Codes that mean a refused ``response.create`` even without the id of our event."""

_FATAL: Final = frozenset(
    {
        "session_expired",
        "insufficient_quota",
        "invalid_api_key",
        "account_deactivated",
        "billing_hard_limit_reached",
    }
)
"""The server ends the session after these, and the same request will not work again."""

_HARMLESS: Final[Mapping[str, frozenset[str]]] = {
    # The response was over before our cancel arrived.
    "response.cancel": frozenset({"response_cancel_not_active"}),
    # The item was shorter than we thought, gone, or not audio: what the user did not hear is not there either.
    "conversation.item.truncate": frozenset(
        {"invalid_value", "invalid_request_error", "item_not_found", "item_truncate_invalid_item_id", ""}
    ),
}
"""Refusals of what an interrupt sends by itself that change nothing for anybody."""


def read_error(error: Mapping[str, Any], *, request: str | None = None) -> ServerErrorInfo:
    """The ``error`` object of the wire; anything may be missing."""
    code = as_text(error.get("code"))
    return ServerErrorInfo(
        message=as_text(error.get("message")) or "the server gave no message",
        type=as_text(error.get("type")),
        code=code,
        param=as_text(error.get("param")),
        event_id=as_text(error.get("event_id")),
        request=request,
        fatal=code in _FATAL,
    )


def is_collision(error: ServerErrorInfo) -> bool:
    """Whether a ``response.create`` met a response that was there already."""
    return error.code in _COLLISIONS


def is_refused_create(error: ServerErrorInfo) -> bool:
    """Whether an error without the id of one of our events can only be about a ``response.create``."""
    return error.code in _REFUSED_CREATE or (error.param or "").startswith("response.create")


def is_harmless(error: ServerErrorInfo, request: str) -> bool:
    """Whether the refusal of what an interrupt sent changes nothing."""
    return (error.code or "") in _HARMLESS.get(request, frozenset())
