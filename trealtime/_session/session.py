"""The session: one realtime conversation, from ``async with session`` to its end."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Generic, Unpack

import trio

from trealtime._core.effects import ApprovalRequest
from trealtime._core.interruption import BargeInPolicy
from trealtime._session.agent_settings import SettingsInput
from trealtime._session.approval_handler import Reject
from trealtime._session.attachment import Attachment
from trealtime._session.config import RealtimeModelConfig, RealtimeRunConfig, barge_in_policy
from trealtime._session.entering import entered
from trealtime._session.guardrail_runner import check_transcribed, check_transcription
from trealtime._session.lifetime import CloseOutcome
from trealtime._session.model_shim import SessionModel
from trealtime._session.outgoing import AudioData, audio_bytes, microphone_pieces, sendable_event, sendable_item
from trealtime._session.parts import SessionParts
from trealtime._session.response import ResponseOptions, SessionResponse, Turn, collect, response_params
from trealtime._session.statistics import SessionStatistics
from trealtime._session.subscription import Overflow, Subscription, check_event_types
from trealtime.agents.agent import RealtimeAgent
from trealtime.audio.formats import AudioFormat
from trealtime.endpoints.endpoint import Endpoint
from trealtime.errors import SessionClosed
from trealtime.events import RealtimeSessionEvent
from trealtime.items import RealtimeItem
from trealtime.protocol.user_input import UserInput, message_item
from trealtime.tools.context import ContextT, RunContext
from trealtime.transport.models import RealtimeModel
from trealtime.usage import Cost, TranscriptionUsage, Usage

__all__ = ["RealtimeSession"]


class RealtimeSession(Generic[ContextT]):
    """One conversation of one agent with one user; made by `RealtimeRunner.run` or `RealtimeRunner.session`.

    Enter it once (``async with session:``) and iterate it. Inside the block every method may be called from any task
    of the same Trio run. Sending methods wait for room in the send_queue, never for the network; a cancelled call has
    queued all of what it sends or nothing.

    Every method raises `SessionNotOpen` before entry, `SessionClosed` after the end, and `ConnectionLost` when the
    connection was lost.
    """

    def __init__(
        self,
        model: RealtimeModel,
        agent: RealtimeAgent[ContextT],
        context: ContextT | None = None,
        *,
        model_config: RealtimeModelConfig | Mapping[str, Any] | None = None,
        run_config: RealtimeRunConfig | Mapping[str, Any] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        parts = SessionParts(model, agent, context, model_config=model_config, run_config=run_config, rng=rng)
        self._parts = parts
        self._driver = parts.driver
        self._lifetime = parts.lifetime
        self._asking = parts.asking
        self._scope: AbstractAsyncContextManager[None] | None = None
        self._task: trio.lowlevel.Task | None = None

    # ---- lifetime ------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> RealtimeSession[ContextT]:
        """Connect and wait until the session is ready: created, and our settings acknowledged.

        If cancelled, the connection is dropped and nothing is left. Raises `ConnectFailed` when there is no
        connection or the server stays silent, `SettingsRefused` naming the setting that the server does not take,
        `ConnectionLost` when the server hangs up instead, RuntimeError when the session was entered before.
        """
        if self._scope is not None:
            raise RuntimeError("this session has been entered before: a session is entered once, build another")
        self._task = trio.lowlevel.current_task()
        self._scope = entered(self._parts)
        await self._scope.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """End the session within ``close_timeout_s`` and a second, whether or not this is cancelled.

        Only a tool that cannot be stopped, a function in a thread, is waited for longer. The body's exception comes
        out as it is. Without one, raises `ConnectionLost` if the connection was lost and nobody has been told, and
        whatever went wrong in a task of the session.
        """
        if self._scope is None or trio.lowlevel.current_task() is not self._task:
            raise RuntimeError("a session is left by the task that entered it")
        return await self._scope.__aexit__(kind, error, traceback)

    async def enter(self) -> RealtimeSession[ContextT]:
        """Not here: a session's tasks live in a nursery, which has to end somewhere. Raises RuntimeError.

        Write ``async with session:``, or ``session = await nursery.start(serve_realtime_session, runner)`` for a
        session that lives in a nursery of yours.
        """
        raise RuntimeError(
            "enter() would leave tasks without an owner: use `async with session:`, or "
            "`session = await nursery.start(serve_realtime_session, runner)`"
        )

    async def close(self) -> None:
        """End the session now, in order, and wait until it has ended: iteration ends, further calls raise
        `SessionClosed`.

        The ``async with`` block goes on. May be called from any task, a tool's included (which it cancels), and
        again. If cancelled, the session ends all the same.
        """
        self._lifetime.check_entered()
        self._lifetime.stop()
        await self._lifetime.wait_finished()

    async def wait_closed(self) -> CloseOutcome:
        """Wait until the session has ended, whoever ends it; how it did.

        Raises `SessionClosed` when it never had a connection that could end.
        """
        self._lifetime.check_entered()
        await self._lifetime.wait_finished()
        if self.outcome is None:
            raise SessionClosed("this session is closed: it never had a connection")
        return self.outcome

    @property
    def outcome(self) -> CloseOutcome | None:
        """How the connection ended; None while it has not."""
        return self._lifetime.outcome

    # ---- what comes ----------------------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[RealtimeSessionEvent]:
        """All events from entry on, the first a ``history_updated`` with nothing in it.

        Iteration ends when the session ends, and raises `ConnectionLost` if that was a loss and nobody has been told.
        A second task that iterates meanwhile gets its own events from then on; loops of one task share theirs. Audio
        taken here counts as being played from then on. Raises `SlowConsumer` past the subscription's bounds.
        """
        return self._parts.loops.begin()

    def subscribe(
        self,
        *types: str,
        buffer_s: float | None = None,
        overflow: Overflow | None = None,
        playback: bool = True,
    ) -> Subscription:
        """A subscription of events of these types (all, when none is named) from now on: ``async with session.subscribe(...) as
        subscription``. It is a `trio.abc.ReceiveChannel`, bounded on its own: `buffer_s` seconds of audio, `overflow` past it.

        `playback` False says that whoever reads it does not play it (a logger, a meter): audio taken from it does not
        count as heard. With ``"drop_oldest_audio"``, dropped audio leaves an ``audio_dropped`` event where the filter
        lets it in. Raises ValueError for an unknown type.
        """
        allowed = check_event_types(types)
        self._lifetime.check_open()
        return self._parts.subscriptions.new(
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
        barge_in: BargeInPolicy | Mapping[str, Any] | None = None,
    ) -> AbstractAsyncContextManager[Attachment]:
        """Let the user speak and hear through `endpoint`: ``async with session.attach(endpoint) as attachment``.

        Entering waits until the endpoint is open, and raises what opening it raises. Inside, what the user says is sent
        and all that the agent says is played, converted between the formats of the endpoint and those that the server
        acknowledged; interrupts silence it at once, and what was heard is what the endpoint reports. Audio taken from
        subscriptions meanwhile counts for nothing. Microphone audio is collected for up to `coalesce_ms`.

        Leaving stops playback (what was not heard is interrupted) and closes the path; the session goes on. When the
        far side leaves, the path closes and the block goes on: `Attachment.wait_closed`. If cancelled, it is left in
        the same order. An exception of the endpoint cancels the block and comes out as `EndpointFailed`. A session has
        one endpoint that speaks and one that plays, which may be two: RuntimeError for more.

        `barge_in` says when speech interrupts while this is attached, in place of that of the run config; the server is
        told what differs. Raises `SettingsError` for what is no such policy, and for one that judges by the user's
        words where transcription is off.
        """
        policy = None if barge_in is None else barge_in_policy(barge_in)
        if policy is not None:
            check_transcribed(policy, self.settings)
        return self._parts.attachments.attach(endpoint, coalesce_ms=coalesce_ms, barge_in=policy)

    @property
    def history(self) -> list[RealtimeItem]:
        """The conversation so far, in a list of your own."""
        return self._driver.core.history()

    @property
    def current_agent(self) -> RealtimeAgent[Any]:
        """The agent that speaks now."""
        return self._driver.core.agent

    @property
    def usage(self) -> Usage:
        """Tokens of all responses so far, with an entry for each; with `prices` their cost."""
        return self._driver.core.usage

    @property
    def transcription_usage(self) -> TranscriptionUsage:
        """What transcribing the user has taken so far; no part of `usage`."""
        return self._driver.core.transcription_usage

    @property
    def cost(self) -> Cost | None:
        """What responses and transcriptions have cost so far, by the `prices` of the run config; None without them."""
        return self._driver.core.cost

    @property
    def model(self) -> SessionModel:
        """For programs written for the OpenAI Agents SDK: ``await session.model.send_event(...)``."""
        return SessionModel(self)

    @property
    def context(self) -> RunContext[Any]:
        """The run context."""
        return self._parts.context

    @property
    def settings(self) -> Mapping[str, Any] | None:
        """The session object as the server last acknowledged it; None before it has."""
        return self._driver.core.acknowledged

    @property
    def input_format(self) -> AudioFormat:
        """The format in which the server takes audio, as acknowledged."""
        return self._driver.core.input_format

    @property
    def output_format(self) -> AudioFormat:
        """The format in which the server's audio comes, as acknowledged."""
        return self._driver.core.output_format

    def statistics(self) -> SessionStatistics:
        """Numbers about this session; at any time."""
        return self._parts.statistics()

    async def wait_for_playback(self) -> None:
        """Wait until the user has heard everything that the agent has said, an answer in the making included.

        By what an endpoint or a playback tracker reports; else playback is taken to be in real time from the moment
        when the audio was taken from a subscription, so somebody has to take it.
        """
        core = self._driver.core
        while True:
            self._lifetime.check_open()
            remaining_s = core.playback_remaining(trio.current_time())
            if remaining_s == 0:
                await trio.lowlevel.checkpoint()
                return
            with trio.move_on_after(remaining_s):
                await self._driver.wait_for_change()

    # ---- a turn --------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def respond(
        self, input: UserInput | None = None, **options: Unpack[ResponseOptions]
    ) -> AsyncIterator[SessionResponse]:
        """Ask for a response that belongs to a scope: ``async with session.respond("...") as response``.

        Leaving before it has come to its end, by break, exception or cancellation, interrupts it: the server stops
        and is told what was heard. A response that has been made, and whose audio nobody began to take here, is left
        alone.

        `input` is said first, as in `send_message`. The options (`ResponseOptions`) hold for this response only:
        `instructions`, `output_modalities`, `metadata`, `tools`, `tool_choice`, `max_output_tokens`, `out_of_band`,
        `input_items`. Raises `SettingsError` for what cannot be sent, TypeError for an option that there is not.
        """
        params, tools = await response_params(options, self._parts.context, self.current_agent)
        item = None if input is None else message_item(input, item_id=self._parts.ids.new("item"))
        if item is not None and "conversation" in params:
            params["input"] = [*params.get("input", ()), item]
            item = None
        await self._asking.room()
        reply = self._driver.replies.open()
        subscription = self._parts.subscriptions.new("a response", responses=[], playback=False)
        self._driver.followers[reply.id] = subscription
        response = SessionResponse(self._driver, self._lifetime, reply, subscription)
        if item is not None:
            self._driver.do(self._driver.core.create_item, item, said=True)
        self._driver.do(self._driver.core.create_response, params or None, reply_id=reply.id, tools=tools)
        try:
            yield response
        except BaseException:
            response.leave(failed=True)
            raise
        response.leave(failed=False)

    async def ask(self, input: UserInput | None = None, **options: Unpack[ResponseOptions]) -> Turn:
        """Say `input` and wait for the whole answer, tool calls included. Arguments as in `respond`.

        If cancelled, the answer is cancelled on the server too. Its audio counts as handed out when this returns.
        Raises `ServerRefused` when the server makes no response; a response that fails or is cut is a `Turn` that
        says so.
        """
        async with self.respond(input, **options) as response:
            return await collect(response, self.history_of)

    def history_of(self, item_ids: Collection[str]) -> tuple[RealtimeItem, ...]:
        """The items of history with these ids, in the order of history."""
        return tuple(item for item in self.history if item.item_id in item_ids)

    # ---- what we say ---------------------------------------------------------------------------------------------

    async def send_message(self, message: UserInput) -> None:
        """Say something as the user (text, images, recorded speech) and have it answered.

        `message` is a str, a `UserMessage`, or a mapping such as ``{"type": "message", "role": "user", "content":
        [...]}``. The answer follows a response that is running; messages sent meanwhile are answered together. Raises
        `SettingsError` naming every part that cannot be sent.
        """
        item = message_item(message, item_id=self._parts.ids.new("item"))
        await self._asking.room()
        self._driver.do(self._driver.core.create_item, item, said=True)
        self._driver.do(self._driver.core.create_response, automatic=True)

    async def send_audio(self, audio: AudioData, *, commit: bool = False) -> None:
        """Send a piece of microphone audio: bytes in the input format, or an int16 array of PCM16 samples.

        `commit` ends the turn with it (for manual turns; then `create_response`). Waits while more than
        `input_buffer_s` of audio are queued. If cancelled, all of this piece is queued or nothing. Raises
        `AudioFormatError` for PCM16 of odd length and for arrays of another type or shape.
        """
        data = self._audio(audio)
        await self._asking.room(audio=True)
        self._queue_audio(data, commit=commit)

    def send_audio_nowait(self, audio: AudioData, *, commit: bool = False) -> bool:
        """As `send_audio`, without waiting: False says that the piece was dropped because too much is queued."""
        data = self._audio(audio)
        self._lifetime.check_open()
        if not self._driver.send_queue.has_room(audio=True):
            self._driver.send_queue.refuse_audio()
            return False
        self._queue_audio(data, commit=commit)
        return True

    async def commit_audio(self) -> None:
        """End the user's turn here (manual turns): what was sent becomes an item. It asks for no answer."""
        await self._asking.send(self._driver.core.commit_audio)

    async def clear_audio(self) -> None:
        """Throw away the microphone audio that is not committed yet."""
        await self._asking.send(self._driver.core.clear_audio)

    # ---- responses -----------------------------------------------------------------------------------------------

    async def create_response(self, **options: Unpack[ResponseOptions]) -> None:
        """Ask for a response, which comes as events. Options as in `respond`, which is the form that can wait for it.

        It is sent when no other response of the conversation is running; requests keep their order.
        """
        params, tools = await response_params(options, self._parts.context, self.current_agent)
        await self._asking.send(self._driver.core.create_response, params or None, tools=tools)

    async def interrupt(self) -> None:
        """Stop the agent now: its queued audio is dropped, the server stops and is told what was heard.

        It takes effect before this waits for anything, so cancelling it undoes nothing. With nothing to interrupt it
        does nothing.
        """
        await self._asking.now(self._driver.core.interrupt)

    @contextmanager
    def uninterruptible(self) -> Iterator[None]:
        """A scope in which the user's speech does not interrupt the agent: ``with session.uninterruptible():``.

        The server is told so, and again at the end; `update_settings` and handoffs inside keep it. Scopes nest, and may
        be in several tasks. What the user says inside is a turn like any, answered when the agent has ended; speech
        that still goes on at the end of the last scope is taken up then. The app's own `interrupt`, and a
        cancellation, interrupt as ever.
        """
        self._lifetime.check_open()
        self._driver.do(self._driver.core.begin_uninterruptible)
        try:
            yield
        finally:
            if self._lifetime.state == "open":
                self._driver.do(self._driver.core.end_uninterruptible)

    async def cancel_response(self, response_id: str | None = None) -> None:
        """Cancel one response and its audio: the one named, else the one that the conversation is in. As
        `interrupt`."""
        await self._asking.now(self._driver.core.cancel_response, response_id)

    # ---- approvals -----------------------------------------------------------------------------------------------

    @property
    def pending_approvals(self) -> list[ApprovalRequest]:
        """The calls that wait for `approve_tool_call` or `reject_tool_call` now, oldest first, in a list of your
        own."""
        return self._driver.core.pending_approvals

    async def approve_tool_call(self, call_id: str, *, always: bool = False) -> bool:
        """Let a call that waits for approval be made, with the tool and the agent that it came with.

        `always`: so are later calls of this tool in this session, without asking. It takes effect before this waits
        for anything, so cancelling it undoes nothing. False: no such call waits (any more), and nothing happens.
        """
        return await self._decide(call_id, approve=True, always=always)

    async def reject_tool_call(
        self, call_id: str, *, always: bool = False, rejection_message: str | None = None
    ) -> bool:
        """Answer a call that waits for approval with a refusal: the model reads `rejection_message`; None: what the
        ``tool_error_formatter`` of the run config says. Everything else as in `approve_tool_call`."""
        message = Reject(rejection_message).message
        return await self._decide(call_id, approve=False, always=always, message=message)

    # ---- items ---------------------------------------------------------------------------------------------------

    async def create_item(self, item: UserInput, *, previous_item_id: str | None = None) -> str:
        """Add an item to the conversation without asking for an answer, and wait for the server to take it; its id.

        A str or `UserMessage` is a message of the user; a mapping may be an item of any type. `previous_item_id` is
        the item it comes after (None: at the end, ``"root"``: first). If cancelled while it waits, the item may be
        there. Raises `ServerRefused`.
        """
        wire = sendable_item(item, item_id=self._parts.ids.new("item"))
        do, create_item = self._driver.do, self._driver.core.create_item
        await self._asking.request(
            lambda reply_id: do(create_item, wire, previous_item_id=previous_item_id, reply_id=reply_id)
        )
        return str(wire["id"])

    async def delete_item(self, item_id: str) -> None:
        """Take an item out of the conversation and wait for the server to do so. Raises `ServerRefused`."""
        do, delete_item = self._driver.do, self._driver.core.delete_item
        await self._asking.request(lambda reply_id: do(delete_item, item_id, reply_id=reply_id))

    async def truncate_item(self, item_id: str, *, content_index: int = 0, audio_end_ms: int) -> None:
        """Cut what the agent said at `audio_end_ms`, for the model's memory; wait for the server. Raises
        `ServerRefused`."""
        do, truncate_item = self._driver.do, self._driver.core.truncate_item
        await self._asking.request(
            lambda reply_id: do(truncate_item, item_id, content_index, audio_end_ms, reply_id=reply_id)
        )

    async def retrieve_item(self, item_id: str) -> RealtimeItem:
        """An item as the server has it, with its audio. Raises `ServerRefused`."""
        do, retrieve_item = self._driver.do, self._driver.core.retrieve_item
        item: RealtimeItem = await self._asking.request(lambda reply_id: do(retrieve_item, item_id, reply_id=reply_id))
        return item

    # ---- the session itself --------------------------------------------------------------------------------------

    async def update_settings(self, settings: SettingsInput) -> Mapping[str, Any]:
        """Change settings and wait for the server: the session object as it is then.

        What is not in `settings` stays. If cancelled while it waits, the change may be made. Raises `SettingsError`
        for what cannot be sent, `SettingsRefused` for what the server does not take.
        """
        for policy in (self._parts.run.barge_in, self._parts.attachments.barge_in):
            if policy is not None:
                check_transcription(self._parts.guardrails, policy, settings)
        await self._asking.room()
        return await self._parts.agents.update_settings(settings)

    async def update_agent(self, agent: RealtimeAgent[Any]) -> None:
        """Put another agent in charge and wait for the server; only what differs is sent.

        A response that is running stays the old agent's, and none is asked for. An agent with a voice of its own waits
        for a first answer that is being made; once the agent has been heard the voice stays, and a
        ``settings_mismatch`` event says so. If cancelled while it waits, the change may be made.

        Raises what `instructions` and `is_enabled` of the agent raise, `SettingsError` when it cannot be sent, and
        `SettingsRefused` when the server does not take it: then the old agent stays.
        """
        if not isinstance(agent, RealtimeAgent):
            raise TypeError(f"agent must be a RealtimeAgent, got {type(agent).__name__}")
        await self._asking.room()
        await self._parts.agents.update_agent(agent)

    async def send_raw(self, event: Mapping[str, Any]) -> None:
        """Send a client event as it is: ``{"type": ..., ...}``, or the SDK's ``{"type": ..., "other_data": {...}}``.

        A ``response.create`` takes its turn like any other. Raises `SettingsError` for an event without a type,
        TypeError for what has no JSON form.
        """
        await self._asking.send(self._driver.core.send_raw, sendable_event(event))

    # ---- inside --------------------------------------------------------------------------------------------------

    async def _decide(self, call_id: str, *, approve: bool, always: bool, message: str | None = None) -> bool:
        pending = any(request.call_id == call_id for request in self.pending_approvals)
        decide = self._driver.core.decide_approval
        await self._asking.now(decide, call_id, approve=approve, always=always, message=message)
        return pending

    def _audio(self, audio: AudioData) -> bytes:
        return audio_bytes(audio, self._driver.core.input_format)

    def _queue_audio(self, data: bytes, *, commit: bool) -> None:
        for piece in microphone_pieces(data):
            self._driver.send_queue.put(piece)
        if commit:
            self._driver.do(self._driver.core.commit_audio)
