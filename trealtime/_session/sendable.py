"""What callers hand over to be sent, as messages; what cannot be one is refused here, and not later in the writer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trealtime.errors import SettingsError, SettingsProblem
from trealtime.protocol.codec import encode
from trealtime.protocol.user_input import UserInput, message_item

__all__ = ["check_sendable", "sendable_event", "sendable_item"]


def check_sendable(wire: Mapping[str, Any], what: str) -> None:
    """Raise TypeError or ValueError if `wire` has no JSON form."""
    try:
        encode(wire)
    except TypeError as error:
        raise TypeError(f"{what} cannot be sent: {error}") from error
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} cannot be sent: it has a lone surrogate, which UTF-8 cannot carry") from error


def sendable_item(item: UserInput, *, item_id: str) -> Mapping[str, Any]:
    """A message of the user, or an item of any other type as it is; it has `item_id` unless it brings one."""
    if isinstance(item, Mapping) and item.get("type", "message") != "message":
        wire: Mapping[str, Any] = {"id": item_id, **item}
    else:
        wire = message_item(item, item_id=item_id)
    check_sendable(wire, "item")
    return wire


def sendable_event(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """A client event of either shape, ours or that of the SDK. Raises `SettingsError` when it has no type."""
    kind, other = event.get("type"), event.get("other_data")
    if not isinstance(kind, str) or not kind:
        raise SettingsError([SettingsProblem("type", kind, "the type of a client event, a string")], what="event")
    wire = {"type": kind, **other} if isinstance(other, Mapping) and len(event) == 2 else dict(event)
    check_sendable(wire, "event")
    return wire
