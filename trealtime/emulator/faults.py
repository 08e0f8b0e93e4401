"""Faults on purpose: the failures of networks and servers on a bad day, seeded and reproducible.

`Faults` gives the shares, and the places where a connection is `Cut`; `FaultPlan` decides event by event, from a seeded
source and without a clock of its own; `trealtime.emulator.faulty_wire` applies it to a connection.
"""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

import attrs
import msgspec

from trealtime.errors import SettingsError, SettingsProblem
from trealtime.protocol.codec import encode
from trealtime.transport.wire import SENDABLE_CODES, Side, is_sendable

__all__ = ["Cut", "Delivery", "FaultPlan", "Faults"]

_RUMOUR: Final = "rumour.heard"
"""A type that the protocol does not have."""

_NONSENSE: Final = ('{"type": "response.do', "null", "[]", "", "42", "{}")
_SHARES: Final = (
    "duplicates",
    "reordered",
    "malformed",
    "unknown",
    "lost",
    "late_acknowledgements",
    "doubled_acknowledgements",
    "errors_without_ids",
    "errors_with_other_ids",
    "slow_accepts",
    "stalls",
    "half_open",
    "drops",
)
_ACKNOWLEDGEMENTS: Final = frozenset(
    {
        "session.updated",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.deleted",
        "conversation.item.retrieved",
        "conversation.item.truncated",
        "input_audio_buffer.committed",
        "input_audio_buffer.cleared",
        "output_audio_buffer.cleared",
    }
)
_ANSWERS: Final = _ACKNOWLEDGEMENTS | {"error", "response.created", "response.done"}


@attrs.frozen(kw_only=True)
class Cut:
    """One place at which a connection ends: before or after the `nth` event of a kind.

    Raises a `SettingsError` that names every invalid value.
    """

    event: str | None = None
    """The type of the events that count, such as ``"response.created"``; None: any."""

    sender: Side = "server"
    """The side whose events count."""

    nth: int = 1
    """The event at which it happens, counted from 1 on each connection."""

    when: Literal["before", "after"] = "after"
    """``"before"``: the other side does not get this event; ``"after"``: it gets this event, and none later."""

    connection: int | None = 1
    """The connection at which it happens, counted from 1; None: each."""

    code: int | None = None
    """The server closes with this code; None: the connection is torn without a close frame (the client sees 1006)."""

    def __attrs_post_init__(self) -> None:
        problems = [
            SettingsProblem(name, getattr(self, name), f"one of {', '.join(map(repr, allowed))}")
            for name, allowed in (("sender", ("server", "client")), ("when", ("before", "after")))
            if getattr(self, name) not in allowed
        ]
        problems += [
            SettingsProblem(name, getattr(self, name), "a whole number, 1 or more")
            for name in ("nth", "connection")
            if not _is_ordinal(getattr(self, name)) and (name, self.connection) != ("connection", None)
        ]
        if self.event is not None and not _is_name(self.event):
            problems.append(SettingsProblem("event", self.event, "the type of an event, or None"))
        if self.code is not None and not is_sendable(self.code):
            problems.append(SettingsProblem("code", self.code, f"None, or {SENDABLE_CODES}"))
        if problems:
            raise SettingsError(problems, what="Cut")


