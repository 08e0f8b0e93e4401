"""The server's error codes: their meaning for the conversation, and the requests that an error without an id can be
about.

There is no official list of codes. A code that is not in these tables is an ordinary error: reported, survived.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from trealtime.events import ServerErrorInfo
from trealtime.protocol.lenient import as_text

__all__ = [
    "PASSING",
    "can_be_about",
    "is_about_session",
    "is_collision",
    "is_expiry",
    "is_harmless",
    "is_passing",
    "names",
    "read_error",
]

_COLLISIONS: Final = frozenset({"conversation_already_has_active_response"})

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

_ABOUT_SESSION: Final = frozenset({"session_expired", "invalid_api_key", "account_deactivated"})

PASSING: Final = frozenset({"server_error", "rate_limit_exceeded", "inference_rate_limit_exceeded"})
"""Codes and types of errors for the server's own sake, or for now."""

_HARMLESS: Final[Mapping[str, frozenset[str]]] = {
    # Voice detection had committed the speech before it read our commit.
    "input_audio_buffer.commit": frozenset({"input_audio_buffer_commit_empty"}),
    # The response was over before our cancel arrived.
    "response.cancel": frozenset({"response_cancel_not_active"}),
    # The item was shorter than we thought, gone, or not audio: it holds nothing that the user did not hear.
    "conversation.item.truncate": frozenset(
        {"invalid_value", "invalid_request_error", "item_not_found", "item_truncate_invalid_item_id", ""}
    ),
}
"""Refusals of what the session sends by itself that change nothing."""

_ITEM_REQUESTS: Final = (
    "conversation.item.delete",
    "conversation.item.retrieve",
    "conversation.item.truncate",
)

_ABOUT: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("bad_response_create", ("response.create",)),
    ("billing_hard_limit_reached", ("response.create",)),
    ("conversation_already_has_active_response", ("response.create",)),
    ("input_audio_buffer_commit", ("input_audio_buffer.commit",)),
    ("input_audio_buffer", ("input_audio_buffer.commit", "input_audio_buffer.clear")),
    ("insufficient_quota", ("response.create",)),
    ("item_create", ("conversation.item.create",)),
    ("item_delete", ("conversation.item.delete",)),
    ("item_not_found", _ITEM_REQUESTS),
    ("item_retrieve", ("conversation.item.retrieve",)),
    ("item_truncate", ("conversation.item.truncate",)),
    ("response_cancel", ("response.cancel",)),
    ("session_update", ("session.update",)),
)
"""The beginning of a code, and the requests that it can be about."""

_PARAMS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("session", ("session.update",)),
    ("response", ("response.create",)),
    ("item_id", _ITEM_REQUESTS),
    ("item", ("conversation.item.create",)),
    ("previous_item_id", ("conversation.item.create",)),
    ("audio_end_ms", ("conversation.item.truncate",)),
    ("content_index", ("conversation.item.truncate",)),
)
"""The first name in a param, and the requests that have it."""


def read_error(error: Mapping[str, Any], *, request: str | None = None) -> ServerErrorInfo:
    """The ``error`` object of the wire; anything may be missing."""
    code = as_text(error.get("code"))
    return ServerErrorInfo(
        message=as_text(error.get("message")) or "the server gave no message",
        type=as_text(error.get("type")),
        code=code,
        param=as_text(error.get("param")),
        event_id=as_text(error.get("event_id")) or None,
        request=request,
        fatal=code in _FATAL,
    )


def is_collision(error: ServerErrorInfo) -> bool:
    """Whether a ``response.create`` met a response that was there already."""
    return error.code in _COLLISIONS


def is_expiry(error: object) -> bool:
    """Whether the server's word of an error, or the exception made of it, says that the session's time is over."""
    return getattr(error, "code", None) == "session_expired"


def is_about_session(error: ServerErrorInfo) -> bool:
    """Whether the session is refused, and no request of it: its time, its key, its account."""
    return error.code in _ABOUT_SESSION


def is_passing(error: ServerErrorInfo) -> bool:
    """Whether the server refuses for its own sake, or for now: the same request may work another time."""
    return not error.fatal and bool({error.type, error.code} & PASSING)


def is_harmless(error: ServerErrorInfo, request: str) -> bool:
    """Whether the refusal of a request that an interrupt sent changes nothing."""
    return (error.code or "") in _HARMLESS.get(request, frozenset())


def can_be_about(error: ServerErrorInfo, request: str) -> bool:
    """Whether an error that names no event can be about a request of this type, by its code and its param."""
    for prefix, requests in _ABOUT:
        if (error.code or "").startswith(prefix):
            return request in requests
    name = (error.param or "").partition(".")[0].partition("[")[0]
    for param, requests in _PARAMS:
        if name == param:
            return request in requests
    # Cancels are refused with a code of their own.
    return request != "response.cancel"


def names(error: ServerErrorInfo, subject: str) -> bool:
    """Whether the message of an error names this item or response."""
    return bool(subject) and re.search(rf"(?<![\w-]){re.escape(subject)}(?![\w-])", error.message) is not None
