"""The steps of a script, and the errors of a client that deviates from it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from trealtime.emulator.event_buffer import Ids
from trealtime.emulator.options import EmulatorLimits, EmulatorOptions
from trealtime.errors import TrealtimeError
from trealtime.protocol.client_events import CLIENT_EVENT_TYPES
from trealtime.protocol.server_events import SERVER_EVENT_TYPES
from trealtime.testing.assertions import anything, describe, differences, shown
from trealtime.testing.prompted_core import PromptedCore, ResponseStatus
from trealtime.transport.wire import close_frame

__all__ = [
    "Act",
    "Close",
    "Emit",
    "Event",
    "Expect",
    "Raise",
    "RealtimeScriptError",
    "Script",
    "ServerEvents",
    "Step",
    "UnconsumedRealtimeSteps",
    "UnexpectedRealtimeSend",
    "Wait",
    "a_function_call",
    "a_response",
    "a_transcript",
    "a_user_turn",
    "accept",
    "close",
    "emit",
    "expect",
    "flattened",
    "lone_core_options",
    "the_end_of_the_response",
    "user_begins_to_speak",
    "wait",
]

Event = Mapping[str, Any]
Saved = Mapping[str, Event]
"""The events that steps have saved, by name."""


class RealtimeScriptError(TrealtimeError, AssertionError):
    """A client has deviated from its script."""


class UnexpectedRealtimeSend(RealtimeScriptError):
    """The client sent `actual` where the script has the step `expected` (None: its end)."""

    def __init__(self, message: str, *, actual: Event, expected: Expect | None) -> None:
        super().__init__(message)
        self.actual = actual
        self.expected = expected


class UnconsumedRealtimeSteps(RealtimeScriptError):
    """The script was not played to its end; `remaining_steps` are left."""

    def __init__(self, message: str, *, remaining_steps: Sequence[Step]) -> None:
        super().__init__(message)
        self.remaining_steps = tuple(remaining_steps)


# ---- steps ----------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Expect:
    """Wait for an event of the client; see `expect` and `accept`."""

    type: object
    fields: Mapping[str, object] = attrs.field(factory=dict)
    where: Callable[[Event], object] | None = None
    save_as: str | None = None
    answered: bool = False

    def differences(self, event: Event) -> list[str]:
        """Return the differences between `event` and the expected one; empty if there are none."""
        if self.type is not anything and event.get("type") != self.type:
            return [f"type is {shown(event.get('type'))}, expected {shown(self.type)}"]
        found = differences(event, self.fields)
        if not found and self.where is not None and not self.where(event):
            found = [f"{describe(self.where)} does not take it"]
        return found

    def __str__(self) -> str:
        fields = "".join(f", {path} = {_wanted(value)}" for path, value in self.fields.items())
        where = "" if self.where is None else f", where {describe(self.where)}"
        return f"{'accept' if self.answered else 'expect'} {self.type}{fields}{where}"


@attrs.frozen
class Act:
    """An act of the scripted server: `emit` takes these beside single events."""

    name: str
    do: Callable[[PromptedCore], None] = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Emit:
    """Send something; see `emit`."""

    what: str | Event | Act | Callable[[Saved], object]
    fields: Mapping[str, object] = attrs.field(factory=dict)
    save_as: str | None = None

    def __str__(self) -> str:
        match self.what:
            case str():
                return f"emit {self.what}"
            case Act():
                return f"emit {self.what.name}"
            case Mapping():
                return f"emit {self.what.get('type')}"
        return f"emit what {describe(self.what)} makes"


@attrs.frozen
class Wait:
    """Let time pass."""

    seconds: float

    def __str__(self) -> str:
        return f"wait {self.seconds:g} s"


@attrs.frozen
class Close:
    """End the connection."""

    code: int
    reason: str

    def __str__(self) -> str:
        return f"close {self.code}"


@attrs.frozen
class Raise:
    """Let the script end with `error`."""

    error: Exception

    def __str__(self) -> str:
        return f"raise {self.error!r}"


Step = Expect | Emit | Wait | Close | Raise
Script = Sequence["Step | Script"]


def expect(
    type: object,
    fields: Mapping[str, object] | None = None,
    *,
    where: Callable[[Event], object] | None = None,
    save_as: str | None = None,
) -> Expect:
    """Wait for the client to send an event of `type` (or `anything`), and leave the answer to the steps that follow.

    `fields` maps paths (``item.content[0].text``) to the expected content: a value, a mapping (at least these fields),
    a predicate, `anything`, or `absent`. `where` is asked about the whole event. `save_as` keeps it for later steps.
    """
    return _expectation(type, fields, where=where, save_as=save_as, answered=False)


def accept(
    type: object,
    fields: Mapping[str, object] | None = None,
    *,
    where: Callable[[Event], object] | None = None,
    save_as: str | None = None,
) -> Expect:
    """As `expect`, and answer as every server does: ``session.updated`` for a ``session.update``, the item's events for
    a ``conversation.item.create``, an ``error`` for an invalid event. A ``response.create`` begins a response, which
    waits for its content."""
    return _expectation(type, fields, where=where, save_as=save_as, answered=True)


def _expectation(
    type: object,
    fields: Mapping[str, object] | None,
    *,
    where: Callable[[Event], object] | None,
    save_as: str | None,
    answered: bool,
) -> Expect:
    if type is not anything and type not in CLIENT_EVENT_TYPES:
        raise ValueError(f"a client sends no {type!r}; its events are: {', '.join(CLIENT_EVENT_TYPES)}; or anything")
    return Expect(type=type, fields=fields or {}, where=where, save_as=save_as, answered=answered)


def emit(
    what: str | Event | Act | Callable[[Saved], object],
    fields: Mapping[str, object] | None = None,
    *,
    save_as: str | None = None,
) -> Emit:
    """Send an event, or several.

    `what` is a type, completed with all fields of the protocol and with `fields` over them (a value may be a function
    of the saved events); a whole event, sent as it is; one of the acts (`a_response`, `a_function_call`, `a_user_turn`
    and so on); or a function of the saved events that returns any of these, or a list of them. `save_as` keeps the
    event that was sent for later steps. Raises `ValueError` for a type that no server sends.
    """
    if isinstance(what, str) and what not in SERVER_EVENT_TYPES:
        raise ValueError(f"a server sends no {what!r}; its events are: {', '.join(SERVER_EVENT_TYPES)}")
    return Emit(what=what, fields=fields or {}, save_as=save_as)


def wait(seconds: float) -> Wait:
    """Let `seconds` of Trio's clock pass. The events that the client sends meanwhile are looked at afterwards.
    Raises `ValueError` for a number below 0."""
    if seconds < 0:
        raise ValueError(f"seconds must not be negative, got {seconds!r}")
    return Wait(seconds)


def close(code: int = 1000, reason: str = "") -> Close:
    """Close the connection, after all that was emitted. Raises `ValueError` for a code that may not be sent."""
    return Close(*close_frame(code, reason))


# ---- acts -----------------------------------------------------------------------------------------------------------


def a_response(
    text: str = "Hello.", *, audio: bytes | None = None, audio_s: float | None = None, finish: bool = True
) -> Act:
    """An answer with all its events. It answers the latest ``response.create``, or comes by itself.

    `audio` is in the session's output format; without it there is silence of `audio_s` seconds (by default as long as
    the text would take). A response that asks for text has none. With ``finish=False`` the response goes on: the next
    act adds an item to it, `the_end_of_the_response` ends it. So does the client when it cancels; the next act is then
    a response of its own.
    """
    return Act(
        f"a response: {shown(text)}",
        lambda core: core.respond(text, audio=audio, audio_s=audio_s, finish=finish),
    )


def a_function_call(name: str, arguments: Mapping[str, Any] | str = "{}", *, finish: bool = True) -> Act:
    """A response that calls a function; `finish` as in `a_response`."""
    return Act(f"a call of {name}", lambda core: core.call(name, arguments, finish=finish))


def the_end_of_the_response(
    status: ResponseStatus = "completed", *, reason: str | None = None, error: Mapping[str, str] | None = None
) -> Act:
    """The end of the response under way; with a `status` other than completed, in the middle of its item."""
    return Act(f"a response's end: {status}", lambda core: core.finish(status, reason=reason, error=error))


def a_user_turn(transcript: str | None = "Hello.", *, audio_s: float = 1.0) -> Act:
    """A turn found by the server's turn detection, with all that follows by the session's settings: an interrupted
    response, a transcription (None: one that fails), a response that begins."""
    return Act(f"a user's turn: {shown(transcript)}", lambda core: core.user_turn(transcript, audio_s=audio_s))


def a_transcript(transcript: str | None) -> Act:
    """The words of a turn that the client has committed; None: transcription fails."""
    return Act(f"a transcript: {shown(transcript)}", lambda core: core.transcribe(transcript))


def user_begins_to_speak() -> Act:
    """The beginning of a turn, which a later `a_user_turn` ends."""
    return Act("the user begins to speak", PromptedCore.speech_begins)


def flattened(script: Iterable[Any]) -> list[Step]:
    """The steps of `script`, which may hold scripts. Raises TypeError for anything that is no step."""
    steps: list[Step] = []
    for step in script:
        if isinstance(step, Step):
            steps.append(step)
        elif isinstance(step, Act):
            steps.append(Emit(what=step))
        elif isinstance(step, Sequence) and not isinstance(step, str):
            steps.extend(flattened(step))
        else:
            raise TypeError(f"a script has expect(...), accept(...), emit(...), wait(...) and close(...), got {step!r}")
    return steps


def _wanted(value: object) -> str:
    return repr(value) if not callable(value) else describe(value)


_EXPIRES_AT: Final = 1_800_003_600
_TRANSCRIBED: Final = {"type": "realtime", "audio": {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}}}


class ServerEvents:
    """Makes what a server sends, as dicts in the wire's form; every one is valid unless you say otherwise.

    Its events belong together: an event without a response or item is about the newest one.
    ``response.created``, ``response.output_item.added`` and ``input_audio_buffer.speech_started`` begin a new one.
    `seed` decides the ids.
    """

    def __init__(self, seed: int = 0) -> None:
        self._core = PromptedCore(Ids(random.Random(seed)), clock=lambda: 0.0, **lone_core_options())
        self.answer({"type": "session.update", "session": _TRANSCRIBED})

    def make(self, type: str, /, **fields: object) -> dict[str, Any]:
        """One event: ``make("response.output_text.delta", delta="Hel")``.

        Fields that are not given have defaults; a given object is merged into the default one, field by field. Raises
        `ValueError` for a type that no server sends, or a field that the type does not have.
        """
        event = self._core.emit(type, fields)
        self._core.event_buffer.take()
        return event

    def play(self, act: Act) -> list[dict[str, Any]]:
        """The events of `a_response`, `a_function_call`, `a_user_turn` or any other act, in order."""
        act.do(self._core)
        return self._core.event_buffer.take()

    def answer(self, event: Event) -> list[dict[str, Any]]:
        """Answer `event` of a client as any server does. A ``response.create`` only begins a response: `play` it."""
        self._core.answer(event)
        return self._core.event_buffer.take()


def lone_core_options() -> Mapping[str, Any]:
    """The arguments of `SessionCore`, but for the clock, where no emulator gives them."""
    options, limits = EmulatorOptions(), EmulatorLimits()
    return {
        "kind": "realtime",
        "model": None,
        "default_model": options.default_model,
        "call_id": None,
        "max_session_s": options.max_session_s,
        "expires_at": _EXPIRES_AT,
        "max_items": limits.max_items,
        "max_audio_bytes": limits.max_audio_bytes,
        "max_out_of_band": limits.max_out_of_band,
    }