@attrs.frozen(kw_only=True)
class Faults:
    """The faults of a connection; none by default. Shares are from 0 to 1, of the events that the server sends.

    Raises a `SettingsError` that names every invalid value.
    """

    latency_s: float = 0.0
    """Delay of every event to the client, in seconds; the order stays."""

    jitter_s: float = 0.0
    """Random delay on top of that, at most, in seconds."""

    duplicates: float = 0.0
    """The share of events that come twice."""

    reordered: float = 0.0
    """The share of events that come `reorder_s` late, after those that were sent meanwhile."""

    reorder_s: float = 0.05
    malformed: float = 0.0
    """The share of events that are followed by a frame that is not a JSON object."""

    unknown: float = 0.0
    """The share of events that are followed by one of an unknown type."""

    lost: float = 0.0
    """The share of answers to requests (acknowledgements, errors, ``response.created``, ``response.done``) that never
    come."""

    late_acknowledgements: float = 0.0
    """The share of acknowledgements (``session.updated``, ``conversation.item.*``, ``input_audio_buffer.committed`` and
    ``cleared``) that come `late_s` late, after the events that were sent meanwhile."""

    late_s: float = 1.0
    doubled_acknowledgements: float = 0.0
    """The share of acknowledgements that come twice, the second time `late_s` late."""

    errors_without_ids: float = 0.0
    """The share of ``error`` events that do not name the client's event."""

    errors_with_other_ids: float = 0.0
    """The share of ``error`` events that name an event which the client has never sent."""

    errors: Mapping[str, float] = attrs.field(factory=dict)
    """By error code: the share of the client's events (audio apart) that are refused with it instead of obeyed."""

    stalls: float = 0.0
    """The share of events before which the server falls silent for `stall_s`."""

    stall_s: float = 5.0
    half_open: float = 0.0
    """The share of events at which the peer vanishes unnoticed: it sends nothing and reads nothing, but the socket
    stays open. Pings find this out; in-memory wires have none."""

    drops: float = 0.0
    """The share of events at which the connection is cut without a close frame (the client sees 1006)."""

    closes: Mapping[int, float] = attrs.field(factory=dict)
    """By close code: the share of events in place of which the server closes with it."""

    cuts: Sequence[Cut] = ()
    """The places at which connections end."""

    refusals: Mapping[int, float] = attrs.field(factory=dict)
    """By HTTP status: the share of handshakes that are refused with it."""

    refused_dials: Collection[int] = ()
    """The handshakes that are refused with `refused_with`, by their number, counted from 1: ``range(2, 1_000, 2)``
    refuses every second one."""

    refused_with: int = 503
    retry_after_s: float | None = None
    """The ``Retry-After`` of refusals, in seconds; None: they have none."""

    slow_accepts: float = 0.0
    """The share of handshakes that are answered `accept_after_s` late."""

    accept_after_s: float = 5.0

    split: bool = False
    """On a socket: send in small pieces, and pieces of several frames together."""

    slow_drain_bytes_per_s: float | None = None
    """The rate at which the server reads the client's messages; None: as fast as they come."""

    def __attrs_post_init__(self) -> None:
        problems = [
            SettingsProblem(name, getattr(self, name), "a number of seconds, 0 or more")
            for name in ("latency_s", "jitter_s", "reorder_s", "late_s", "stall_s", "accept_after_s")
            if not _is_number(getattr(self, name)) or getattr(self, name) < 0
        ]
        problems += [
            SettingsProblem(name, getattr(self, name), "a share, from 0 to 1")
            for name in _SHARES
            if not _is_share(getattr(self, name))
        ]
        problems += [
            SettingsProblem(f"{name}.{key}", value, "a share, from 0 to 1")
            for name in ("errors", "closes", "refusals")
            for key, value in getattr(self, name).items()
            if not _is_share(value)
        ]
        problems += [SettingsProblem("closes", code, SENDABLE_CODES) for code in self.closes if not is_sendable(code)]
        problems += [
            SettingsProblem(name, status, "HTTP statuses from 300 to 599")
            for name, statuses in (("refusals", self.refusals), ("refused_with", (self.refused_with,)))
            for status in statuses
            if not _is_number(status) or not 300 <= status <= 599
        ]
        problems += [
            SettingsProblem(f"cuts[{index}]", cut, "a Cut")
            for index, cut in enumerate(self.cuts)
            if type(cut) is not Cut
        ]
        wait = self.retry_after_s
        if wait is not None and (not _is_number(wait) or wait < 0):
            problems.append(SettingsProblem("retry_after_s", wait, "a number of seconds, 0 or more, or None"))
        slow = self.slow_drain_bytes_per_s
        if slow is not None and (not _is_number(slow) or slow <= 0):
            problems.append(SettingsProblem("slow_drain_bytes_per_s", slow, "a number above 0, or None"))
        if problems:
            raise SettingsError(problems, what="Faults")


