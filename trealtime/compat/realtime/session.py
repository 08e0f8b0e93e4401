"""The session, with the SDK's methods and events. `RealtimeSession.native` is trealtime's own, with everything else."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Final, NoReturn, Self, cast

import trio

from trealtime._log import Log
from trealtime._session.config_dicts import ModelConfigDict, RunConfigDict
from trealtime._session.session import RealtimeSession as NativeSession
from trealtime._session.subscription import Subscription
from trealtime.agents.agent import RealtimeAgent as NativeAgent
from trealtime.compat import _defaults
from trealtime.compat.exceptions import UserError, user_errors
from trealtime.compat.realtime._hosting import HostedSession
from trealtime.compat.realtime._leniency import known_model_config, known_run_config
from trealtime.compat.realtime._translation import EventTranslator, end_of_connection
from trealtime.compat.realtime.agent import RealtimeAgent
from trealtime.compat.realtime.config import RealtimeRunConfig, RealtimeUserInput
from trealtime.compat.realtime.events import RealtimeSessionEvent
from trealtime.compat.realtime.items import RealtimeItem, item_of
from trealtime.compat.realtime.model import (
    RealtimeModel,
    RealtimeModelConfig,
    RealtimeModelListener,
    native_tracker,
)
from trealtime.compat.realtime.model_inputs import (
    RealtimeModelSendAudio,
    RealtimeModelSendInterrupt,
    RealtimeModelSendUserInput,
)
from trealtime.compat.realtime.openai_realtime import SessionModel
from trealtime.errors import ConnectionLost
from trealtime.events import RealtimeSessionEvent as NativeEvent
from trealtime.tools.context import RunContext
from trealtime.transport.models import RealtimeModel as NativeModel

__all__ = ["RealtimeSession"]

_REST_S: Final = 1.0
"""How long listeners have for the events that wait for them when the session has ended."""

_LOGGER: Final = Log("trealtime.session")


class RealtimeSession:
    """One conversation of one agent with one user; made by `RealtimeRunner.run`.

    Enter it once (``async with session:``) and iterate it. Several loops of one task share the events; a loop of
    another task gets its own from then on. `native` is the `trealtime.RealtimeSession` behind it: for `respond`, `ask`,
    `attach`, `subscribe`, `history` and the rest.
    """

    def __init__(
        self,
        model: RealtimeModel | NativeModel,
        agent: NativeAgent[Any],
        context: Any | None = None,
        model_config: RealtimeModelConfig | None = None,
        run_config: RealtimeRunConfig | None = None,
    ) -> None:
        self._model = session_model(model, model_config)
        self._model_config: RealtimeModelConfig = model_config or {}
        with user_errors():
            self.native: NativeSession[Any] = NativeSession(
                self._model.connector,
                agent,
                context,
                model_config=cast("ModelConfigDict", _native_model_config(model_config)),
                run_config=cast("RunConfigDict", known_run_config({"reconnect": None, **(run_config or {})})),
            )
        self._begun = False
        self._scope: AbstractAsyncContextManager[None] | None = None
        self._entered_by: trio.lowlevel.Task | None = None
        self._hosted: HostedSession | None = None
        self._passing: AbstractContextManager[None] | None = None
        self._nursery: trio.Nursery | None = None
        self._listening: dict[int, trio.CancelScope] = {}
        self._translator = EventTranslator()
        self._rest: deque[RealtimeSessionEvent] = deque()
        self._holder: weakref.ref[_Loop] | None = None
        self._holder_task: trio.lowlevel.Task | None = None

    @property
    def model(self) -> RealtimeModel:
        """The connection: ``await session.model.send_event(...)``, ``session.model.add_listener(...)``; a model of your
        own is given back as it is."""
        return self._model if self._model.custom is None else self._model.custom

    # ---- what programs read under private names ------------------------------------------------------------------

    @property
    def _current_agent(self) -> NativeAgent[Any]:
        return self.native.current_agent

    @property
    def _context_wrapper(self) -> RunContext[Any]:
        return self.native.context

    @property
    def _history(self) -> list[RealtimeItem]:
        return [item for each in self.native.history if (item := item_of(each)) is not None]

    @_history.setter
    def _history(self, items: object) -> None:
        _LOGGER.warning(
            "session._history is read from the conversation, so setting it does nothing: to begin with a history, "
            "write trealtime.RealtimeRunner(agent).session(history=...)"
        )

    @property
    def _closed(self) -> bool:
        return self.native.outcome is not None

    # ---- lifetime ------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Connect and wait until the server has taken the settings.

        Raises `UserError` for settings that cannot be sent and for a missing key, `trealtime.SettingsRefused` for those
        that the server does not take, `trealtime.ConnectFailed` when there is no connection. If cancelled, nothing is
        left.
        """
        self._begin()
        self._scope = self._entered()
        self._entered_by = trio.lowlevel.current_task()
        with user_errors():
            await self._scope.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """End the session, and with it everything that it has started; see `trealtime.RealtimeSession.__aexit__`.

        Called by hand in another task than the one that entered, it ends the session all the same; the task that
        entered has to leave, too. `enter` and `close` may be called in any task.
        """
        if self._hosted is not None:
            await self.close()
            return None
        if self._scope is None:
            raise RuntimeError("this session has not been entered")
        if trio.lowlevel.current_task() is not self._entered_by:
            await self.close()
            return None
        return await self._scope.__aexit__(kind, error, traceback)

    def _begin(self) -> None:
        if self._begun:
            raise RuntimeError("this session has been entered before: a session is entered once, run another")
        self._begun = True

    @asynccontextmanager
    async def _entered(self) -> AsyncIterator[None]:
        self._model.opened(self)
        try:
            await self._model.begin(self._model_config)
            async with _listeners() as nursery, self.native:
                self._nursery = nursery
                for listener in self._model.listeners:
                    self.begin_listening(listener)
                yield
        finally:
            self._nursery = None
            self._model.closed()
            await self._model.end()

    async def enter(self) -> Self:
        """As ``async with session:``, until `close` is called, by any task.

        A task of Trio's own holds the session. So a failure that no iteration and no call has raised is only in the
        log, and a session that is never closed lives until `trio.run` ends. Prefer ``async with session:``. Raises as
        `__aenter__`. If cancelled, nothing is left.
        """
        self._begin()
        self._hosted = hosted = HostedSession(self._entered)
        with user_errors():
            await hosted.begin()
        return self

    async def on_event(self, event: object) -> NoReturn:
        """Raise `UserError`: events come from the connection. In tests, let `trealtime.testing` send them."""
        raise UserError(
            "on_event is not called from outside here: let trealtime.testing.open_scripted_server send events"
        )

    async def close(self) -> None:
        """End the session now and wait until it has ended: iteration ends. May be called again, from any task."""
        if self._hosted is not None:
            await self._hosted.end(self.native.close)
        elif self._scope is not None:
            await self.native.close()

    # ---- events --------------------------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[RealtimeSessionEvent]:
        """Iterate the fifteen kinds of events that the SDK has, from entry on, until the session ends.

        Raises `trealtime.ConnectionLost` where the connection was lost.
        """
        task = trio.lowlevel.current_task()
        holder = self._holder() if self._holder is not None else None
        if holder is not None and self._holder_task is not task:
            return _Loop(self.native, EventTranslator(), deque())
        loop = _Loop(self.native, self._translator, self._rest)
        if holder is None:
            self._holder, self._holder_task = weakref.ref(loop), task
        return loop

    # ---- what the app says ---------------------------------------------------------------------------------------

    async def send_message(self, message: RealtimeUserInput) -> None:
        """Say something as the user and have it answered, after a response that is running."""
        if self._model.sends:
            await self._model.send_event(RealtimeModelSendUserInput(message))
            return
        with user_errors():
            await self.native.send_message(message)

    async def send_audio(self, audio: bytes, *, commit: bool = False) -> None:
        """Send a piece of microphone audio in the input format; `commit` ends the user's turn with it."""
        if self._model.sends:
            await self._model.send_event(RealtimeModelSendAudio(audio, commit))
            return
        await self.native.send_audio(audio, commit=commit)

    async def interrupt(self) -> None:
        """Stop the agent now: nothing more of its answer is heard, and the server truncates it at the heard
        position."""
        if self._model.sends:
            await self._model.send_event(RealtimeModelSendInterrupt())
            return
        await self.native.interrupt()

    async def update_agent(self, agent: RealtimeAgent[Any]) -> None:
        """Put another agent in charge and wait for the server to take its settings."""
        with user_errors():
            await self.native.update_agent(agent)

    async def approve_tool_call(self, call_id: str, *, always: bool = False) -> None:
        """Let a call that waits for approval be made; `always`: later calls of this tool too, without asking."""
        await self.native.approve_tool_call(call_id, always=always)

    async def reject_tool_call(
        self, call_id: str, *, always: bool = False, rejection_message: str | None = None
    ) -> None:
        """Refuse a call that waits for approval: the model reads `rejection_message`."""
        await self.native.reject_tool_call(call_id, always=always, rejection_message=rejection_message)

    def let_speech_pass(self) -> None:
        """From now on, the user's speech interrupts nothing: a model of the program decides."""
        if self._passing is None:
            self._passing = self.native.uninterruptible()
            self._passing.__enter__()

    # ---- listeners -----------------------------------------------------------------------------------------------

    def begin_listening(self, listener: RealtimeModelListener) -> None:
        """Give model events from now on to `listener`; `SessionModel.add_listener` calls this."""
        if self._nursery is not None:
            scope = self._listening[id(listener)] = trio.CancelScope()
            subscription = self.native.subscribe(playback=False)
            self._nursery.start_soon(_listen, listener, subscription, self.native, scope)

    def end_listening(self, listener: RealtimeModelListener) -> None:
        """Give no more events to `listener`."""
        scope = self._listening.pop(id(listener), None)
        if scope is not None:
            scope.cancel()


