"""Turn taking: the speech that the server hears, and the requests that wait while the user speaks.

Theory of operation
1. It is the user's turn from ``speech_started`` until the speech is committed, or the input buffer is cleared, or voice
   detection is switched off. Where the server answers turns by itself, its answer comes next, until it begins.
2. Meanwhile automatic requests (for the answer to a message or to the outputs of tools) stay in the response queue.
   Requests that the app makes by hand go: the app knows why it makes them.
3. A response that the server makes by itself has seen every item that it had confirmed before. It answers the automatic
   requests that wait to have those items answered: the user gets one answer, and the callers get that one. So it does
   with an automatic request that met it on its way (`responses`).
4. The server makes no response while another runs. A turn that is committed meanwhile, because speech does not
   interrupt, is asked for by us when that response is over, unless the server answers it by itself after all. Silence
   that the server commits (``idle_timeout_ms``) it answers by itself, also where the settings say that it answers no
   turn. Where a response that we have cancelled was not over at the commit, the server may have read the commit before
   the cancel: if it begins no answer within `PATIENCE_S`, we ask for one.
5. Each turn has one record (`turn_records`), which says what is known of it; whose turn it is now is known here.
6. The app says that the user speaks where the server cannot hear it (`begin_by_app`), or shows it: under manual turns,
   audio that it sends after it has cleared the buffer is a turn until its commit is confirmed.
7. A response of the server's own that begins when no turn is known that it can answer, answers one of which word is
   late. Word that comes after it is of that turn, where the server had the end of the speech before the response began,
   or shows the item before those of the response, or had told of the speech before, or tells of nothing but the item:
   it is answered, nothing is asked for, and its beginning interrupts nothing. Else the user has spoken since.
8. The server has made an item of a turn when it says so (``committed``), and also when it shows that item or the words
   in it, or begins an answer of its own to speech whose end it has told: word of the commit may be late, or lost with
   the connection. An item with the user's audio that nobody of ours has made or asked for is that of the oldest turn
   that the app has ended, or, where voice detection is on, of one of which no other word came.
9. Nothing waits for ever. A commit follows the end of speech at once, and so does the server's answer a commit: after
   `PATIENCE_S` without it none will come. Speech whose end the server never reports (a microphone that went away) makes
   the queue wait for as long as the server may take to begin a response.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import attrs

from trealtime._core.asking import submit
from trealtime._core.ids import Recent
from trealtime._core.input_clock import InputClock
from trealtime._core.input_guardrails import turn_committed, turn_transcribed
from trealtime._core.interruption import (
    end_missed,
    margins,
    speech_began,
    speech_ended,
    speech_missed,
    speech_thrown_away,
    words_known,
)
from trealtime._core.listening import answer_began, turn_waits
from trealtime._core.server_errors import read_error
from trealtime._core.settings import turns_are_ours
from trealtime._core.turn_records import PATIENCE_S, TurnRecord, TurnRecords, WhyNot
from trealtime._core.usage import parse_transcription_usage
from trealtime._value import Shown
from trealtime.events import (
    RealtimeDtmf,
    RealtimeError,
    RealtimeInputAudioTimeoutTriggered,
    RealtimeSpeechStarted,
    RealtimeSpeechStopped,
    RealtimeTranscriptDelta,
)
from trealtime.metrics import TurnSource

if TYPE_CHECKING:
    from trealtime._core.response import Response
    from trealtime._core.response_queue import ResponseQueue
    from trealtime._core.state import State
    from trealtime.protocol import server_events as wire

__all__ = [
    "PATIENCE_S",
    "SentItems",
    "Turns",
    "ask_for_lost_answers",
    "answered_by_server",
    "audio_cleared",
    "audio_committed",
    "expire_clear",
    "item_shown",
    "key_pressed",
    "silence_timed_out",
    "speech_started",
    "speech_stopped",
    "take_shown_turns",
    "transcription_completed",
    "transcription_delta",
    "transcription_failed",
]


@attrs.define(eq=False, repr=False)
class SentItems(Shown):
    """The items that we have sent, numbered. The server takes them in order, so one that it has confirmed says that it
    has seen those before."""

    sent: int = 0
    """The number of the last."""

    confirmed: int = 0
    """The number of the last that the server has announced."""

    _open: Recent[str, int] = attrs.field(factory=partial(Recent, 256), init=False)

    def send(self, item_id: str) -> None:
        """Number an item that leaves."""
        self.sent += 1
        self._open[item_id] = self.sent

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._open

    def confirm(self, item_id: str) -> bool:
        """Note that the server has announced an item; return whether it is one of these that it had not announced."""
        number = self._open.pop(item_id, 0)
        self.confirmed = max(self.confirmed, number)
        return number > 0


@attrs.define(eq=False, repr=False)
class Turns(Shown):
    """The state of turn taking: whose turn it is. The facts about each turn are in its record (`turn_records`)."""

    records: TurnRecords = attrs.field(factory=TurnRecords, init=False)
    """The turns that are not over."""

    speech: TurnRecord | None = attrs.field(default=None, init=False)
    """The turn that the user speaks now, as far as the server's voice detection knows."""

    input_clock: InputClock = attrs.field(factory=InputClock, init=False)
    audio_at: float | None = attrs.field(default=None, init=False)
    """The time at which the app last sent audio; None: it sends none, as on a phone call that the service carries."""

    _scopes: int = attrs.field(default=0, init=False)
    """The number of open `begin_by_app` calls."""

    _cleared: bool = attrs.field(default=False, init=False)
    """The app has cleared the buffer: the audio that it sends next begins a turn."""

    _clear: tuple[TurnRecord | None, float] = attrs.field(default=(None, 0.0), init=False)
    """The turn that the user spoke when the app last cleared the buffer, and the time at which the server should have
    answered."""

    _cleared_ms: float | None = attrs.field(default=None, init=False)
    """The place of that clear in the input audio, until the server has answered, or should have."""

    _sending: TurnRecord | None = attrs.field(default=None, init=False)
    """The turn of which the app sends the audio since then."""

    _committed: Recent[str, None] = attrs.field(factory=Recent, init=False)
    """The items of turns that the server has committed."""

    def begin(self, speech: TurnRecord, queue: ResponseQueue, *, until: float) -> None:
        """The user speaks, at the longest until then."""
        self.speech = speech
        queue.keep_quiet(until)
        _, due_at = self._clear
        if speech.start_ms and self._cleared_ms is not None and speech.start_ms < self._cleared_ms:
            self._clear = (speech, due_at)  # the server told of it before it read the clear

    # ---- what the app says -----------------------------------------------------------------------------------------

    def begin_by_app(self, queue: ResponseQueue) -> None:
        """The app says that the user speaks, until `end_by_app` has been called as often as this."""
        self._scopes += 1
        queue.wait_for_user(math.inf)

    def end_by_app(self, queue: ResponseQueue, *, now: float) -> None:
        """The app says that the user has spoken. A commit that is on its way comes before any answer."""
        self._scopes -= 1
        if not self._scopes:
            queue.wait_for_user(now + PATIENCE_S if self.records.ended_by_app else None)

    def clear_by_app(self, queue: ResponseQueue, *, due_at: float) -> None:
        """The app throws away what it has sent; the server should say so by then."""
        self._cleared = True
        self._clear, self._cleared_ms = (self.speech, due_at), self.input_clock.sent_ms
        if self._sending is not None:
            if self._sending.commit_id is None:
                self._sending.end("thrown_away")
            self._sending = None
        if not self._scopes:
            queue.wait_for_user(None)

    def audio_sent(self, queue: ResponseQueue, *, now: float, timeout_s: float) -> bool:
        """The app has sent audio of the user. The user's turn lasts for `PATIENCE_S` after the last audio, and no
        longer than `timeout_s`. Return whether the audio begins or goes on with a turn, where the app ends turns by
        itself: it has cleared the buffer."""
        self.audio_at = now
        if self.speech is not None:
            queue.keep_quiet(min(self.speech.began_at + timeout_s, now + PATIENCE_S))
        return self._cleared and not self._scopes

    def audio_sent_after_clear(self, queue: ResponseQueue, *, now: float, agent: str, timeout_s: float) -> None:
        """It is audio of such a turn."""
        if self._sending is None:
            self._sending = self.records.open("speech", agent, now)
            self._sending.begin_speech(0, now, announced=False)
        queue.wait_for_user(min(self._sending.began_at + timeout_s, now + PATIENCE_S))

    # ---- what the server hears -------------------------------------------------------------------------------------

    def stop(self, speech: TurnRecord, queue: ResponseQueue, *, now: float, spoke_until: float) -> None:
        """The user has fallen silent: the commit is next."""
        speech.end_speech(now, spoke_until)
        self.speech = None
        queue.keep_quiet(now + PATIENCE_S)

    def commit_sent(self, event_id: str, queue: ResponseQueue, *, now: float, agent: str) -> TurnRecord:
        """The app has ended a turn: the server's answer to this event is next."""
        record = next(
            (each for each in (self.speech, self._sending) if each is not None and each.commit_id is None), None
        )
        if record is None:
            record = self.records.open("speech", agent, now)
        record.commit_sent(event_id, queue.take_place(), now)
        return record

    def forget_commit(self, event_id: str, why_not: WhyNot) -> None:
        """The server has refused this commit, or will not answer it any more: where nothing else shows that there is a
        turn, there is none."""
        for record in self.records.ended_by_app:
            if record.commit_id == event_id:
                record.forget_commit()
                if not record.item_ids and record.unchecked_since is None:
                    record.end(why_not)

    @property
    def cleared_at(self) -> float | None:
        """The time at which the speech under way counts as thrown away, because the app has cleared the buffer, if the
        server does not say so before."""
        return self._clear[1] if self.speech is not None and self._clear[0] is self.speech else None

    @property
    def ended_at(self) -> int | None:
        """The place of the oldest commit that is on its way: the app has ended the turn that the server hears now.

        Events come in the order in which the server has read its input, so speech that it reports before the answer to
        a commit was sent before that commit, and requests that were sent after it are not to be interrupted by it.
        """
        ended = self.records.ended_by_app
        return ended[0].place if ended else None

    def commit(self, item_id: str, queue: ResponseQueue, *, now: float, agent: str) -> tuple[TurnRecord, bool]:
        """The server has made an item of a turn: return its record, and whether the server's voice detection had
        announced it."""
        self._committed[item_id] = None
        self.speech, self._cleared, self._sending = None, False, None
        if not self._scopes:
            queue.wait_for_user(None)
        record, ended = self.records.of_item(item_id), self.records.ended_by_app
        spoken = record is not None and record.announced and record.source != "idle"
        silent = record is not None and record.source == "idle"
        if ended and not silent:
            if record is None:
                record = ended[0]
                if record.item_ids:  # the server has made another item of it, so the speech that it hears goes on
                    record.leave_speech_to(self.records.open("speech", agent, now))
            record.take_in(ended[0])
        if record is None:
            record = self.records.unnamed or self.records.open("speech", agent, now)
        if item_id not in record.item_ids:
            record.item_ids.append(item_id)
        record.commit(now)
        return record, spoken

    def clear_answered(self) -> None:
        """The server has thrown the audio away, or should have: what it hears now is other audio."""
        self._cleared_ms = None

    def has_committed(self, item_id: str) -> bool:
        """Whether the server has made this item of a turn: it may say so twice."""
        return item_id in self._committed

    def lose(self, queue: ResponseQueue) -> list[TurnRecord]:
        """The connection is lost: another server will hear the speech that goes on, and commits go again. Return the
        turns that the server has promised to answer by itself and has not: they are ours to ask for."""
        self.free(queue)
        self.clear_answered()
        for record in self.records:
            if record.announced and record.committed_at is None and record.commit_id is None:
                record.believe()
                record.end("thrown_away")
        self._committed.clear()  # the next server may name its items in the same way
        ours = [each for each in self.records.waiting if each.owed_by == "server"]
        for record in self.records:
            if record.promised:
                record.owe("us")
        return ours

    def free(self, queue: ResponseQueue) -> None:
        """Forget the speech: it was thrown away, or the server no longer listens for it."""
        self.speech = None
        queue.speak()

    def speak(self, queue: ResponseQueue) -> None:
        """The commit or answer has come: let the queue go on, unless the user speaks."""
        if self.speech is None:
            queue.speak()


