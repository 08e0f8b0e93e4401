"""The session: one realtime conversation, from ``async with session`` to its end."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Unpack

import trio

from trealtime._async_with import async_with, require_trio
from trealtime._core.interruption import BargeInPolicy
from trealtime._secrets import shown
from trealtime._session import config
from trealtime._session.agent_settings import SettingsInput
from trealtime._session.attachment import Attachment
from trealtime._session.config import RealtimeModelConfig, RealtimeRunConfig
from trealtime._session.guardrail_runner import (
    check_transcribed,
    check_transcription,
)
from trealtime._session.lifetime import CloseOutcome
from trealtime._session.listening import Listening
from trealtime._session.opening import Opening
from trealtime._session.outgoing import (
    sendable_event,
    sendable_message,
)
from trealtime._session.parts import assemble
from trealtime._session.response import (
    ResponseOptions,
    SessionResponse,
    Turn,
    collect,
    response_params,
    shows_options,
)
from trealtime._session.saved_session import beginning
from trealtime._session.session_input import SessionInput
from trealtime._session.session_items import SessionItems
from trealtime._session.statistics import SessionStatistics
from trealtime._session.subscription import Overflow, Subscription, check_bounds, check_event_types
from trealtime.agents.agent import RealtimeAgent
from trealtime.audio.formats import AudioFormat
from trealtime.endpoints.endpoint import Endpoint
from trealtime.errors import ServerRefused, SessionClosed, SessionNotOpen
from trealtime.events import RealtimeSessionEvent
from trealtime.items import RealtimeItem
from trealtime.metrics import TurnMetrics
from trealtime.protocol.user_input import UserInput
from trealtime.tools.context import ContextT, RunContext
from trealtime.transport.models import RealtimeModel
from trealtime.usage import Cost, TranscriptionUsage, Usage

if TYPE_CHECKING:
    from trealtime._session.config_dicts import BargeInDict, ModelConfigDict, RunConfigDict
    from trealtime._session.model_shim import SessionModel
    from trealtime.timeline.timeline import Timeline

__all__ = ["RealtimeSession"]


class RealtimeSession(SessionInput, SessionItems, Generic[ContextT]):
    """One conversation of one agent with one user; made by `RealtimeRunner.run` or `RealtimeRunner.session`.

    Enter it once (``async with session:``) and iterate it. Inside the block every method may be called from any task
    of the same Trio run. Methods that send wait for room in the send queue, never for the network; a cancelled call has
    queued its message whole or not at all.

    Every method raises `SessionNotOpen` before entry, `SessionClosed` after the end, and `ConnectionLost` when the
    connection was lost.
    """

    def __init__(
        self,
        model: RealtimeModel,
        agent: RealtimeAgent[ContextT],
        context: ContextT | None = None,
        *,
        model_config: RealtimeModelConfig | ModelConfigDict | None = None,
        run_config: RealtimeRunConfig | RunConfigDict | None = None,
        rng: random.Random | None = None,
        history: str | bytes | Iterable[RealtimeItem] | None = None,
        resume: str | bytes | None = None,
    ) -> None:
        agent, saved = beginning(agent, history, resume)
        self._parts = parts = assemble(model, agent, context, model_config=model_config, run_config=run_config, rng=rng)
        self._opening = Opening(parts, saved)
        self._run, self._config, self._context, self._ids = parts.run, parts.config, parts.context, parts.ids
        self._core, self._driver, self._lifetime, self._submit = parts.core, parts.driver, parts.lifetime, parts.submit
        self._agents, self._attachments, self._subscriptions = parts.agents, parts.attachments, parts.subscriptions
        self._scope: AbstractAsyncContextManager[None] | None = None
        self._task: trio.lowlevel.Task | None = None
        self._entered_at = self._left_at = math.nan

    # ---- lifetime ------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        state, agent = self._lifetime.state, self._core.agent.name
        if math.isnan(self._entered_at):
            return f"<RealtimeSession of {agent!r}, not entered>"
        if not math.isnan(self._left_at):
            age = f" after {self._left_at - self._entered_at:.1f} s"
        elif trio.lowlevel.in_trio_run():
            age = f" for {trio.current_time() - self._entered_at:.1f} s"
        else:
            age = ""
        return f"<RealtimeSession {self.id} of {agent!r}, {state}{age}>"

    async def __aenter__(self) -> RealtimeSession[ContextT]:
        """Connect and wait until the server has created the session and acknowledged its settings.

        If cancelled, the connection is dropped and nothing is left. Raises `ConnectFailed` when there is no
        connection or the server stays silent, `SettingsRefused` naming a setting that the server refuses,
        `ConnectionLost` when the server hangs up, RuntimeError when the session was entered before.
        """
        if self._scope is not None:
            raise RuntimeError("this session has been entered before: a session is entered once, build another")
        require_trio("a session")
        self._task = trio.lowlevel.current_task()
        self._parts.failures.session_id = self._ids.new("session")
        self._entered_at = trio.current_time()
        self._scope = self._opening.hold(self.id)
        await self._scope.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """End the session within ``close_timeout_s`` and a second, whether or not this is cancelled.

        It waits longer only for a tool that cannot be stopped, a function in a thread. The body's exception comes out
        bare. Without one, raises `ConnectionLost` if the connection was lost and no other call has raised that, or the
        exception of a task of the session.
        """
        if self._scope is None or trio.lowlevel.current_task() is not self._task:
            raise RuntimeError("a session is left by the task that entered it")
        try:
            return await self._scope.__aexit__(kind, error, traceback)
        finally:
            self._left_at = trio.current_time()

    async def enter(self) -> RealtimeSession[ContextT]:
        """Raise RuntimeError: the tasks of a session live in a nursery, which needs a block to end with.

        Write ``async with session:``, or ``session = await nursery.start(serve_realtime_session, runner)`` for a
        session that lives in a nursery of yours.
        """
        raise RuntimeError(
            "enter() would leave tasks without an owner: use `async with session:`, or "
            "`session = await nursery.start(serve_realtime_session, runner)`"
        )

    async def close(self) -> None:
        """End the session now, in order, and wait until it has ended. Iteration ends, and other calls raise
        `SessionClosed`.

        The ``async with`` block goes on. Call it from any task, also from a tool, which it cancels, and as often as you
        like. If cancelled, the session ends all the same.
        """
        self._lifetime.check_entered()
        self._lifetime.stop()
        await self._lifetime.wait_finished()

    async def wait_closed(self) -> CloseOutcome:
        """Wait until the session has ended and return how. Raises `SessionClosed` when it never had a connection."""
        self._lifetime.check_entered()
        await self._lifetime.wait_finished()
        if self.outcome is None:
            raise SessionClosed("this session is closed: it never had a connection")
        return self.outcome

    @property
    def outcome(self) -> CloseOutcome | None:
        """How the connection ended; None before."""
        return self._lifetime.outcome

    # ---- what comes ----------------------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[RealtimeSessionEvent]:
        """Iterate all events from entry on; the first is an empty ``history_updated``.

        Iteration ends when the session ends, and raises `ConnectionLost` if the connection was lost and no other call
        has raised that. A second task that iterates at the same time gets events of its own from then on; loops of one
        task share theirs. Audio counts as being played when it is taken. Raises `SlowConsumer` past the bounds of the
        subscription.
        """
        return self._parts.loops.begin()

    def subscribe(
        self,
        *types: str,
        buffer_s: float | None = None,
        overflow: Overflow | None = None,
        playback: bool = True,
    ) -> Subscription:
        """Subscribe to events of these types, all if none is named: ``async with session.subscribe("audio") as
        subscription``.

        A subscription is a `trio.abc.ReceiveChannel` with a bound of its own: `buffer_s` seconds of audio, with the
        policy `overflow` past it. With `playback` False (for a logger or a meter) audio taken from it does not count as
        heard. With ``"drop_oldest_audio"``, dropped audio leaves an ``audio_dropped`` event if the types allow it.
        Raises ValueError for an unknown type or policy and for a bound that is none.
        """
        allowed = check_event_types(types)
        check_bounds(buffer_s, overflow)
        self._lifetime.check_open()
        return self._subscriptions.new(
            f"subscribe({', '.join(map(repr, types))})",
            types=allowed,
            buffer_s=buffer_s,
            overflow=overflow,
            playback=playback,
        )

    def attach(
        self,
        endpoint: Endpoint,
        *,
        coalesce_ms: float = 40.0,
        barge_in: BargeInPolicy | BargeInDict | None = None,
    ) -> AbstractAsyncContextManager[Attachment]:
        """Let the user speak and hear through `endpoint`: ``async with session.attach(endpoint) as attachment``.

        Entering waits until the endpoint is open, and raises what opening it raises. In the block the user's audio is
        sent and all audio of the agent is played, converted between the formats of the endpoint and those that the
        server acknowledged. Interrupts silence the endpoint at once, and its reports say what was heard; audio taken
        from subscriptions does not count. Microphone audio is collected for up to `coalesce_ms`.

        Leaving the block stops playback, interrupts what was not heard, and closes the path; the session goes on. A
        cancellation leaves it in the same order. When the far side leaves, the path closes and the block goes on:
        `Attachment.wait_closed`. An exception of the endpoint cancels the block and comes out as `EndpointFailed`. A
        session has at most one endpoint that speaks and one that plays: RuntimeError for more.

        `barge_in` says when speech interrupts while this endpoint is attached, in place of the run config's; the server
        gets the difference. Raises `SettingsError` for a policy that is none, and for one that needs the user's words
        where transcription is off.
        """
        policy = None if barge_in is None else config.barge_in_policy(barge_in)
        if policy is not None:
            check_transcribed(policy, self.settings)
        return self._attachments.attach(endpoint, coalesce_ms=coalesce_ms, barge_in=policy)

    @property
    def id(self) -> str:
        """The id of this session, ours: random, from the `rng` of its runner. It is in every log record of the session.
        Raises `SessionNotOpen` before entry, which makes it."""
        if self._parts.failures.session_id is None:
            raise SessionNotOpen("this session has no id yet: entering it makes one")
        return self._parts.failures.session_id

    @property
    def current_agent(self) -> RealtimeAgent[Any]:
        """The agent in charge."""
        return self._core.agent

    @property
    def usage(self) -> Usage:
        """The tokens of all responses so far, with an entry for each, and their cost if the run config has `prices`."""
        return self._core.usage

    @property
    def transcription_usage(self) -> TranscriptionUsage:
        """The tokens or seconds that transcribing the user has taken so far; no part of `usage`."""
        return self._core.transcription_usage

    @property
    def cost(self) -> Cost | None:
        """The cost of responses and transcriptions so far by the `prices` of the run config; None without them."""
        return self._core.cost

    @property
    def model(self) -> SessionModel:
        """For programs written for the OpenAI Agents SDK: ``await session.model.send_event(...)``."""
        from trealtime._session.model_shim import SessionModel  # Few programs need its classes.

        return SessionModel(self)

    @property
    def context(self) -> RunContext[Any]:
        """The run context."""
        return self._context

    @property
    def settings(self) -> Mapping[str, Any] | None:
        """The session object as the server last acknowledged it; None before it has."""
        return self._core.acknowledged

    @property
    def input_format(self) -> AudioFormat:
        """The format in which the server takes audio, as acknowledged."""
        return self._core.input_format

    @property
    def output_format(self) -> AudioFormat:
        """The format in which the server's audio comes, as acknowledged."""
        return self._core.output_format

    @property
    def turns(self) -> tuple[TurnMetrics, ...]:
        """The figures of the turns that are over, oldest first; of more than 1,000 the newest."""
        return self._core.ended_turns

    def statistics(self) -> SessionStatistics:
        """Return numbers about this session; at any time."""
        driver, core = self._driver, self._core
        return SessionStatistics(
            conversation=core.counters(),
            send_queue=driver.send_queue.statistics(),
            subscriptions=tuple(each.statistics() for each in driver.subscriptions if not each.abandoned),
            guardrails=core.guardrail_counters(),
            wire=self._lifetime.wire_statistics(),
            connections=core.connection_counters(),
            attachments=self._attachments.statistics(),
            turns=core.turn_statistics(),
            tools_active=driver.tools.active + core.handing_over,
            approvals_pending=len(core.pending_approvals),
            questions_open=len(driver.replies),
            recording=self._opening.recorder.statistics() if self._opening.recorder is not None else None,
            failures=self._parts.failures.counters(),
        )

    def timeline(self) -> Timeline:
        """Return the call so far as a picture: ``session.timeline().html()``. At any time, after the end too.

        The run config has to record the session; ``record=RecordingSettings()`` does so in memory. Raises RuntimeError
        where it does not. It reads what has been written, and blocks for as long as that takes.
        """
        from trealtime.timeline.reading import read_call
        from trealtime.timeline.timeline import Timeline

        if self._opening.recorder is None:
            raise RuntimeError("this session is not recorded: set `record` in the run config")
        header, lines = self._opening.recorder.so_far()
        return Timeline(read_call(header, lines))

    async def wait_for_playback(self) -> None:
        """Wait until the user has heard all audio of the agent, also that of a response that is being made.

        An endpoint or a playback tracker reports what was heard. Without one, playback is taken to be in real time
        from the moment when the audio was taken from a subscription. Audio for which there is no consumer (nobody has
        begun to iterate the session, no other subscription takes it, and it is not that of an `ask` or `respond`) is
        not waited for.
        """
        while True:
            self._lifetime.check_open()
            remaining_s = self._core.playback_remaining(trio.current_time(), taken=self._driver.takes)
            if remaining_s == 0:
                await trio.lowlevel.checkpoint()
                return
            with trio.move_on_after(remaining_s):
                await self._driver.wait_for_change()

    # ---- a turn --------------------------------------------------------------------------------------------------

    @shows_options
    @async_with("session.respond(...)", "response")
    async def respond(
        self, input: UserInput | None = None, **options: Unpack[ResponseOptions]
    ) -> AsyncIterator[SessionResponse]:
        """Ask for a response that belongs to a scope: ``async with session.respond("...") as response``.

        Leaving before its end, by break, exception or cancellation, interrupts it: the server stops and gets the
        position that was heard. A complete response whose audio was not taken here is left alone.

        `input` is said first, as in `send_message`. The options (`ResponseOptions`) hold for this response only:
        `instructions`, `output_modalities`, `metadata`, `tools`, `tool_choice`, `max_output_tokens`, `out_of_band`,
        `input_items`. Raises `SettingsError` for values that cannot be sent, TypeError for an unknown option.
        """
        params, tools = await response_params(options, self._context, self.current_agent)
        item = None if input is None else sendable_message(input, item_id=self._ids.new("item"))
        if item is not None and "conversation" in params:
            params["input"] = [*params.get("input", ()), item]
            item = None
        await self._submit.room()
        reply = self._driver.replies.open()
        subscription = self._subscriptions.new("a response", responses=[], playback=False)
        self._driver.followers[reply.id] = subscription
        question = None if item is None else str(item["id"])
        response = SessionResponse(self._driver, self._lifetime, reply, subscription, question=question)
        if item is not None:
            self._driver.do(self._core.create_item, item, said=True)
        self._driver.do(self._core.create_response, params or None, reply_id=reply.id, tools=tools)
        try:
            yield response
        except BaseException:
            response.leave(failed=True)
            raise
        response.leave(failed=False)

    @shows_options
    async def ask(self, input: UserInput | None = None, **options: Unpack[ResponseOptions]) -> Turn:
        """Say `input` and wait for the whole answer, tool calls included. Arguments as in `respond`.

        If cancelled, the answer is cancelled on the server too. Its audio counts as being played when this returns.
        Raises `ServerRefused` when the server makes no response. A response that fails or is cut is a `Turn` with that
        status.
        """
        async with self.respond(input, **options) as response:
            return await collect(response, self.history_of)

    def listen(self) -> Listening:
        """Wait for a spoken turn of the user, and get the whole answer: ``turn = await session.listen()``.

        The turn is the one that the user is in when this is awaited, or the next; a turn whose answer has begun is
        past. The answer includes calls of tools and handoffs, and comes as a `SpokenTurn` with the user's words. If the
        user speaks on before any of the answer was heard, that answer is dropped and the turn goes on.

        To get the answer as it comes, enter it: ``async with session.listen() as response`` gives a `SessionResponse`
        at once, and its audio or text comes when the user has spoken. There, an answer that the user cuts ends.

        This waits for as long as the user is silent. If cancelled before the answer has begun, the turn goes on without
        it; after that, the answer is cancelled on the server too, unless something else has asked for it.
        Raises `ServerRefused` when a turn gets no answer, `InputGuardrailTripwireTriggered` when a guardrail withholds
        it, `ConnectionLost` or `SessionClosed` when the session ends first. An answer that fails or is cut is a turn
        with that status. How the user's audio comes in does not matter: `send_audio`, `attach`, or a phone line.
        """
        self._lifetime.check_open()
        return Listening(self._driver, self._lifetime, self._subscriptions, self.history_of)

    # ---- responses -----------------------------------------------------------------------------------------------

    @shows_options
    async def create_response(self, **options: Unpack[ResponseOptions]) -> None:
        """Ask for a response, which comes as events. Options as in `respond`, which can wait for it.

        The request is sent when no other response of the conversation is running; requests keep their order. Waits
        while the send queue is full; if cancelled, the request is queued whole or not at all.
        """
        params, tools = await response_params(options, self._context, self.current_agent)
        await self._submit.send(self._core.create_response, params or None, tools=tools)

    # ---- the session itself --------------------------------------------------------------------------------------

    async def update_settings(self, settings: SettingsInput) -> Mapping[str, Any]:
        """Change settings, wait for the server, and return the session object that it acknowledges.

        Settings that are not given stay. If cancelled while it waits, the change may be made. Raises `SettingsError`
        for values that cannot be sent, `SettingsRefused` for those that the server refuses.
        """
        for policy in (self._run.barge_in, self._attachments.barge_in):
            if policy is not None:
                check_transcription(self._parts.guardrails, policy, settings)
        await self._submit.room()
        return await self._agents.update_settings(settings)

    async def update_agent(self, agent: RealtimeAgent[Any]) -> None:
        """Put another agent in charge: send the settings that differ, and wait for the server.

        A response that is running stays the old agent's, and no new one is asked for. An agent with a voice of its own
        waits for a first answer that is being made; once audio has been made the voice stays, with a
        ``settings_mismatch`` event. If cancelled while it waits, the change may be made.

        Raises what `instructions` and `is_enabled` of the agent raise, `SettingsError` for settings that cannot be
        sent, and `SettingsRefused` when the server refuses them: then the old agent stays in charge. Raises `TypeError`
        for what is no agent.
        """
        if not isinstance(agent, RealtimeAgent):
            raise TypeError(f"agent: got {shown(agent)}, allowed: a RealtimeAgent")
        await self._submit.room()
        await self._agents.update_agent(agent)

    async def send_raw(self, event: Mapping[str, Any]) -> None:
        """Send a client event as it is: ``{"type": ..., ...}``, or the SDK's ``{"type": ..., "other_data": {...}}``.

        A ``response.create`` takes its turn as every response does. Waits while the send queue is full; if cancelled,
        the event is queued whole or not at all. Raises `SettingsError` for an event without a type, `TypeError` for a
        value without a JSON form.
        """
        await self._submit.send(self._core.send_raw, sendable_event(event))

    async def _answer_aside(self, question: str, items: Sequence[Mapping[str, Any]]) -> str:
        async with self.respond(
            question, out_of_band=True, input_items=items, output_modalities=["text"], tool_choice="none"
        ) as response:
            result = await response.result()
            if result.status != "completed":  # half a summary would take the place of what it leaves out
                why = f": {result.reason}" if result.reason else ""
                raise ServerRefused(f"the answer is {result.status}{why}", code="no_answer", request="response.create")
            return await response.transcript()