class _Loop(AsyncIterator[RealtimeSessionEvent]):
    """One ``async for event in session``. `rest` holds what one native event made and no loop has taken yet."""

    def __init__(
        self,
        session: NativeSession[Any],
        translator: EventTranslator,
        rest: deque[RealtimeSessionEvent],
    ) -> None:
        self._session = session
        self._events: AsyncIterator[NativeEvent] | None = aiter(session)
        self._translator = translator
        self._rest = rest
        self._failure: Exception | None = None

    async def __anext__(self) -> RealtimeSessionEvent:
        """Wait for the next event. If cancelled, no event is lost."""
        if self._rest:
            await trio.lowlevel.checkpoint_if_cancelled()
            return self._rest.popleft()
        while self._events is not None:
            try:
                event = await anext(self._events)
            except StopAsyncIteration:
                self._events = None
                outcome = self._session.outcome
                if outcome is not None and outcome.closed_by == "server":
                    self._rest.extend(self._translator.end(None))
            except ConnectionLost as lost:
                self._events = None
                self._failure = lost
                self._rest.extend(self._translator.end(lost))
            else:
                self._rest.extend(self._translator.translate(event))
            if self._rest:
                return self._rest.popleft()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        raise StopAsyncIteration


@asynccontextmanager
async def _listeners() -> AsyncIterator[trio.Nursery]:
    """Open a nursery for listeners. When the body has ended, they have a moment for the events that still wait for
    them. Raises exceptions of listeners and body bare: that of the body where both fail, and then those of listeners
    are in the log."""
    raised: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as error:  # noqa: BLE001  # raised again below, where no nursery wraps it
                raised = error
                nursery.cancel_scope.cancel()
            else:
                nursery.cancel_scope.deadline = trio.current_time() + _REST_S
    except BaseExceptionGroup as group:
        failures = group.split(trio.Cancelled)[1]
        if failures is not None and (raised is None or isinstance(raised, trio.Cancelled)):
            raise (failures.exceptions[0] if len(failures.exceptions) == 1 else failures) from None
        for failure in failures.exceptions if failures is not None else ():
            _LOGGER.error("a listener of the model failed, and so did the session's block", exc_info=failure)
    if raised is not None:
        raise raised


