"""The inputs of the conversation about its connection, and about what goes over it: the user's audio and raw events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pybase64

from trealtime._core import in_flight, item_events, reconnection, rollover
from trealtime._core.approvals import SavedDecision
from trealtime._core.asking import submit
from trealtime._core.effects import Effect
from trealtime._core.input_guardrails import turn_ending
from trealtime._core.reconnection import ReconnectPolicy
from trealtime._core.responses import resume_usage
from trealtime._core.settings import send_update
from trealtime._core.successor import Expiry
from trealtime.items import RealtimeItem
from trealtime.metrics import ConnectionCounters
from trealtime.usage import TranscriptionUsage, Usage

if TYPE_CHECKING:
    from trealtime._core.state import State
    from trealtime.protocol.server_events import AnyServerEvent

__all__ = ["ConnectionInputs"]


class ConnectionInputs:
    """A part of `Conversation`."""

    _state: State

    def _effects(self, now: float) -> list[Effect]:
        raise NotImplementedError

    # ---- the connection --------------------------------------------------------------------------------------------

    def recovers(self, code: int, closed_by: str) -> bool:
        """Whether the session goes on when its connection ends like this: then tell it with `connection_lost`, else
        with `disconnect`."""
        return self._state.limits.reached is None and self._state.link.recovers(code, closed_by)

    def connection_lost(self, now: float, *, code: int, reason: str) -> list[Effect]:
        """The connection has ended, and another one is to take its place; see `in_flight`."""
        in_flight.connection_lost(self._state, now, code=code, reason=reason)
        return self._effects(now)

    def retries(self, status: int, body: str) -> bool:
        """Whether the session goes on when the handshake of its first connection is refused like this: then tell it
        with `not_connected`."""
        return self._state.link.policy is not None and self._state.link.policy.retries_refusal(status, body)

    def not_connected(self, now: float, *, retry_after_s: float | None) -> list[Effect]:
        """The handshake of the first connection was refused, and another attempt is to follow."""
        in_flight.not_connected(self._state, now, retry_after_s=retry_after_s)
        return self._effects(now)

    def dial_failed(
        self,
        now: float,
        why: str,
        *,
        status: int | None = None,
        body: str = "",
        retry_after_s: float | None = None,
        final: bool = False,
    ) -> list[Effect]:
        """An attempt to replace the connection has failed: `status`, `body` and `retry_after_s` are those of the HTTP
        answer, if one came. `final`: another attempt would fail in the same way."""
        reconnection.dial_failed(
            self._state, now, why=why, status=status, body=body, retry_after_s=retry_after_s, final=final
        )
        return self._effects(now)

    def note_life(self, audio_waiting: int) -> None:
        """Something has come over the connection, while so many bytes of the user's audio wait to be sent. It has no
        effects."""
        self._state.audio.alive(audio_waiting)

    def opened(self, now: float, *, server_time_s: float | None) -> list[Effect]:
        """There is a connection; `server_time_s` is the server's clock now, in Unix time, as far as it shows that."""
        self._state.link.expect_end(Expiry(now, server_time_s))
        return self._effects(now)

    def connected(self, now: float, *, summary: str | None = None, server_time_s: float | None = None) -> list[Effect]:
        """There is another connection: tell it everything. `summary` stands for the items of `folding`."""
        self._state.link.expect_end(Expiry(now, server_time_s))
        in_flight.connected(self._state, now, summary=summary)
        return self._effects(now)

    def successor_connected(
        self, now: float, *, summary: str | None = None, server_time_s: float | None = None
    ) -> list[Effect]:
        """The second connection that `OpenSuccessor` asks for is there; see `rollover`."""
        rollover.successor_connected(self._state, now, server_time_s=server_time_s, summary=summary)
        return self._effects(now)

    def successor_failed(self, now: float, *, again: bool = True) -> list[Effect]:
        """It could not be opened, or has ended; `again`: another attempt may succeed."""
        rollover.successor_failed(self._state, now, again=again)
        return self._effects(now)

    def receive_ahead(self, now: float, event: AnyServerEvent) -> list[Effect]:
        """The second connection has sent `event`."""
        rollover.receive_ahead(self._state, event, now)
        return self._effects(now)

    def folding(self) -> list[RealtimeItem]:
        """The items to summarise for a new connection, oldest first; none where no summary is wanted."""
        return in_flight.folding(self._state)

    @property
    def reconnect_policy(self) -> ReconnectPolicy | None:
        """The policy by which a lost connection is replaced; None: it is not."""
        return self._state.link.policy

    @property
    def ready(self) -> bool:
        """Whether the server has acknowledged the first settings."""
        return self._state.opening is None and self._state.acknowledged is not None

    @property
    def away(self) -> bool:
        """Whether there is no connection to send on, and another one is dialled."""
        return self._state.link.away

    @property
    def recovering(self) -> bool:
        """Whether a loss is not made good yet."""
        return self._state.link.recovering

    @property
    def events_waiting(self) -> int:
        """Requests that wait for another connection."""
        return len(self._state.link.pending)

    def connection_counters(self) -> ConnectionCounters:
        """Numbers for `session.statistics()`."""
        return self._state.link.counters()

    # ---- a conversation from elsewhere ------------------------------------------------------------------------------

    def begin_with(
        self,
        now: float,
        items: Sequence[RealtimeItem],
        *,
        usage: Usage | None = None,
        transcription_usage: TranscriptionUsage | None = None,
        decisions: Sequence[SavedDecision] = (),
        keeps_voice: bool = False,
    ) -> list[Effect]:
        """Begin with this history, which the server is told right after the settings, and with what another process has
        counted and decided. `keeps_voice`: the agent has spoken there."""
        state = self._state
        state.history.seed(items, lambda: state.ids.new("item"))
        if usage is not None or transcription_usage is not None:
            resume_usage(state, usage or Usage(), transcription_usage or TranscriptionUsage())
        state.approvals.resume(decisions)
        state.spoken = keeps_voice
        return self._effects(now)

    def replace_history(self, now: float, items: Sequence[RealtimeItem], *, reply_id: str) -> list[Effect]:
        """Let the conversation consist of these items; settled when the server has taken the last change."""
        in_flight.replace_history(self._state, items, reply_id=reply_id)
        return self._effects(now)

    def decisions(self) -> list[SavedDecision]:
        """The decisions about approvals that hold for always, for another process."""
        return self._state.approvals.decisions()

    # ---- input audio -----------------------------------------------------------------------------------------------

    def audio_sent(self, now: float, audio: bytes = b"") -> bool:
        """The app has sent this audio of the user. It has no effects; return whether there is a connection for it. If
        not, it is kept here."""
        # Hot: a call for each 20 ms of a microphone.
        state = self._state
        turns, away = state.turns, state.link.status == "away"
        state.audio.add(audio)
        if not away:
            turns.input_clock.add(state.input_format.duration_ms(len(audio)), now)
        after_clear = turns.audio_sent(state.response_queue, now=now, timeout_s=state.response_timeout_s)
        if after_clear and state.acknowledged is not None and not state.turn_detection:
            turns.audio_sent_after_clear(
                state.response_queue, now=now, agent=state.agent.name, timeout_s=state.response_timeout_s
            )
        return not away

    def commit_audio(self, now: float, event: Mapping[str, Any] | None = None) -> list[Effect]:
        """Make an item of the input audio buffer, and ask for no response; `event` is sent for it, if it is given."""
        state = self._state
        event_id = state.send(event or {"type": "input_audio_buffer.commit"})
        state.audio.commit(event_id)
        turn = state.turns.commit_sent(event_id, state.response_queue, now=now, agent=state.agent.name)
        turn_ending(state, turn, now)
        return self._effects(now)

    def user_left(self, now: float) -> list[Effect]:
        """The endpoint that brought the user's voice has left. Where that was in mid-speech, the server's voice
        detection hears no end of it: end the turn here, so that the words are in the conversation, apart from those of
        the next user. It gets no answer, because there is nobody to hear one."""
        state = self._state
        speech = state.turns.speech
        if speech is not None and speech.commit_id is None and state.turn_detection and not state.link.away:
            speech.leave()
            event_id = state.send({"type": "input_audio_buffer.commit"}, own=True)
            state.audio.commit(event_id)
            turn = state.turns.commit_sent(event_id, state.response_queue, now=now, agent=state.agent.name)
            turn_ending(state, turn, now)
        return self._effects(now)

    def clear_audio(self, now: float, event: Mapping[str, Any] | None = None) -> list[Effect]:
        """Throw the input audio buffer away; `event` is sent for it, if it is given."""
        self._state.audio.clear()
        due_at = now + self._state.request_timeout_s
        self._state.turns.clear_by_app(self._state.response_queue, due_at=due_at)
        self._state.send(event or {"type": "input_audio_buffer.clear"})
        return self._effects(now)

    def send_raw(self, now: float, event: Mapping[str, Any]) -> list[Effect]:
        """Send a client event as it is; an ``event_id`` is added where it has none. The conversation has to know of a
        ``response.create``, which takes its turn in the response queue, of a ``session.update``, of an item that
        answers a call, and of the user's audio, its commits and clears."""
        state, kind = self._state, event.get("type")
        given = event.get("event_id")
        event_id = given if isinstance(given, str) and given else None
        match kind:
            case "response.create":
                params = event.get("response")
                submit(state, params=params if isinstance(params, Mapping) else None, event_id=event_id)
            case "session.update" if isinstance(event.get("session"), Mapping):
                send_update(state, event["session"], event_id=event_id)
            case "input_audio_buffer.commit":
                return self.commit_audio(now, event)
            case "input_audio_buffer.clear":
                return self.clear_audio(now, event)
            case "input_audio_buffer.append":
                if self.audio_sent(now, _audio(event.get("audio"))):
                    state.send(event)
            case _:
                state.send(event)
                if kind == "conversation.item.create" and isinstance(event.get("item"), Mapping):
                    item_events.answered_by_app(state, event["item"])
        return self._effects(now)

    def begin_user_speaking(self, now: float) -> list[Effect]:
        """The app says that the user speaks: nothing is said by itself, until `end_user_speaking` has been called as
        often as this."""
        self._state.turns.begin_by_app(self._state.response_queue)
        return self._effects(now)

    def end_user_speaking(self, now: float) -> list[Effect]:
        """The app says that the user has spoken."""
        self._state.turns.end_by_app(self._state.response_queue, now=now)
        return self._effects(now)


def _audio(text: object) -> bytes:
    """The audio of an append; none where the server will refuse it."""
    try:
        return pybase64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError:
        return b""
