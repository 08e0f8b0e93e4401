"""Callers who wait for a spoken turn of the user and its answer, as `RealtimeSession.listen` does.

Theory of operation
1. A spoken turn waits for its answer from its commit on. The next response of the conversation that begins is the
   answer, also where the app asks for it; one that is stopped as it begins is none. Speech that was dismissed, thrown
   away or refused by a guardrail is no turn, and neither is a silence that the server commits.
2. A caller waits for the answer to the turn that is under way, or to the next one. The answer of a turn that begins
   before the call is not the caller's.
3. From there on the caller waits for the answer as one who has asked for it: its calls, the answers to those and
   handoffs belong to it. If no other caller and no message wants it, it is interrupted when the caller leaves.
4. Where the caller collects the answer, one that the user cuts before any of it was heard counts for nothing: the user
   has gone on, and the caller waits for the answer to all that was said.
5. A turn that the server or the session has to answer, and that no response follows, is given up after
   `response_timeout_s` in which nothing else was under way.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

import attrs

from trealtime._core.effects import BeginAnew, ResponseResult
from trealtime._core.ids import Recent
from trealtime._value import Shown
from trealtime.errors import ServerRefused

if TYPE_CHECKING:
    from trealtime._core.playback_ledger import Unheard
    from trealtime._core.response import Response
    from trealtime._core.response_queue import Request
    from trealtime._core.state import State

__all__ = [
    "Listener",
    "Listening",
    "answer_began",
    "answer_comes",
    "answer_cut",
    "expire_turns",
    "turn_blocked",
    "turn_dismissed",
    "turn_waits",
]


@attrs.define(eq=False, repr=False)
class Listener(Shown):
    """A caller who waits for a spoken turn."""

    reply_id: str
    items: list[str] = attrs.Factory(list)
    """What the user has said in the turn that is being answered."""

    answers: list[Response] = attrs.Factory(list)
    """The responses of the answer, none while it has not begun."""

    heard: bool = False
    """Whether any of the answer was heard before the user cut it."""

    def was_heard(self) -> None:
        """Some of the answer was heard before the user cut it."""
        self.heard = True

    def said(self, items: Sequence[str]) -> None:
        """The user has said these items, and they are being answered."""
        self.items += items

    def answered_by(self, response: Response) -> None:
        """This response is the answer, or goes on with it."""
        self.answers.append(response)

    def wait_on(self) -> None:
        """The answer counts for nothing: wait for the next."""
        self.answers.clear()


@attrs.define(eq=False, repr=False)
class Listening(Shown):
    """The spoken turns without an answer, and the callers."""

    _turns: Recent[str, bool] = attrs.field(factory=partial(Recent, 256), init=False)
    """By item, those that wait for their answer, and whether one must come without the app."""

    _since: float | None = attrs.field(default=None, init=False)
    """The time since which the last of these could have been answered."""

    _listeners: dict[str, Listener] = attrs.field(factory=dict, init=False)

    def begin(self, reply_id: str) -> None:
        """A caller listens from now on."""
        self._listeners[reply_id] = Listener(reply_id)

    def leave(self, reply_id: str) -> bool:
        """A caller leaves; return whether no answer to it has begun."""
        listener = self._listeners.pop(reply_id, None)
        return listener is not None and not listener.answers

    def give(self, response: Response, reply_ids: Collection[str]) -> None:
        """These callers get a response."""
        for reply_id in reply_ids:
            listener = self._listeners.get(reply_id)
            if listener is not None:
                listener.answered_by(response)

    def said_to(self, reply_id: str) -> tuple[str, ...]:
        """The items of the user that the answer for this caller answers; none for a caller who does not listen."""
        listener = self._listeners.get(reply_id)
        return tuple(listener.items) if listener is not None else ()

    @property
    def waiting(self) -> list[Listener]:
        """The callers whose answer has not begun."""
        return [each for each in self._listeners.values() if not each.answers]

    @property
    def answered(self) -> list[Listener]:
        """The callers whose answer has begun."""
        return [each for each in self._listeners.values() if each.answers]

    def add_turn(self, item_id: str, *, due: bool, now: float) -> None:
        """A turn is committed; `due`: the server or the session answers it."""
        self._turns[item_id] = due
        self._since = now

    def drop_turn(self, item_id: str) -> None:
        """This was no turn after all."""
        self._turns.discard(item_id)

    def take_turns(self) -> list[str]:
        """All turns are answered now; return their items."""
        items = list(self._turns)
        self._turns.clear()
        return items

    def put_off(self, now: float) -> None:
        """Something else is under way: the answer comes after it."""
        if self._since is not None:
            self._since = now

    def deadline(self, timeout_s: float) -> float | None:
        """The time at which a turn counts as unanswered."""
        due = self._since is not None and any(self._turns.values())
        return self._since + timeout_s if due and self._since is not None else None

    def drain(self) -> Sequence[str]:
        """The connection has ended: return the callers whose answer has not begun, and begin anew."""
        waiting = [each.reply_id for each in self.waiting]
        self._listeners.clear()
        self._turns.clear()
        self._since = None
        return waiting


def turn_waits(state: State, item_id: str, now: float, *, due: bool) -> None:
    """A spoken turn is committed."""
    state.listening.add_turn(item_id, due=due, now=now)


def turn_dismissed(state: State, item_id: str) -> None:
    """The speech was no turn."""
    state.listening.drop_turn(item_id)


def turn_blocked(state: State, item_id: str, error: Exception) -> None:
    """A guardrail has refused the turn, and nothing is said about that: its callers get `error`."""
    state.listening.drop_turn(item_id)
    if state.listening.take_turns():
        return  # the user has said more, which is answered
    for listener in state.listening.waiting:
        state.listening.leave(listener.reply_id)
        result = ResponseResult(response_id=None, status="failed", reason="guardrail", error=error)
        state.settle(listener.reply_id, result)


def answer_began(state: State, response: Response, *, own: bool) -> None:
    """A response of the conversation begins; `own`: nothing but the turn of the user wants it."""
    items = state.listening.take_turns()
    waiting = state.listening.waiting if items else []
    for listener in waiting:
        listener.said(items)
    if waiting:
        if own:
            response.belongs_to_callers()
        state.give(response, [each.reply_id for each in waiting], own=own and len(waiting) == 1)


def answer_cut(
    state: State, victims: Collection[Response], unheard: Sequence[Unheard], request: Request | None
) -> None:
    """The user cuts the answers `victims` and the `request` for one; `unheard` are the parts that were not heard to
    their end (rule 4)."""
    for listener in state.listening.answered:
        for response in listener.answers:
            parts = [part.heard_ms for part in unheard if part.response_id == response.id]
            if any(parts) or (response.has_audio and not parts):
                listener.was_heard()
        asked = request is not None and listener.reply_id in request.reply_ids
        cut = asked or any(response in victims for response in listener.answers)
        if cut and listener.reply_id in state.collecting and not listener.heard:
            for each in (*listener.answers, *([request] if request is not None else ())):
                each.lose(listener.reply_id)
            listener.wait_on()
            state.do(BeginAnew(listener.reply_id))


def answer_comes(state: State) -> bool:
    """Whether something else is under way: the answer to the last turn comes after it."""
    asked = state.response_queue.busy or state.pending_interruption is not None
    return asked or bool(state.turns.records.unchecked)


def expire_turns(state: State, now: float) -> None:
    """Give up turns that nothing answers. One whose check is given up at this very time is asked for now."""
    deadline = state.listening.deadline(state.response_timeout_s)
    if deadline is None or deadline > now or answer_comes(state):
        return
    state.listening.take_turns()
    message = f"no answer to a spoken turn within {state.response_timeout_s:g} s"
    error = ServerRefused(message, code="no_answer", request="response.create")
    for listener in state.listening.waiting:
        state.listening.leave(listener.reply_id)
        state.settle(listener.reply_id, ResponseResult(response_id=None, status="failed", error=error))