# ---- what the server hears ------------------------------------------------------------------------------------------


def speech_started(state: State, event: wire.InputAudioBufferSpeechStarted, now: float) -> None:
    """The user speaks: barge-in. The times in this event are of the input audio and say nothing about playback."""
    told = RealtimeSpeechStarted(item_id=event.item_id, audio_start_ms=event.audio_start_ms, info=state.info)
    if state.turns.has_committed(event.item_id):  # word of it is late
        state.emit(told)
        return
    speech = _record(state, event.item_id, "speech", now)
    # Where a commit of the app is on its way, the app has ended this turn by itself.
    announced = not state.turns.records.ended_by_app
    speech.begin_speech(event.audio_start_ms, _onset(state, event.audio_start_ms, now), announced=announced)
    began_at = _said_at(state, event.audio_start_ms) if event.audio_start_ms else None  # 0: perhaps it does not say
    speech.had(begin=began_at, end=speech.had_until)
    state.emit(told)
    longest_s = state.response_timeout_s if state.turns.audio_at is None else PATIENCE_S
    state.turns.begin(speech, state.response_queue, until=now + longest_s)
    state.audio.speech_started(event.item_id, event.audio_start_ms)
    if _answer_to(state, speech, event.item_id) is None:
        speech_began(state, speech, now)


