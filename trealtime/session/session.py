"""The session: one realtime conversation, from ``async with session`` to its end."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, Literal

import trio

from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.context import ContextT, RunContext
from trealtime.agents.enabling import enabled
from trealtime.agents.tools import FunctionTool
from trealtime.audio.formats import AudioFormat
from trealtime.conversation.barge_in import BargeInPolicy
from trealtime.conversation.commands import (
    BeginUninterruptible,
    CancelResponse,
    ClearAudio,
    Command,
    CommitAudio,
    CreateItem,
    CreateResponse,
    DecideApproval,
    DeleteItem,
    EndUninterruptible,
    Interrupt,
    OpenSession,
    RetrieveItem,
    SendRaw,
    TruncateItem,
    UseTools,
)
from trealtime.conversation.conversation import Conversation
from trealtime.conversation.effects import ApprovalRequest, FunctionCall
from trealtime.conversation.events import EventInfo, LimitUse, RealtimeSessionEvent
from trealtime.conversation.handoffs import AgentSwitch
from trealtime.conversation.ids import IdSource
from trealtime.conversation.items import RealtimeItem
from trealtime.conversation.prices import Cost
from trealtime.conversation.usage import TranscriptionUsage, Usage
from trealtime.endpoints.endpoint import Endpoint
from trealtime.errors import ConnectFailed, SessionClosed, SettingsError, SettingsProblem
from trealtime.mcp.connections import Connections
from trealtime.protocol.user_input import UserInput, message_item
from trealtime.protocol.validation import NOT_SET
from trealtime.session import config
from trealtime.session.agent_settings import SettingsInput
from trealtime.session.approvals import ApprovalWorkers
from trealtime.session.attachment import Attachment
from trealtime.session.attachments import Attachments
from trealtime.session.audio_input import AudioData, audio_bytes
from trealtime.session.carrier import Carrier
from trealtime.session.config import RealtimeModelConfig, RealtimeRunConfig, barge_in_policy
from trealtime.session.endpoint_output import EVENTS
from trealtime.session.guardrail_workers import GuardrailWorkers, check_transcription, guardrail_policy
from trealtime.session.handoffs import Agents
from trealtime.session.hooks import HookCalls
from trealtime.session.lifetime import Lifetime
from trealtime.session.listening import Listening
from trealtime.session.mailbox import Feed, Overflow, check_event_types
from trealtime.session.mcp_servers import SessionMCPServers
from trealtime.session.model_shim import SessionModel
from trealtime.session.opening import connection_target, default_model_name, opening
from trealtime.session.outbox import MicrophoneAudio, Outbox
from trealtime.session.outcome import CloseOutcome
from trealtime.session.response import SessionResponse
from trealtime.session.response_params import Modality, check_sendable, response_params
from trealtime.session.statistics import SessionStatistics
from trealtime.session.tool_workers import ToolWorkers
from trealtime.session.turn import Turn, collect
from trealtime.session.waiters import Ticket, Tickets
from trealtime.transport.models import RealtimeModel

__all__ = ["RealtimeSession"]

MAX_PIECE: Final = 8 * 2**20
"""The longest audio sent in one event: its base64 stays below the 15 MiB that the server takes."""


class RealtimeSession(Generic[ContextT]):
    """One conversation of one agent with one user; made by `RealtimeRunner.run` or `RealtimeRunner.session`.

    Enter it once (``async with session:``) and iterate it. Inside the block every method may be called from any task
    of the same Trio run. Sending methods wait for room in the outbox, never for the network; a cancelled call has
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
        self._model = model
        self._run = config.run_config(run_config)
        self._config = config.model_config(model_config)
        self._context: RunContext[Any] = RunContext(context)
        self._info = EventInfo(self._context)
        self._ids = IdSource(rng) if rng is not None else IdSource()
        tracker = None if self._config.playback_tracker is NOT_SET else self._config.playback_tracker
        self._policy = guardrail_policy(self._run, agent)
        core = Conversation(
            agent=agent,
            info=self._info,
            ids=self._ids,
            position=tracker.position if tracker is not None else None,
            barge_in=self._run.barge_in,
            raw_events=self._run.raw_events,
            cancel_grace_s=self._run.cancel_grace_s,
            response_timeout_s=self._run.response_timeout_s,
            after_tool=self._run.after_tool,
            approval_timeout_s=self._run.approval_timeout_s,
            guardrails=self._policy,
            prices=self._run.prices,
            limits=self._run.limits,
        )
        outbox = Outbox(audio_bound_s=self._run.input_buffer_s, event_bound=self._run.outbox_events)
        self._carrier = Carrier(core, outbox, Tickets(lambda: self._ids.next("ticket")))
        self._lifetime = Lifetime(self._carrier, self._run.close_timeout_s)
        self._tools = ToolWorkers(self._carrier, self._lifetime, self._info, self._run)
        self._lifetime.on_wind_down = self._tools.wind_down
        servers = Connections(self._run.close_timeout_s / 2)
        self._servers = SessionMCPServers(self._carrier, self._lifetime, self._info, servers)
        self._lifetime.on_tools_ended = self._servers.close
        approvals = ApprovalWorkers(
            self._carrier, self._lifetime, self._info, self._run.approval_handler, threads=self._run.tool_concurrency
        )
        self._carrier.on_ask = approvals.start
        self._carrier.on_withdraw = approvals.cancel
        self._agents = Agents(self._carrier, self._lifetime, self._info, self._run, self._config, self._servers)
        self._servers.on_change = self._agents.renew_served
        checks = GuardrailWorkers(self._carrier, self._lifetime, self._info, self._run.guardrails_settings)
        self._carrier.on_check = checks.start
        self._carrier.on_cancel_checks = checks.cancel
        self._carrier.on_call = self._start_call
        self._carrier.on_switched = self._switched
        self._hooks = HookCalls(self._run.hooks, self._info, self._run.close_timeout_s / 2)
        self._hooked(agent)
        self._carrier.on_cancel_call = self._tools.cancel
        self._carrier.on_limit = self._end_at
        if tracker is not None:
            self._carrier.on_playback_reset = tracker.on_interrupted
            self._carrier.on_output_format = tracker.set_audio_format
        own = self._new_feed("the session's feed", unread_s=self._run.unread_buffer_s)
        self._attachments = Attachments(
            self._carrier,
            self._lifetime,
            lambda: self._new_feed("an endpoint", types=EVENTS, playback=False, tells_loss=False),
            close_timeout_s=self._run.close_timeout_s / 2,
            tracked=tracker is not None,
        )
        self._listening = Listening(own, lambda: self._new_feed("another loop over the session"))
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
        self._scope = self._open()
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

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        async with self._servers.open(), self._connect():
            yield

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[None]:
        begin = await opening(
            self.current_agent,
            self._context,
            self._run,
            self._config,
            model_name=default_model_name(self._model, self._config),
            served=await self._servers.tools_of(self.current_agent),
        )
        check_sendable(begin.payload, "settings")
        check_transcription(self._policy, self._run.barge_in, begin.own.settings)
        self._agents.begin(begin.own, begin.payload)
        self._carrier.command(UseTools(begin.own.offer.callable, begin.own.offer.handoff_names))
        ticket = self._carrier.tickets.open()

        async def become_ready() -> None:
            with trio.move_on_after(self._run.ready_timeout_s) as waiting:
                await self._answer(ticket)
                config.check_priced(self._run, self._carrier.core.model)
                self._hooks.opened(self.current_agent)
                self._lifetime.start_tool(self._hooks.run)
                self._servers.opened()
            if waiting.cancelled_caught:
                raise ConnectFailed(
                    "the server took the connection and did not make the session ready within "
                    f"{self._run.ready_timeout_s:g} s"
                )

        connection = self._model.connect(connection_target(self._config, begin.own.settings))
        async with self._lifetime.run(connection, OpenSession(begin.payload, ticket.id), become_ready):
            yield

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
        taken here counts as being played from then on. Raises `SlowConsumer` past the feed's bounds.
        """
        return self._listening.begin()

    def subscribe(
        self,
        *types: str,
        buffer_s: float | None = None,
        overflow: Overflow | None = None,
        playback: bool = True,
    ) -> Feed:
        """A feed of events of these types (all, when none is named) from now on: ``async with session.subscribe(...) as
        feed``. It is a `trio.abc.ReceiveChannel`, bounded on its own: `buffer_s` seconds of audio, `overflow` past it.

        `playback` False says that whoever reads it does not play it (a logger, a meter): audio taken from it does not
        count as heard. With ``"drop_oldest_audio"``, dropped audio leaves an ``audio_dropped`` event where the filter
        lets it in. Raises ValueError for an unknown type.
        """
        allowed = check_event_types(types)
        self._lifetime.check_open()
        return self._new_feed(
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
        feeds meanwhile counts for nothing. Microphone audio is collected for up to `coalesce_ms`.

        Leaving stops playback (what was not heard is interrupted) and closes the path; the session goes on. When the
        far side leaves, the path closes and the block goes on: `Attachment.wait_closed`. If cancelled, it is left in
        the same order. An exception of the endpoint cancels the block and comes out as `EndpointFailed`. A session has
        one endpoint that speaks and one that plays, which may be two: RuntimeError for more.

        `barge_in` says when speech interrupts while this is attached, in place of that of the run config; the server is
        told what differs. Raises `SettingsError` for what is no such policy.
        """
        policy = None if barge_in is None else barge_in_policy(barge_in)
        return self._attachments.attach(endpoint, coalesce_ms=coalesce_ms, barge_in=policy)

    @property
    def history(self) -> list[RealtimeItem]:
        """The conversation so far, in a list of your own."""
        return self._carrier.core.history()

    @property
    def current_agent(self) -> RealtimeAgent[Any]:
        """The agent that speaks now."""
        return self._carrier.core.agent

    @property
    def usage(self) -> Usage:
        """Tokens of all responses so far, with an entry for each; with `prices` their cost."""
        return self._carrier.core.usage

    @property
    def transcription_usage(self) -> TranscriptionUsage:
        """What transcribing the user has taken so far; no part of `usage`."""
        return self._carrier.core.transcription_usage

    @property
    def cost(self) -> Cost | None:
        """What responses and transcriptions have cost so far, by the `prices` of the run config; None without them."""
        return self._carrier.core.cost

    @property
    def model(self) -> SessionModel:
        """For programs written for the OpenAI Agents SDK: ``await session.model.send_event(...)``."""
        return SessionModel(self)

    @property
    def context(self) -> RunContext[Any]:
        """The run context."""
        return self._context

    @property
    def settings(self) -> Mapping[str, Any] | None:
        """The session object as the server last acknowledged it; None before it has."""
        return self._carrier.core.acknowledged

    @property
    def input_format(self) -> AudioFormat:
        """The format in which the server takes audio, as acknowledged."""
        return self._carrier.core.input_format

    @property
    def output_format(self) -> AudioFormat:
        """The format in which the server's audio comes, as acknowledged."""
        return self._carrier.core.output_format

    def statistics(self) -> SessionStatistics:
        """Numbers about this session; at any time."""
        carrier = self._carrier
        return SessionStatistics(
            conversation=carrier.core.counters(),
            outbox=carrier.outbox.statistics(),
            feeds=tuple(feed.statistics() for feed in carrier.feeds),
            guardrails=carrier.core.guardrail_counters(),
            wire=self._lifetime.wire_statistics(),
            attachments=self._attachments.statistics(),
            tools_active=self._tools.active + carrier.core.handing_over,
            approvals_pending=len(carrier.core.pending_approvals),
            questions_open=len(carrier.tickets),
        )

    async def wait_for_playback(self) -> None:
        """Wait until the user has heard everything that the agent has said, an answer in the making included.

        By what an endpoint or a playback tracker reports; else playback is taken to be in real time from the moment
        when the audio was taken from a feed, so somebody has to take it.
        """
        core = self._carrier.core
        while True:
            self._lifetime.check_open()
            remaining_s = core.playback_remaining(trio.current_time())
            if remaining_s == 0:
                await trio.lowlevel.checkpoint()
                return
            with trio.move_on_after(remaining_s):
                await self._carrier.wait_for_change()

    # ---- a turn --------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def respond(
        self,
        input: UserInput | None = None,
        *,
        instructions: str | None = None,
        output_modalities: Sequence[Modality] | None = None,
        metadata: Mapping[str, str] | None = None,
        tools: Sequence[FunctionTool | Mapping[str, Any]] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        max_output_tokens: int | Literal["inf"] | None = None,
        out_of_band: bool = False,
        input_items: Sequence[UserInput] | None = None,
    ) -> AsyncIterator[SessionResponse]:
        """Ask for a response that belongs to a scope: ``async with session.respond("...") as response``.

        Leaving before it has come to its end, by break, exception or cancellation, interrupts it: the server stops
        and is told what was heard. A response that has been made, and whose audio nobody began to take here, is left
        alone.

        `input` is said first, as in `send_message`. The settings are for this response only. `out_of_band` keeps
        input and answer out of the conversation: the model then sees only `input_items`, if given, and `input`.
        `input_items` replaces what the model sees of the conversation.
        """
        if tools is not None:
            tools = await enabled(tools, self._context, self.current_agent)
        params = response_params(
            instructions=instructions,
            output_modalities=output_modalities,
            metadata=metadata,
            tools=tools,
            tool_choice=tool_choice,
            max_output_tokens=max_output_tokens,
            out_of_band=out_of_band,
            context=input_items,
        )
        item = None if input is None else message_item(input, item_id=self._ids.new("item"))
        if item is not None and out_of_band:
            params["input"] = [*params.get("input", ()), item]
            item = None
        await self._room()
        ticket = self._carrier.tickets.open()
        feed = self._new_feed("a response", responses=[], playback=False)
        self._carrier.followers[ticket.id] = feed
        response = SessionResponse(self._carrier, self._lifetime, ticket, feed)
        if item is not None:
            self._carrier.command(CreateItem(item, said=True))
        self._carrier.command(CreateResponse(params or None, ticket=ticket.id, tools=tools or ()))
        try:
            yield response
        except BaseException:
            response.leave(failed=True)
            raise
        response.leave(failed=False)

    async def ask(
        self,
        input: UserInput | None = None,
        *,
        instructions: str | None = None,
        output_modalities: Sequence[Modality] | None = None,
        metadata: Mapping[str, str] | None = None,
        tools: Sequence[FunctionTool | Mapping[str, Any]] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        max_output_tokens: int | Literal["inf"] | None = None,
        out_of_band: bool = False,
        input_items: Sequence[UserInput] | None = None,
    ) -> Turn:
        """Say `input` and wait for the whole answer, tool calls included. Arguments as in `respond`.

        If cancelled, the answer is cancelled on the server too. Its audio counts as handed out when this returns.
        Raises `ServerRefused` when the server makes no response; a response that fails or is cut is a `Turn` that
        says so.
        """
        async with self.respond(
            input,
            instructions=instructions,
            output_modalities=output_modalities,
            metadata=metadata,
            tools=tools,
            tool_choice=tool_choice,
            max_output_tokens=max_output_tokens,
            out_of_band=out_of_band,
            input_items=input_items,
        ) as response:
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
        item = message_item(message, item_id=self._ids.new("item"))
        await self._room()
        self._carrier.command(CreateItem(item, said=True))
        self._carrier.command(CreateResponse(automatic=True))

    async def send_audio(self, audio: AudioData, *, commit: bool = False) -> None:
        """Send a piece of microphone audio: bytes in the input format, or an int16 array of PCM16 samples.

        `commit` ends the turn with it (for manual turns; then `create_response`). Waits while more than
        `input_buffer_s` of audio are queued. If cancelled, all of this piece is queued or nothing. Raises
        `AudioFormatError` for PCM16 of odd length and for arrays of another type or shape.
        """
        data = self._audio(audio)
        await self._room(audio=True)
        self._queue_audio(data, commit=commit)

    def send_audio_nowait(self, audio: AudioData, *, commit: bool = False) -> bool:
        """As `send_audio`, without waiting: False says that the piece was dropped because too much is queued."""
        data = self._audio(audio)
        self._lifetime.check_open()
        if not self._carrier.outbox.has_room(audio=True):
            self._carrier.outbox.refuse_audio()
            return False
        self._queue_audio(data, commit=commit)
        return True

    async def commit_audio(self) -> None:
        """End the user's turn here (manual turns): what was sent becomes an item. It asks for no answer."""
        await self._send(CommitAudio())

    async def clear_audio(self) -> None:
        """Throw away the microphone audio that is not committed yet."""
        await self._send(ClearAudio())

    # ---- responses -----------------------------------------------------------------------------------------------

    async def create_response(
        self,
        *,
        instructions: str | None = None,
        output_modalities: Sequence[Modality] | None = None,
        metadata: Mapping[str, str] | None = None,
        tools: Sequence[FunctionTool | Mapping[str, Any]] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        max_output_tokens: int | Literal["inf"] | None = None,
        out_of_band: bool = False,
        input_items: Sequence[UserInput] | None = None,
    ) -> None:
        """Ask for a response, which comes as events. Arguments as in `respond`, which is the form that can wait for it.

        It is sent when no other response of the conversation is running; requests keep their order.
        """
        if tools is not None:
            tools = await enabled(tools, self._context, self.current_agent)
        params = response_params(
            instructions=instructions,
            output_modalities=output_modalities,
            metadata=metadata,
            tools=tools,
            tool_choice=tool_choice,
            max_output_tokens=max_output_tokens,
            out_of_band=out_of_band,
            context=input_items,
        )
        await self._send(CreateResponse(params or None, tools=tools or ()))

    async def interrupt(self) -> None:
        """Stop the agent now: its queued audio is dropped, the server stops and is told what was heard.

        It takes effect before this waits for anything, so cancelling it undoes nothing. With nothing to interrupt it
        does nothing.
        """
        self._lifetime.check_open()
        self._carrier.command(Interrupt("app"))
        await trio.lowlevel.checkpoint()

    @contextmanager
    def uninterruptible(self) -> Iterator[None]:
        """A scope in which the user's speech does not interrupt the agent: ``with session.uninterruptible():``.

        The server is told so, and again at the end; `update_settings` and handoffs inside keep it. Scopes nest, and may
        be in several tasks. What the user says inside is a turn like any, answered when the agent has ended; speech
        that still goes on at the end of the last scope is taken up then. The app's own `interrupt`, and a
        cancellation, interrupt as ever.
        """
        self._lifetime.check_open()
        self._carrier.command(BeginUninterruptible())
        try:
            yield
        finally:
            if self._lifetime.state == "open":
                self._carrier.command(EndUninterruptible())

    async def cancel_response(self, response_id: str | None = None) -> None:
        """Cancel one response and its audio: the one named, else the one that the conversation is in. As
        `interrupt`."""
        self._lifetime.check_open()
        self._carrier.command(CancelResponse(response_id))
        await trio.lowlevel.checkpoint()

    # ---- approvals -----------------------------------------------------------------------------------------------

    @property
    def pending_approvals(self) -> list[ApprovalRequest]:
        """The calls that wait for `approve_tool_call` or `reject_tool_call` now, oldest first, in a list of your
        own."""
        return self._carrier.core.pending_approvals

    async def approve_tool_call(self, call_id: str, *, always: bool = False) -> bool:
        """Let a call that waits for approval be made, with the tool and the agent that it came with.

        `always`: so are later calls of this tool in this session, without asking. It takes effect before this waits
        for anything, so cancelling it undoes nothing. False: no such call waits (any more), and nothing happens.
        """
        return await self._decide(DecideApproval(call_id=call_id, approve=True, always=always))

    async def reject_tool_call(
        self, call_id: str, *, always: bool = False, rejection_message: str | None = None
    ) -> bool:
        """Answer a call that waits for approval with a refusal: the model reads `rejection_message`; None: what the
        ``tool_error_formatter`` of the run config says. Everything else as in `approve_tool_call`."""
        return await self._decide(
            DecideApproval(call_id=call_id, approve=False, always=always, message=rejection_message)
        )

    # ---- items ---------------------------------------------------------------------------------------------------

    async def create_item(self, item: UserInput, *, previous_item_id: str | None = None) -> str:
        """Add an item to the conversation without asking for an answer, and wait for the server to take it; its id.

        A str or `UserMessage` is a message of the user; a mapping may be an item of any type. `previous_item_id` is
        the item it comes after (None: at the end, ``"root"``: first). If cancelled while it waits, the item may be
        there. Raises `ServerRefused`.
        """
        item_id = self._ids.new("item")
        if isinstance(item, Mapping) and item.get("type", "message") != "message":
            wire = {"id": item_id, **item}
        else:
            wire = message_item(item, item_id=item_id)
        check_sendable(wire, "item")
        await self._request(lambda ticket: CreateItem(wire, previous_item_id, ticket))
        return str(wire["id"])

    async def delete_item(self, item_id: str) -> None:
        """Take an item out of the conversation and wait for the server to do so. Raises `ServerRefused`."""
        await self._request(lambda ticket: DeleteItem(item_id, ticket))

    async def truncate_item(self, item_id: str, *, content_index: int = 0, audio_end_ms: int) -> None:
        """Cut what the agent said at `audio_end_ms`, for the model's memory; wait for the server. Raises
        `ServerRefused`."""
        await self._request(lambda ticket: TruncateItem(item_id, content_index, audio_end_ms, ticket))

    async def retrieve_item(self, item_id: str) -> RealtimeItem:
        """An item as the server has it, with its audio. Raises `ServerRefused`."""
        item: RealtimeItem = await self._request(lambda ticket: RetrieveItem(item_id, ticket))
        return item

    # ---- the session itself --------------------------------------------------------------------------------------

    async def update_settings(self, settings: SettingsInput) -> Mapping[str, Any]:
        """Change settings and wait for the server: the session object as it is then.

        What is not in `settings` stays. If cancelled while it waits, the change may be made. Raises `SettingsError`
        for what cannot be sent, `SettingsRefused` for what the server does not take.
        """
        check_transcription(self._policy, self._run.barge_in, settings)
        await self._room()
        return await self._agents.update_settings(settings)

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
        await self._room()
        await self._agents.update_agent(agent)

    async def send_raw(self, event: Mapping[str, Any]) -> None:
        """Send a client event as it is: ``{"type": ..., ...}``, or the SDK's ``{"type": ..., "other_data": {...}}``.

        A ``response.create`` takes its turn like any other. Raises `SettingsError` for an event without a type,
        TypeError for what has no JSON form.
        """
        kind, other = event.get("type"), event.get("other_data")
        if not isinstance(kind, str) or not kind:
            raise SettingsError([SettingsProblem("type", kind, "the type of a client event, a string")], what="event")
        wire = {"type": kind, **other} if isinstance(other, Mapping) and len(event) == 2 else dict(event)
        check_sendable(wire, "event")
        await self._send(SendRaw(wire))

    # ---- inside --------------------------------------------------------------------------------------------------

    async def _decide(self, decision: DecideApproval) -> bool:
        self._lifetime.check_open()
        pending = any(request.call_id == decision.call_id for request in self.pending_approvals)
        self._carrier.command(decision)
        await trio.lowlevel.checkpoint()
        return pending

    def _start_call(self, call: FunctionCall) -> None:
        if not self._agents.take(call):
            self._tools.start(call)

    def _end_at(self, limit: LimitUse) -> None:
        self._lifetime.start_tool(partial(self._lifetime.stop_at_limit, limit, self._run.limits.grace_s))

    def _switched(self, switch: AgentSwitch) -> None:
        self._agents.switched(switch)
        self._hooked(switch.agent)
        self._hooks.switched(switch)

    def _hooked(self, agent: RealtimeAgent[Any]) -> None:
        """From the first agent with hooks on, somebody wants to know."""
        if self._run.hooks is not None or agent.hooks is not None:
            self._carrier.on_emit = self._hooks.note

    def _new_feed(
        self,
        name: str,
        *,
        types: frozenset[str] | None = None,
        buffer_s: float | None = None,
        overflow: Overflow | None = None,
        unread_s: float | None = None,
        responses: list[str] | None = None,
        playback: bool = True,
        tells_loss: bool = True,
    ) -> Feed:
        feed = Feed(
            name=name,
            types=types,
            buffer_s=self._run.feed_buffer_s if buffer_s is None else buffer_s,
            buffer_events=self._run.feed_buffer_events,
            overflow=self._run.feed_overflow if overflow is None else overflow,
            unread_s=unread_s,
            responses=responses,
            audio_format=self._carrier.core.output_format,
            on_taken=self._carrier.handed_out if playback else None,
            on_shed=self._carrier.shed if playback else None,
            on_end=self._lifetime.end_of_feed if tells_loss else None,
            on_close=self._carrier.drop_feed,
        )
        self._carrier.feeds.append(feed)
        return feed

    async def _room(self, *, audio: bool = False) -> None:
        """Wait for room in the outbox; on return nothing else runs until the caller waits again."""
        # Whoever cancelled the caller may have ended the session by the same stroke: then it is cancelled, not in
        # error.
        await trio.lowlevel.checkpoint_if_cancelled()
        self._lifetime.check_open()
        try:
            await self._carrier.outbox.wait_for_room(audio=audio)
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            pass  # the session is ending: what to raise is the lifetime's to say
        self._lifetime.check_open()

    async def _send(self, command: Command) -> None:
        await self._room()
        self._carrier.command(command)

    async def _request(self, command: Callable[[str], Command]) -> Any:
        """Send a command that the server answers, and wait for the answer."""
        await self._room()
        ticket = self._carrier.tickets.open()
        self._carrier.command(command(ticket.id))
        return await self._answer(ticket)

    async def _answer(self, ticket: Ticket) -> Any:
        try:
            return await ticket.wait()
        except Exception as error:  # noqa: BLE001  (whatever the core settled it with)
            raise self._lifetime.own(error) from None

    def _audio(self, audio: AudioData) -> bytes:
        return audio_bytes(audio, self._carrier.core.input_format)

    def _queue_audio(self, data: bytes, *, commit: bool) -> None:
        for start in range(0, len(data), MAX_PIECE):
            self._carrier.outbox.put(MicrophoneAudio(data[start : start + MAX_PIECE]))
        if commit:
            self._carrier.command(CommitAudio())