_Key = TypeVar("_Key", int, str)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_ordinal(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


Ending = Literal["drop", "close", "half_open"]


@attrs.frozen
class Delivery:
    """A frame for the client, at the time `due`; or, in place of one, the end of the connection."""

    due: float
    frame: str = ""
    ending: Ending | None = None
    code: int = 1006


@attrs.define
class _Counted:
    """A cut, and how many of its events have passed."""

    cut: Cut
    passed: int = 0

    def reached(self, kind: str | None) -> bool:
        """Count an event of that type; return whether it is the one."""
        if self.cut.event not in (None, kind):
            return False
        self.passed += 1
        return self.passed == self.cut.nth


def _type_of(frame: str | bytes) -> str | None:
    try:
        event = msgspec.json.decode(frame)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    kind = event.get("type") if isinstance(event, dict) else None
    return kind if isinstance(kind, str) else None


class FaultPlan:
    """Decides the fate of each event of one connection, the `connection`-th of its server. The same source and the same
    events give the same faults."""

    def __init__(self, faults: Faults, rng: random.Random, *, connection: int = 1) -> None:
        self.faults = faults
        self._rng = rng
        self._cuts = [_Counted(cut) for cut in faults.cuts if cut.connection in (None, connection)]
        self._dials = 0
        self._last_due = 0.0
        self._silent_until = 0.0
        self._told = 0
        self._touches_answers = any(
            (
                faults.lost,
                faults.late_acknowledgements,
                faults.doubled_acknowledgements,
                faults.errors_without_ids,
                faults.errors_with_other_ids,
            )
        )

    def refusal(self) -> int | None:
        """Return the HTTP status that refuses the next client's handshake, or None."""
        self._dials += 1
        if self._dials in self.faults.refused_dials:
            return self.faults.refused_with
        return self._drawn(self.faults.refusals)

    def accept_delay_s(self) -> float:
        """Return how late the next client's handshake is answered."""
        return self.faults.accept_after_s if self._happens(self.faults.slow_accepts) else 0.0

    def cut_of_incoming(self, frame: str | bytes) -> Cut | None:
        """Return the cut that happens at this event of the client, if any."""
        return self._cut_at(frame, "client")

    def ending(self, cut: Cut, now: float) -> Delivery:
        """Return the end that `cut` makes, after all that was sent before."""
        due = max(now, self._last_due)
        return Delivery(due, ending="drop") if cut.code is None else Delivery(due, ending="close", code=cut.code)

    def outgoing(self, frame: str, now: float) -> list[Delivery]:
        """Return the frames to send for an event of the server."""
        faults = self.faults
        if self._happens(faults.stalls):
            self._silent_until = max(now, self._silent_until) + faults.stall_s
        due = max(now + faults.latency_s + self._rng.uniform(0, faults.jitter_s), self._last_due, self._silent_until)
        self._last_due = due
        cut = self._cut_at(frame, "server")
        if cut is not None:
            return [*([Delivery(due, frame)] if cut.when == "after" else ()), self.ending(cut, now)]
        if self._happens(faults.drops):
            return [Delivery(due, ending="drop")]
        code = self._drawn(faults.closes)
        if code is not None:
            return [Delivery(due, ending="close", code=code)]
        if self._happens(faults.half_open):
            return [Delivery(due, ending="half_open")]
        late_s = faults.reorder_s if self._happens(faults.reordered) else 0.0
        deliveries = [Delivery(due + late_s, frame)]
        if self._touches_answers:
            deliveries = self._answers(frame, due + late_s)
        if self._happens(faults.duplicates):
            deliveries += deliveries
        if self._happens(faults.malformed):
            deliveries.append(Delivery(due, self._rng.choice(_NONSENSE)))
        if self._happens(faults.unknown):
            rumour = {"type": _RUMOUR, "event_id": self._event_id(), "item_id": None}
            deliveries.append(Delivery(due, json.dumps(rumour)))
        return deliveries

    def incoming(self, frame: str | bytes) -> str | None:
        """Return the ``error`` event that refuses a client's event, None to let it through."""
        if not self.faults.errors or (isinstance(frame, str) and "input_audio_buffer.append" in frame[:200]):
            return None
        code = self._drawn(self.faults.errors)
        if code is None:
            return None
        try:
            event = json.loads(frame)
        except ValueError:
            return None
        error = {
            "type": "server_error" if code == "server_error" else "invalid_request_error",
            "code": code,
            "message": f"Refused on purpose, with {code}.",
            "param": None,
            "event_id": event.get("event_id") if isinstance(event, dict) else None,
        }
        return json.dumps({"type": "error", "event_id": self._event_id(), "error": error})

    def refusal_of_event(self, error: str, now: float) -> list[Delivery]:
        """Return the frames to send for the ``error`` event of a refusal on purpose."""
        return self._answers(error, now) if self._touches_answers else [Delivery(now, error)]

    def _answers(self, frame: str, due: float) -> list[Delivery]:
        """Return the frames to send for an event that may answer a request."""
        faults = self.faults
        event = msgspec.json.decode(frame)
        kind = event.get("type")
        if kind in _ANSWERS and self._happens(faults.lost):
            return []
        if kind == "error" and self._happens(faults.errors_without_ids):
            event["error"]["event_id"] = None
            return [Delivery(due, encode(event))]
        if kind == "error" and self._happens(faults.errors_with_other_ids):
            event["error"]["event_id"] = self._event_id()
            return [Delivery(due, encode(event))]
        if kind not in _ACKNOWLEDGEMENTS:
            return [Delivery(due, frame)]
        if self._happens(faults.late_acknowledgements):
            due += faults.late_s
        deliveries = [Delivery(due, frame)]
        if self._happens(faults.doubled_acknowledgements):
            deliveries.append(Delivery(due + faults.late_s, frame))
        return deliveries

    def _cut_at(self, frame: str | bytes, sender: Side) -> Cut | None:
        counted = [each for each in self._cuts if each.cut.sender == sender]
        if not counted:
            return None
        kind = _type_of(frame)
        return next((each.cut for each in counted if each.reached(kind)), None)

    def _happens(self, share: float) -> bool:
        return share > 0 and self._rng.random() < share

    def _drawn(self, shares: Mapping[_Key, float]) -> _Key | None:
        return next((key for key, share in shares.items() if self._happens(share)), None)

    def _event_id(self) -> str:
        self._told += 1
        return f"event_fault_{self._told}"
