"""The floor: while the user speaks, nothing that nobody asks for by hand is said.

Theory of operation
1. The user has the floor from ``speech_started`` until the turn is committed, or the input buffer is cleared, or voice
   detection is switched off. Where the server answers turns by itself, its answer has the floor next, until it begins.
2. Meanwhile automatic requests (the answer to a message or to the outputs of tools) stay in the gate. Requests made by
   hand go: whoever makes one knows why.
3. A response that the server makes by itself has seen every item that it had confirmed before. Automatic requests that
   wait to have those answered are answered by it: the user gets one answer, and whoever waits for theirs gets that one.
   So does one that met such a response on its way.
4. Nothing waits for ever. A commit follows the end of speech at once, and so does the server's answer a commit: after
   `PATIENCE_S` without it none will come. Speech whose end is never told (a microphone that went away) holds the floor
   for as long as the server may take to begin a response.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from trealtime._core.response_queue import Request
    from trealtime._core.state import Response, Speech, State

__all__ = [
    "PATIENCE_S",
    "SentItems",
    "answer_with",
    "floor_free",
    "has_seen",
    "turn_over",
    "user_began",
    "user_stopped",
]

PATIENCE_S: Final = 2.0
"""How long what follows at once may take: a commit, and the server's own answer to it."""

_REMEMBERED: Final = 256


@attrs.define
class SentItems:
    """The items that we have sent, numbered: the server takes them in order, so one that it has confirmed says that it
    has seen those before."""

    sent: int = 0
    """The number of the last."""

    confirmed: int = 0
    """The number of the last that the server has announced."""

    _open: dict[str, int] = attrs.field(factory=dict, init=False)

    def send(self, item_id: str) -> None:
        """An item leaves."""
        self.sent += 1
        self._open[item_id] = self.sent
        if len(self._open) > _REMEMBERED:
            del self._open[next(iter(self._open))]

    def confirm(self, item_id: str) -> None:
        """The server has announced an item, ours or not."""
        self.confirmed = max(self.confirmed, self._open.pop(item_id, 0))


def user_began(state: State, speech: Speech, now: float) -> None:
    """The user has begun to speak."""
    state.speech = speech
    state.response_queue.quiet_until = now + state.response_timeout_s


def user_stopped(state: State, now: float) -> None:
    """The user has fallen silent: the commit is next."""
    state.speech = None
    state.response_queue.quiet_until = now + PATIENCE_S


def turn_over(state: State, now: float, *, answered: bool) -> None:
    """The user's turn is committed; `answered`: the server answers it by itself."""
    state.speech = None
    state.response_queue.quiet_until = now + PATIENCE_S if answered else None


def floor_free(state: State) -> None:
    """What was said is thrown away, or nobody listens any more."""
    state.speech = None
    state.response_queue.quiet_until = None


def answer_with(state: State, response: Response) -> None:
    """The server has begun a response of its own: what it has seen need not be asked for."""
    if state.speech is None:
        state.response_queue.quiet_until = None
    for request in state.response_queue.withdraw(lambda each: has_seen(response, each)):
        state.give(response, request.reply_ids)


def has_seen(response: Response, request: Request) -> bool:
    """Whether `response` began when the server knew all that `request` wants answered."""
    return request.automatic and request.item is None and 0 < request.about <= response.seen