async def _listen(
    listener: RealtimeModelListener,
    subscription: Subscription,
    session: NativeSession[Any],
    scope: trio.CancelScope,
) -> None:
    translator = EventTranslator()
    with scope:
        async with subscription:
            try:
                async for event in subscription:
                    for each in translator.model_events(event):
                        await listener.on_event(each)
            except ConnectionLost as lost:
                for each in end_of_connection(lost):
                    await listener.on_event(each)
                return
        outcome = session.outcome
        if outcome is not None and outcome.closed_by == "server":
            for each in end_of_connection(None):
                await listener.on_event(each)


def session_model(model: RealtimeModel | NativeModel, config: RealtimeModelConfig | None) -> SessionModel:
    """Return `model` as what a session connects through."""
    if isinstance(model, SessionModel):
        return model
    if isinstance(model, RealtimeModel):
        from trealtime.compat.realtime._custom_model import CustomConnector  # few programs have one

        return SessionModel(CustomConnector(model, config or {}), custom=model)
    return SessionModel(model)


def _native_model_config(config: RealtimeModelConfig | None) -> dict[str, Any]:
    native: dict[str, Any] = dict(config or {})
    if native.get("playback_tracker") is not None:
        native["playback_tracker"] = native_tracker(native["playback_tracker"])
    if native.get("api_key") is None and _defaults.api_key is not None:
        native["api_key"] = _defaults.api_key
    return known_model_config(native)
