"""The driver: brings events and commands to the core, and its effects to where they belong.

It decides nothing, and nothing in it waits: between the question to the core and the last of its effects no other task
runs, so state, purge and queue change together without a lock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import attrs
import trio

from trealtime._core.commands import Command, Shed
from trealtime._core.conversation import Conversation
from trealtime._core.effects import ApprovalRequest, Effects, FunctionCall, GuardrailCheck
from trealtime._core.handoffs import AgentSwitch
from trealtime._core.playback import PlaybackChange
from trealtime._session.pending_reply import PendingReplies
from trealtime._session.send_queue import SendQueue
from trealtime._session.subscription import Subscription
from trealtime.audio.formats import PCM16_24K, AudioFormat
from trealtime.events import LimitUse, RealtimeAudio, RealtimeSessionEvent
from trealtime.protocol.codec import decode_server_event

__all__ = ["Driver"]


def _no_call(call: FunctionCall) -> None:
    raise AssertionError(f"{call.name} was called before the tool workers were there")


def _no_check(check: GuardrailCheck) -> None:
    raise AssertionError("a check was due before the guardrail workers were there")


@attrs.define(eq=False)
class Driver:
    """One conversation with everything that its effects touch. All tasks of a session share it."""

    core: Conversation
    send_queue: SendQueue
    replies: PendingReplies
    subscriptions: list[Subscription] = attrs.field(factory=list, init=False)
    followers: dict[str, Subscription] = attrs.field(factory=dict, init=False)
    """Subscriptions that follow the response of one reply."""

    on_call: Callable[[FunctionCall], None] = attrs.field(default=_no_call, init=False)
    on_switched: Callable[[AgentSwitch], None] = attrs.field(default=lambda _: None, init=False)
    on_emit: Callable[[RealtimeSessionEvent], None] | None = attrs.field(default=None, init=False)
    on_cancel_call: Callable[[str], None] = attrs.field(default=lambda _: None, init=False)
    on_check: Callable[[GuardrailCheck], None] = attrs.field(default=_no_check, init=False)
    on_cancel_checks: Callable[[str], None] = attrs.field(default=lambda _: None, init=False)
    on_limit: Callable[[LimitUse], None] = attrs.field(default=lambda _: None, init=False)
    on_ask: Callable[[ApprovalRequest], None] = attrs.field(default=lambda _: None, init=False)
    on_withdraw: Callable[[str], None] = attrs.field(default=lambda _: None, init=False)
    on_playback: Callable[[PlaybackChange], None] = attrs.field(default=lambda _: None, init=False)
    on_purge: Callable[[Sequence[str]], None] = attrs.field(default=lambda _: None, init=False)
    """Told first of responses whose audio must not be heard any more: the attached endpoint that plays."""

    on_playback_reset: Callable[[], None] = attrs.field(default=lambda: None, init=False)
    on_output_format: Callable[[AudioFormat], None] = attrs.field(default=lambda _: None, init=False)
    expired: bool = attrs.field(default=False, init=False)
    """The server has said that the session's time is over."""

    _output_format: AudioFormat = attrs.field(default=PCM16_24K, init=False)
    _alarm: trio.CancelScope | None = attrs.field(default=None, init=False)
    _changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    # ---- to the core ---------------------------------------------------------------------------------------------

    def receive(self, frame: str | bytes) -> None:
        """A message came from the server."""
        event, data = decode_server_event(frame)
        self.apply(self.core.receive(event, trio.current_time(), data))

    def command(self, command: Command) -> None:
        """The app, an endpoint or a tool asks for something."""
        self.apply(self.core.command(command, trio.current_time()))

    def tick(self) -> None:
        """A deadline of the core has passed."""
        self.apply(self.core.tick(trio.current_time()))

    # ---- from the core -------------------------------------------------------------------------------------------

    def apply(self, effects: Effects) -> None:
        """Carry out effects, in the order that `Effects` documents."""
        if effects.purge:
            self.on_purge(effects.purge)
        for response_id in effects.purge:
            for subscription in self.subscriptions:
                subscription.purge(response_id)
        if effects.playback is not None:
            self.on_playback(effects.playback)
        if effects.playback_reset:
            self.on_playback_reset()
        # A response's first event comes with the news whose response it is: tell its subscription before it is filtered out.
        for reply, response_id in effects.started:
            follower = self.followers.get(reply)
            if follower is not None and follower.responses is not None:
                follower.responses.append(response_id)
        for switch in effects.switched:
            self.on_switched(switch)
        for event in effects.emit:
            self.emit(event)
        for outgoing in effects.send:
            self.send_queue.put(outgoing.event, urgent=outgoing.urgent)
        for answer in effects.settled:
            follower = self.followers.pop(answer.reply_id, None)
            if follower is not None:
                follower.end()
            self.replies.settle(answer)
        for call in effects.calls:
            self.on_call(call)
        for call_id in effects.cancel_calls:
            self.on_cancel_call(call_id)
        for subject in effects.cancel_checks:
            self.on_cancel_checks(subject)
        for check in effects.checks:
            self.on_check(check)
        for call_id in effects.withdrawn:
            self.on_withdraw(call_id)
        for request in effects.asks:
            self.on_ask(request)
        if effects.limit is not None:
            self.on_limit(effects.limit)
        self._follow_formats()
        self._set_alarm()
        if self._changed:
            self._changed.unpark_all()

    def emit(self, event: RealtimeSessionEvent) -> None:
        """Queue an event for all who listen."""
        if event.type == "error" and getattr(event.error, "code", None) == "session_expired":
            self.expired = True
        for subscription in self.subscriptions:
            subscription.put(event)
        if self.on_emit is not None:
            self.on_emit(event)

    def drop_subscription(self, subscription: Subscription) -> None:
        """A consumer has closed its subscription."""
        # A new list: this may happen while `emit` goes over the old one.
        self.subscriptions = [each for each in self.subscriptions if each is not subscription]
        for reply, follower in list(self.followers.items()):
            if follower is subscription:
                del self.followers[reply]

    # ---- playback ------------------------------------------------------------------------------------------------

    def handed_out(self, event: RealtimeAudio) -> None:
        """A consumer has taken this audio: from now on the user is assumed to hear it."""
        chunk = event.audio
        end_ms = chunk.start_ms + self.core.output_format.duration_ms(len(chunk.data))
        self.core.hand_out(chunk.item_id, chunk.content_index, chunk.start_ms, end_ms, trio.current_time())
        if self._changed:
            self._changed.unpark_all()

    def shed(self, event: RealtimeAudio) -> None:
        """A consumer's subscription has dropped this audio: nobody will hear it."""
        chunk = event.audio
        end_ms = chunk.start_ms + self.core.output_format.duration_ms(len(chunk.data))
        self.command(Shed(chunk.item_id, chunk.content_index, end_ms))

    # ---- waiting -------------------------------------------------------------------------------------------------

    async def wait_for_change(self) -> None:
        """Wait until effects have been applied."""
        await self._changed.park()

    async def wait_for_playback(self) -> None:
        """Wait until everything that the agent has said is heard, by what the core knows of playback."""
        await self._wait_until_heard(self.core.playback_remaining)

    async def wait_for_farewell(self) -> None:
        """Wait until what comes before a handoff is heard, as far as it can be heard before it."""
        await self._wait_until_heard(self.core.farewell_remaining)

    async def _wait_until_heard(self, remaining: Callable[[float], float]) -> None:
        while remaining_s := remaining(trio.current_time()):
            with trio.move_on_after(remaining_s):
                await self.wait_for_change()

    async def keep_deadlines(self) -> None:
        """Tick the core whenever its deadline has passed; runs until cancelled."""
        while True:
            with trio.CancelScope() as self._alarm:
                self._set_alarm()
                await trio.sleep_forever()
            self.tick()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            deadline = self.core.next_deadline
            at = math.inf if deadline is None else deadline
            if self._alarm.deadline != at:
                self._alarm.deadline = at

    def _follow_formats(self) -> None:
        self.send_queue.audio_format = self.core.input_format
        output_format = self.core.output_format
        if output_format is not self._output_format:
            self._output_format = output_format
            self.on_output_format(output_format)
            for subscription in self.subscriptions:
                subscription.use_format(output_format)
