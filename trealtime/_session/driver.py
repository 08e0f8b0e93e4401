"""The driver: it gives the core its inputs, and carries out what the core decides.

Theory of operation
1. `Driver.do` is the one way into the core: it reads Trio's clock, calls a method of the `Conversation`, and carries
   out the effects that this returns, whole and in order, in one synchronous step.
2. A part may have an input to give while effects are carried out: an endpoint that is purged reports what was heard, a
   subscription that is full sheds audio. Such an input waits until the list has been carried out, and is the next one.
   It never nests: the core and the parts never see each other half changed.
3. The driver decides nothing. Which part does the work of which effect stands in `Driver._carry_out`, and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Concatenate, ParamSpec

import attrs
import trio

from trealtime._core.conversation import Conversation
from trealtime._core.effects import (
    AskApproval,
    BeginAnew,
    CancelChecks,
    CancelTool,
    ChangePlayback,
    Dial,
    DropConnection,
    DropSuccessor,
    Effect,
    Emit,
    EndAtLimit,
    FollowResponse,
    GiveUp,
    MakeLate,
    OpenSuccessor,
    PurgeAudio,
    ResetPlayback,
    Send,
    SendAhead,
    SendAudio,
    Settle,
    StartCheck,
    StartTool,
    SwitchAgent,
    SwitchConnection,
    WithdrawApproval,
)
from trealtime._core.server_errors import is_expiry
from trealtime._flag import Flag
from trealtime._session.pending_reply import PendingReplies
from trealtime._session.send_queue import MicrophoneAudio, SendQueue
from trealtime._session.subscription import Subscription
from trealtime._value import Shown
from trealtime.audio.formats import PCM16_24K, AudioFormat
from trealtime.events import RealtimeAudio, RealtimeSessionEvent
from trealtime.protocol.codec import decode_server_event
from trealtime.protocol.server_events import ResponseOutputAudioDelta

if TYPE_CHECKING:
    from trealtime._recordings.recorder import Recorder
    from trealtime._session.agent_switch import Agents
    from trealtime._session.approval_handler import ApprovalRunner
    from trealtime._session.endpoint_output import EndpointOutput
    from trealtime._session.failures import Failures
    from trealtime._session.guardrail_runner import GuardrailRunner
    from trealtime._session.hooks import HookCalls
    from trealtime._session.lifetime import Lifetime
    from trealtime._session.playback_tracker import GuardedTracker
    from trealtime._session.tool_runner import ToolRunner

__all__ = ["Driver"]

P = ParamSpec("P")

_Input = Callable[[float], list[Effect]]


@attrs.define(eq=False, repr=False)
class Driver(Shown):
    """One conversation with everything that its effects touch. All tasks of a session share it.

    The assembly of the session sets the parts below before it gives the first input; `output` is there while an
    endpoint that plays is attached.
    """

    core: Conversation
    send_queue: SendQueue
    replies: PendingReplies
    agents: Agents = attrs.field(init=False)
    tools: ToolRunner = attrs.field(init=False)
    checks: GuardrailRunner = attrs.field(init=False)
    approvals: ApprovalRunner = attrs.field(init=False)
    hooks: HookCalls = attrs.field(init=False)
    lifetime: Lifetime = attrs.field(init=False)
    failures: Failures = attrs.field(init=False)
    tracker: GuardedTracker | None = attrs.field(default=None, init=False)
    output: EndpointOutput | None = attrs.field(default=None, init=False)
    recorder: Recorder | None = attrs.field(default=None, init=False)
    """The recording, if the session has one."""

    watchers: tuple[Callable[[RealtimeSessionEvent], None], ...] = attrs.field(default=(), init=False)
    """Called with every event after the subscriptions have it. They must not wait, and must not raise."""

    subscriptions: tuple[Subscription, ...] = attrs.field(default=(), init=False)
    """A tuple, so that one which closes while an event is delivered takes no other's place."""

    followers: dict[str, Subscription] = attrs.field(factory=dict, init=False)
    """Subscriptions that follow the response of one reply."""

    clock: Callable[[], float] = attrs.field(default=trio.current_time, init=False)
    """That of the run, once there is a connection: `trio.current_time` comes to it by two more calls."""

    expired: bool = attrs.field(default=False, init=False)
    """The server has said that the session's time is over."""

    _raw_wanted: bool = attrs.field(default=False, init=False)
    """Whether a subscription takes raw events: else the frames need not be kept."""

    _message_bytes: int = attrs.field(default=0, init=False)
    """The size of the message that the core is working on: the events that it causes hold parts of it."""

    _interrupted: bool = attrs.field(default=False, init=False)
    """Whether one of the messages of this go has interrupted the agent."""

    _carrying_out: bool = attrs.field(default=False, init=False)
    _waiting: list[_Input] = attrs.field(factory=list, init=False)
    """Inputs that came while effects were carried out."""

    _output_format: AudioFormat = attrs.field(default=PCM16_24K, init=False)
    _alarm: trio.CancelScope | None = attrs.field(default=None, init=False)
    _changed: trio.lowlevel.ParkingLot | None = attrs.field(default=None, init=False)
    """The tasks that wait for a change, once one does."""

    # ---- to the core ---------------------------------------------------------------------------------------------

    def receive(self, frames: Iterator[str | bytes]) -> bool:
        """Give the core messages of the server, in order. True: one of them has interrupted the agent, and the rest are
        left; let the app learn of it, and come back with them."""
        now = self.clock()
        self._interrupted = False
        core = self.core
        core.note_life(self.send_queue.audio_bytes)
        self.send_queue.others_ran()
        for frame in frames:
            event, data = decode_server_event(frame, with_data=self._raw_wanted)
            self._message_bytes = len(frame)
            # The hot path, for the benchmark `downstream`: an effect of its own would cost as much as its decoding.
            if type(event) is ResponseOutputAudioDelta and not self._carrying_out:
                audio = core.receive_audio(now, event)
                if audio is not None:
                    self._deliver(audio)
                    continue
            self.do(core.receive, event, data if self._raw_wanted else None)
            if self._interrupted:
                break
        self._message_bytes = 0
        if self._changed:
            self._changed.unpark_all()
        return self._interrupted

    def receive_ahead(self, frame: str | bytes) -> None:
        """Give the core a message of the second connection."""
        event, _ = decode_server_event(frame)
        self.do(self.core.receive_ahead, event)

    def do(self, method: Callable[Concatenate[float, P], list[Effect]], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call an input of the core with the time and these arguments, and carry out what follows from it.

        On return that has happened, and so has all that followed from it in turn, unless this was called while effects
        were carried out: then it is the next input.
        """
        if self._carrying_out:
            self._waiting.append(lambda now: method(now, *args, **kwargs))
            return
        self._carrying_out = True
        try:
            self._carry_out(method(self.clock(), *args, **kwargs))
            while self._waiting:
                self._carry_out(self._waiting.pop(0)(self.clock()))
        finally:
            self._carrying_out = False

    def _deliver(self, audio: RealtimeAudio) -> None:
        self._carrying_out = True
        try:
            for subscription in self.subscriptions:
                subscription.put(audio)
            for watch in self.watchers:
                watch(audio)
            while self._waiting:  # a subscription was full
                self._carry_out(self._waiting.pop(0)(self.clock()))
        finally:
            self._carrying_out = False

    def send_audio(self, audio: bytes) -> None:
        """Send a piece of the user's audio, in the input format, or queue it."""
        now = self.clock()
        if self.core.audio_sent(now, audio):
            self.send_queue.put_audio(audio, now)
        else:
            self.send_queue.hold_audio(len(audio))

    # ---- from the core -------------------------------------------------------------------------------------------

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Emit(event):
                    self.emit(event)
                case Send(event, urgent):
                    self.send_queue.put(event, urgent=urgent)
                case SendAudio(data):
                    self.send_queue.put(MicrophoneAudio(data))
                case PurgeAudio(response_id):
                    self._interrupted = True
                    if self.output is not None:
                        self.output.purge((response_id,))
                    for subscription in self.subscriptions:
                        subscription.purge(response_id)
                case FollowResponse(reply_id, response_id):
                    follower = self.followers.get(reply_id)
                    if follower is not None and follower.responses is not None:
                        follower.responses.append(response_id)
                case BeginAnew(reply_id):
                    follower = self.followers.get(reply_id)
                    if follower is not None and follower.responses is not None:
                        follower.responses.clear()
                    self.replies.begin_anew(reply_id)
                case Settle(reply_id):
                    follower = self.followers.pop(reply_id, None)
                    if follower is not None:
                        follower.end()
                    self.replies.settle(effect)
                case MakeLate(reply_id):
                    self.replies.make_late(reply_id)
                case StartTool(call):
                    if not self.agents.take(call):
                        self.tools.start(call)
                case CancelTool(call_id):
                    self.tools.cancel(call_id)
                case SwitchAgent(switch):
                    self.agents.switched(switch)
                    self.hooks.switched(switch)
                case StartCheck(check):
                    self.checks.start(check)
                case CancelChecks(subject):
                    self.checks.cancel(subject)
                case AskApproval(request):
                    self.approvals.start(request)
                case WithdrawApproval(call_id):
                    self.approvals.cancel(call_id)
                case ChangePlayback(change):
                    if self.output is not None:
                        self.output.change_playback(change, by="policy")
                case ResetPlayback():
                    if self.tracker is not None:
                        self.tracker.on_interrupted()
                case EndAtLimit(limit):
                    self.lifetime.start_tool(partial(self.lifetime.stop_at_limit, limit))
                case Dial():
                    self.lifetime.connections.dial_again(effect)
                case DropConnection(reason):
                    self.lifetime.connections.drop(reason)
                case OpenSuccessor():
                    self.lifetime.connections.open_successor(effect)
                case SendAhead(event):
                    self.lifetime.connections.send_ahead(event)
                case SwitchConnection():
                    self.lifetime.connections.switch()
                case DropSuccessor():
                    self.lifetime.connections.drop_successor()
                case GiveUp(attempts):
                    self.lifetime.give_up(attempts)
        self._follow_formats()
        self._set_alarm()
        if self._changed:
            self._changed.unpark_all()

    def emit(self, event: RealtimeSessionEvent) -> None:
        """Queue an event for all who listen."""
        if event.type == "error":
            if is_expiry(event.error):
                self.expired = True
            self.failures.note(event)
        for subscription in self.subscriptions:
            subscription.put(event, self._message_bytes)
        if self.hooks.listening:
            self.hooks.note(event)
        for watch in self.watchers:
            watch(event)

    def add_subscription(self, subscription: Subscription) -> None:
        """Deliver events to this one too, from now on."""
        self.subscriptions = (*self.subscriptions, subscription)
        self._see_who_wants_frames()

    def drop_subscription(self, subscription: Subscription) -> None:
        """Forget a subscription that its consumer has closed."""
        self.subscriptions = tuple(each for each in self.subscriptions if each is not subscription)
        self._see_who_wants_frames()
        for reply, follower in list(self.followers.items()):
            if follower is subscription:
                del self.followers[reply]
        if self._changed:
            self._changed.unpark_all()  # what it has not taken is not waited for any more

    def takes(self, response_id: str) -> bool:
        """Return whether a consumer takes the audio of this response."""
        return any(each.takes(response_id) for each in self.subscriptions)

    def _see_who_wants_frames(self) -> None:
        wanted = any(each.wants("raw_model_event") for each in self.subscriptions)
        self._raw_wanted = wanted and self.core.raw_events

    # ---- playback ------------------------------------------------------------------------------------------------

    def handed_out(self, event: RealtimeAudio) -> None:
        """Note that a consumer has taken this audio: from now on the user is assumed to hear it."""
        chunk = event.audio
        end_ms = chunk.start_ms + self.core.output_format.duration_ms(len(chunk.data))
        if self.core.hand_out(self.clock(), chunk.item_id, chunk.content_index, chunk.start_ms, end_ms):
            self._set_alarm()
        if self.recorder is not None and self.output is None and self.tracker is None:
            self.recorder.note_taken(chunk.item_id, chunk.content_index, chunk.start_ms, end_ms)
        if self._changed:
            self._changed.unpark_all()

    def shed(self, event: RealtimeAudio) -> None:
        """Note that a consumer's subscription has dropped this audio: it will not be heard."""
        chunk = event.audio
        end_ms = chunk.start_ms + self.core.output_format.duration_ms(len(chunk.data))
        self.do(self.core.shed, chunk.item_id, chunk.content_index, end_ms)

    # ---- waiting -------------------------------------------------------------------------------------------------

    def note_change(self) -> None:
        """Wake all who wait for a change."""
        if self._changed:
            self._changed.unpark_all()

    async def wait_for_change(self) -> None:
        """Wait until effects have been applied."""
        if self._changed is None:
            self._changed = trio.lowlevel.ParkingLot()
        await self._changed.park()

    async def wait_for_playback(self) -> None:
        """Wait until everything that the agent has said is heard, also what a consumer may still come for."""
        await self._wait_until_heard(self.core.playback_remaining)

    async def wait_for_farewell(self) -> None:
        """Wait until the audio before a handoff is heard, as far as it can be heard before it."""
        await self._wait_until_heard(partial(self.core.farewell_remaining, taken=self.takes))

    async def _wait_until_heard(self, remaining: Callable[[float], float]) -> None:
        while remaining_s := remaining(trio.current_time()):
            with trio.move_on_after(remaining_s):
                await self.wait_for_change()

    async def keep_deadlines(self, until: trio.Event | Flag) -> None:
        """Tick the core whenever its deadline has passed, until this is set."""
        while not until.is_set():
            deadline = self.core.next_deadline
            with trio.CancelScope(deadline=math.inf if deadline is None else deadline) as self._alarm:
                await until.wait()
            deadline = self.core.next_deadline
            if self._alarm.cancelled_caught and deadline is not None and deadline <= trio.current_time():
                self.do(self.core.tick)

    def _set_alarm(self) -> None:
        """Let the alarm ring in time. Most inputs put the deadline off, and to move a scope's takes as long as to read
        a frame (benchmark ``barge-in``): so then it rings too early, once, and is set anew."""
        deadline = self.core.next_deadline
        if deadline is not None and self._alarm is not None and deadline < self._alarm.deadline:
            self._alarm.deadline = deadline

    def _follow_formats(self) -> None:
        self.send_queue.audio_format = self.core.input_format
        output_format = self.core.output_format
        if output_format is not self._output_format:
            self._output_format = output_format
            if self.tracker is not None:
                self.tracker.set_audio_format(output_format)
            for subscription in self.subscriptions:
                subscription.use_format(output_format)