def speech_stopped(state: State, event: wire.InputAudioBufferSpeechStopped, now: float) -> None:
    committed = state.turns.has_committed(event.item_id)
    speech = state.turns.records.of_item(event.item_id) if committed else _record(state, event.item_id, "speech", now)
    missed = not committed and speech is not None and speech.spoke_from is None
    if not committed and speech is not None:
        state.turns.stop(speech, state.response_queue, now=now, spoke_until=_offset(state, event.audio_end_ms, now))
        speech.had(begin=speech.had_from, end=_had_at(state, event.audio_end_ms))
    state.audio.speech_stopped(event.item_id, event.audio_end_ms)
    state.emit(RealtimeSpeechStopped(item_id=event.item_id, audio_end_ms=event.audio_end_ms, info=state.info))
    if speech is not None and not missed:
        speech_ended(state, speech, event.audio_end_ms, now)
    elif speech is not None and _answer_to(state, speech, event.item_id) is None:
        speech_missed(state, speech, now)
    if event.item_id in state.history:
        item_shown(state, event.item_id, now)


def _onset(state: State, start_ms: int, now: float) -> float:
    at = _said_at(state, start_ms)
    return now if at is None else min(at, now)


def _said_at(state: State, start_ms: int) -> float | None:
    """The time at which the user began to speak: the server's position is that of the padding before it."""
    _, padding_ms = margins(state)
    return state.turns.input_clock.time_of(start_ms + padding_ms if start_ms else 0)


