"""Test sessions without a server: a model that follows a script, in the SDK's terms.

`trealtime.testing` has more: scripts of wire events, an emulator, endpoints in memory.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NotRequired, TypeAlias, TypedDict, cast

from trealtime._secrets import redacted_url
from trealtime.compat.realtime.config import RealtimeSessionModelSettings
from trealtime.compat.realtime.model import (
    RealtimeModel,
    RealtimeModelConfig,
    RealtimeModelListener,
    RealtimePlaybackTracker,
)
from trealtime.compat.realtime.model_events import RealtimeModelEvent
from trealtime.compat.realtime.model_inputs import RealtimeModelSendEvent, RealtimeModelSendSessionUpdate

__all__ = [
    "RealtimeConnectCall",
    "RealtimeScriptError",
    "RealtimeStep",
    "ScriptedRealtimeModel",
    "UnconsumedRealtimeSteps",
    "UnexpectedRealtimeSend",
]


_KEPT: Final = ("initial_model_settings", "playback_tracker", "call_id")


class RealtimeScriptError(Exception):
    """A script was not followed, or cannot be."""


RealtimeSendMatcher: TypeAlias = (
    RealtimeModelSendEvent | type[RealtimeModelSendEvent] | Callable[[RealtimeModelSendEvent], bool]
)
"""The event that a step expects: an equal value, a class, or a predicate."""


class UnexpectedRealtimeSend(RealtimeScriptError):
    """`actual` was sent where the script expects `expected`; None: nothing more."""

    def __init__(self, message: str, *, actual: RealtimeModelSendEvent, expected: RealtimeSendMatcher | None) -> None:
        super().__init__(message)
        self.actual = actual
        self.expected = expected


class UnconsumedRealtimeSteps(RealtimeScriptError):
    """The test has ended, and `remaining_steps` of the script have not been reached."""

    def __init__(self, message: str, *, remaining_steps: int) -> None:
        super().__init__(message)
        self.remaining_steps = remaining_steps


@dataclasses.dataclass(frozen=True)
class RealtimeStep:
    """`expect` one event from the session, then `emit` events, or raise `error` from the send.

    Raises ValueError for both.
    """

    expect: RealtimeSendMatcher
    emit: Sequence[RealtimeModelEvent] = ()
    error: Exception | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "emit", tuple(self.emit))
        if self.emit and self.error is not None:
            raise ValueError("a RealtimeStep has either events to emit or an error to raise, not both")


class RealtimeConnectCall(TypedDict):
    """How a session connected, without keys: `url` has no user, password and query."""

    api_key_provided: bool
    headers_provided: bool
    url: NotRequired[str]
    initial_model_settings: NotRequired[RealtimeSessionModelSettings]
    playback_tracker: NotRequired[RealtimePlaybackTracker]
    call_id: NotRequired[str]


class ScriptedRealtimeModel(RealtimeModel):
    """A model that answers what a session sends with the events of its steps, in order: ``RealtimeRunner(agent,
    model=ScriptedRealtimeModel([RealtimeStep(expect=..., emit=[...])]))``.

    `connect_events` are told as soon as the session has connected, `connect_error` is raised in their place, and
    `close_error` by `close`. `strict`: a send that does not fit the next step ends the session, which raises
    `trealtime.ConnectionLost`, and `assert_complete` raises the `UnexpectedRealtimeSend`. Otherwise such a send is
    recorded, and the script waits. Settings that a session connects with are no send.

    Raises ValueError for both `connect_events` and a `connect_error`.
    """

    def __init__(
        self,
        steps: Iterable[RealtimeStep] = (),
        *,
        connect_events: Iterable[RealtimeModelEvent] = (),
        connect_error: Exception | None = None,
        close_error: Exception | None = None,
        strict: bool = True,
    ) -> None:
        self._steps = list(steps)
        self._connect_events = tuple(connect_events)
        if self._connect_events and connect_error is not None:
            raise ValueError("a ScriptedRealtimeModel has either connect_events or a connect_error, not both")
        self._connect_error = connect_error
        self._close_error = close_error
        self._strict = strict
        self._listeners: list[RealtimeModelListener] = []
        self._connect_calls: list[RealtimeConnectCall] = []
        self._sent: list[RealtimeModelSendEvent] = []
        self._unexpected: UnexpectedRealtimeSend | None = None
        self.connected = False
        self.closed = False
        self.close_calls = 0

    @property
    def listeners(self) -> tuple[RealtimeModelListener, ...]:
        """The listeners, oldest first."""
        return tuple(self._listeners)

    @property
    def connect_calls(self) -> tuple[RealtimeConnectCall, ...]:
        """How sessions have connected."""
        return tuple(self._connect_calls)

    @property
    def sent_events(self) -> tuple[RealtimeModelSendEvent, ...]:
        """Copies of all that sessions have sent."""
        return tuple(self._sent)

    @property
    def remaining_steps(self) -> int:
        """The number of steps to come."""
        return len(self._steps)

    def assert_complete(self) -> None:
        """Raise `UnexpectedRealtimeSend` for a send that did not fit, `UnconsumedRealtimeSteps` for steps that are
        left."""
        if self._unexpected is not None:
            raise self._unexpected
        if self._steps:
            left = len(self._steps)
            raise UnconsumedRealtimeSteps(f"{left} step(s) of the script were not reached", remaining_steps=left)

    async def emit(self, *events: RealtimeModelEvent) -> None:
        """Tell the listeners `events`. Raises `RealtimeScriptError` unless a session is connected."""
        self._check_connected()
        for event in events:
            for listener in self.listeners:
                self._check_connected()  # a listener may have ended it
                await listener.on_event(copy.copy(event))

    # ---- what a session calls ------------------------------------------------------------------------------------

    def add_listener(self, listener: RealtimeModelListener) -> None:
        """Give events to `listener`, once each."""
        if listener not in self._listeners:
            self._listeners.append(listener)

    def remove_listener(self, listener: RealtimeModelListener) -> None:
        """Give no more events to `listener`."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    async def connect(self, options: RealtimeModelConfig) -> None:
        """Begin the script. Raises AssertionError while another session is connected."""
        if self.connected:
            raise AssertionError("this model is connected already")
        self._connect_calls.append(_connect_call(options))
        if self._connect_error is not None:
            raise self._connect_error
        self.connected, self.closed = True, False
        await self.emit(*self._connect_events)

    async def send_event(self, event: RealtimeModelSendEvent) -> None:
        """Take the next step."""
        self._check_connected()
        step = self._matching_step(event)
        self._sent.append(_copied(event))
        if step is not None and step.error is not None:
            raise step.error
        await self.emit(*(step.emit if step is not None else ()))

    async def close(self) -> None:
        """End the connection. Raises the `close_error`, if any."""
        self.close_calls += 1
        if self.closed:
            return
        self.connected, self.closed = False, True
        if self._close_error is not None:
            raise self._close_error

    # ---- inside --------------------------------------------------------------------------------------------------

    def _check_connected(self) -> None:
        if not self.connected:
            raise RealtimeScriptError("no session is connected to this model")

    def _matching_step(self, event: RealtimeModelSendEvent) -> RealtimeStep | None:
        expected = self._steps[0].expect if self._steps else None
        if expected is not None and _matches(expected, event):
            return self._steps.pop(0)
        if not self._strict:
            return None
        wanted = "nothing more" if expected is None else f"{expected!r}"
        message = f"the session sent {type(event).__name__}, the script expects {wanted}"
        unexpected = UnexpectedRealtimeSend(message, actual=_copied(event), expected=expected)
        self._unexpected = self._unexpected or unexpected
        raise unexpected


def _matches(expected: RealtimeSendMatcher, event: RealtimeModelSendEvent) -> bool:
    if isinstance(expected, type):
        return isinstance(event, expected)
    return expected(_copied(event)) if callable(expected) else expected == event


def _copied(event: RealtimeModelSendEvent) -> RealtimeModelSendEvent:
    if isinstance(event, RealtimeModelSendSessionUpdate):  # tools cannot be copied
        return RealtimeModelSendSessionUpdate(event.session_settings.copy())
    return copy.deepcopy(event)


def _connect_call(options: RealtimeModelConfig) -> RealtimeConnectCall:
    call: dict[str, object] = {"api_key_provided": "api_key" in options, "headers_provided": "headers" in options}
    if "url" in options:
        call["url"] = redacted_url(options["url"]).partition("?")[0]
    call |= {key: value for key, value in options.items() if key in _KEPT}
    return cast("RealtimeConnectCall", call)