def _had_at(state: State, position_ms: int | None) -> float | None:
    """The time at which the server had the audio at a position that it tells, if it does."""
    return state.turns.input_clock.time_of(position_ms) if position_ms else None


def _offset(state: State, end_ms: int, now: float) -> float:
    """The time at which the user fell silent: the server's position is that of the end of the pause after it."""
    silence_ms, _ = margins(state)
    at = state.turns.input_clock.time_of(max(0, end_ms - silence_ms))
    return now if at is None else min(at, now)


def _record(state: State, item_id: str, source: TurnSource, now: float) -> TurnRecord:
    """The record of the turn with this item of the user, which begins with this where it is new."""
    records = state.turns.records
    known = records.of_item(item_id)
    if known is not None and known.committed_at is None:
        return known
    return records.open(source, state.agent.name, now, item_id)


def audio_committed(state: State, event: wire.InputAudioBufferCommitted, now: float) -> None:
    if not state.turns.has_committed(event.item_id):
        _take_turn(state, event.item_id, now, previous_item_id=event.previous_item_id)


def item_shown(state: State, item_id: str, now: float, *, of_server: bool = False) -> None:
    """The server shows an item: where that is of a turn that voice detection has found whole, of silence that it takes
    for a turn, or of one that the app has ended, it is its commit. `of_server`: it is of speech, and nobody of ours has
    made it."""
    turn = state.turns.records.of_item(item_id)
    ended = turn is not None and ((turn.uncommitted and turn.ended_at is not None) or turn.awaited_silence)
    new = of_server and turn is None and not state.turns.has_committed(item_id) and not state.link.attached
    if ended or (new and (state.turn_detection or state.turns.records.ended_by_app)):
        _take_turn(state, item_id, now)


def _by_detection(state: State) -> bool:
    """Whether only voice detection can have made a new item of speech."""
    return bool(state.turn_detection) and not state.turns.records.ended_by_app and not state.link.attached


def take_shown_turns(state: State, now: float) -> None:
    """The connection is lost: no word will come of the commit of turns whose items the server has shown."""
    for turn in state.turns.records:
        if turn.uncommitted and turn.item_id is not None and turn.item_id in state.history:
            _take_turn(state, turn.item_id, now)


def answered_by_server(state: State, response: Response, now: float) -> None:
    """The server begins a response of its own. Where it owes none, it answers the turn of which word of the commit is
    late."""
    records = state.turns.records
    if not state.server_answers or records.due:
        return
    for turn in records:
        item_id = turn.item_id
        if turn.uncommitted and turn.why_not is None and item_id is not None:
            if turn.ended_at is not None or item_id in state.history:
                _take_turn(state, item_id, now, answer=response)
            return


def _take_turn(
    state: State, item_id: str, now: float, *, answer: Response | None = None, previous_item_id: str | None = None
) -> None:
    """The server has made an item of a turn, after `previous_item_id` if that is told; `answer` is its own, if that
    has begun."""
    by_app, detected = bool(state.turns.records.ended_by_app), _by_detection(state)
    known = state.turns.records.of_item(item_id) is not None
    turn, spoken = state.turns.commit(item_id, state.response_queue, now=now, agent=state.agent.name)
    state.audio.committed(item_id)
    silent = turn.source == "idle"
    begun = None
    if answer is None and (silent or (state.server_answers and not by_app and (spoken or detected))):
        begun = _answer_to(state, turn, item_id, previous_item_id, alone=not spoken and not silent)
    if detected and not silent:
        spoken = True
        if known and turn.ended_at is None:
            end_missed(state, turn, now)
        elif not known and begun is None:
            speech_missed(state, turn, now)
        turn.is_over(now)
    if not spoken and not silent:
        state.requests.answered("input_audio_buffer.commit", "")
    if begun is not None:
        state.turns.speak(state.response_queue)
    elif silent or (spoken and state.server_answers):
        state.response_queue.keep_quiet(now + PATIENCE_S)
        live = [each for each in state.live(in_conversation=True) if each is not answer]
        if any(each.interrupted is None for each in live):
            _ask_for(state, turn)
        else:
            unsure = bool(live) or state.updates.unsure_about_turns
            turn.owe("server", ask_at=now + PATIENCE_S if unsure else None)
    else:
        state.response_queue.speak()
    if not silent:
        ours = turns_are_ours(state) and state.turn_settings.requested.answers
        if turn.why_not is None:
            turn_waits(state, item_id, now, due=spoken and (state.server_answers or ours))
        turn_committed(state, turn, now, spoken=spoken)
    if begun is not None and begun.record is not None:
        begun.record.current.take_in(turn)
        if begun.result is None and begun.interrupted is None and not silent:
            answer_began(state, begun, own=not begun.answers_app)


def _answer_to(
    state: State, turn: TurnRecord, item_id: str, previous_item_id: str | None = None, *, alone: bool = False
) -> Response | None:
    """The response with which the server has answered this turn before it told of it (rule 7). `alone`: no other word
    of the turn has come than that of its item."""
    for record in state.turns.records:
        first = record.responses[0] if record.source == "automatic" and record.responses else None
        if first is not None and first.request is None and first.in_conversation and not first.lost:
            known = _began_after(state, first, turn, item_id, previous_item_id)
            if (alone or turn.number < record.number) if known is None else known:
                return first
    return None


def _began_after(
    state: State, response: Response, turn: TurnRecord, item_id: str, previous_item_id: str | None
) -> bool | None:
    """Whether this response began after the turn was over, as far as positions tell; None: they do not."""
    if turn.had_until is not None:
        return turn.had_until <= response.began_at
    if turn.had_from is not None:  # there was a pause at its end, too
        silence_ms, _ = margins(state)
        return turn.had_from + silence_ms / 1000 <= response.began_at
    order = state.history.order()
    known = item_id if state.history.placed(item_id) else previous_item_id
    if known in order and response.items and response.items[0] in order:
        return order.index(known) < order.index(response.items[0])
    return None


def _ask_for(state: State, turn: TurnRecord) -> None:
    """The server gives no answer to this turn, because a response runs: ask for one, at once or when nothing speaks
    against it any more."""
    if turn.doubt_until is not None:
        turn.owe("us")
    elif turn.why_not is None:
        submit(state, automatic=True, turn=True, answers=turn)


def ask_for_lost_answers(state: State, now: float) -> None:
    """Ask for the answers that the server should have begun by itself."""
    for turn in state.turns.records.waiting:
        if turn.ask_at is not None and turn.ask_at <= now:
            submit(state, automatic=True, turn=True, record=turn)


def audio_cleared(state: State, event: wire.InputAudioBufferCleared, now: float) -> None:
    state.requests.answered("input_audio_buffer.clear", "")
    state.turns.clear_answered()
    state.turns.free(state.response_queue)
    speech_thrown_away(state, now)


def expire_clear(state: State, now: float) -> None:
    """The server has not answered a clear in time. Most likely it has cleared the buffer all the same; else it tells of
    the speech once more, when that ends."""
    if state.turns.cleared_at is not None and state.turns.cleared_at <= now:
        state.turns.clear_answered()
        state.turns.free(state.response_queue)
        speech_thrown_away(state, now)


def silence_timed_out(state: State, event: wire.InputAudioBufferTimeoutTriggered, now: float) -> None:
    if event.item_id is not None and not state.turns.has_committed(event.item_id):  # else word of it is late
        silence = _record(state, event.item_id, "idle", now)
        silence.had(begin=_had_at(state, event.audio_start_ms), end=_had_at(state, event.audio_end_ms))
    state.emit(
        RealtimeInputAudioTimeoutTriggered(
            item_id=event.item_id,
            audio_start_ms=event.audio_start_ms,
            audio_end_ms=event.audio_end_ms,
            info=state.info,
        )
    )


def key_pressed(state: State, event: wire.InputAudioBufferDtmfEventReceived, now: float) -> None:
    state.emit(RealtimeDtmf(digit=event.event, received_at_unix_s=event.received_at, info=state.info))


# ---- the user's words -----------------------------------------------------------------------------------------------


def transcription_delta(state: State, event: wire.ConversationItemInputAudioTranscriptionDelta, now: float) -> None:
    first = _first_sign(state, event.item_id)
    state.history.add_user_transcript(event.item_id, event.content_index, event.delta)
    state.emit(
        RealtimeTranscriptDelta(
            item_id=event.item_id,
            content_index=event.content_index,
            delta=event.delta,
            role="user",
            info=state.info,
        )
    )
    if first:
        item_shown(state, event.item_id, now, of_server=True)


def transcription_completed(
    state: State, event: wire.ConversationItemInputAudioTranscriptionCompleted, now: float
) -> None:
    first = _first_sign(state, event.item_id)
    if event.transcript.strip():
        state.audio.transcribed(event.item_id)
    if event.item_id not in state.deleted_items:
        change = state.history.set_user_transcript(event.item_id, event.content_index, event.transcript)
        state.emit_history(change, event.item_id)
    usage = parse_transcription_usage(event.usage)
    if usage is not None:
        state.meter.count_transcription(usage, state.transcription_model)
    _words_known(state, event.item_id, event.transcript, now, first=first)


def transcription_failed(state: State, event: wire.ConversationItemInputAudioTranscriptionFailed, now: float) -> None:
    info = read_error(event.error, request=f"transcription of {event.item_id}")
    state.emit(RealtimeError(error=info, info=state.info))
    _words_known(state, event.item_id, None, now, first=_first_sign(state, event.item_id))


def _first_sign(state: State, item_id: str) -> bool:
    """Whether nothing is known of this item."""
    known = (state.history, state.items, state.deleted_items, state.link.told)
    return bool(item_id) and not any(item_id in each for each in known)


def _words_known(state: State, item_id: str, words: str | None, now: float, *, first: bool) -> None:
    """The words of a turn have come; None: they never will. `first`: nothing of its item has come before."""
    item_shown(state, item_id, now, of_server=first)
    turn = state.turns.records.of_item(item_id)
    if turn is not None:
        turn.transcribed(now)
        words_known(state, turn, words, now)
        turn_transcribed(state, turn, words)
