"""The records of turns: all that the core knows of a turn, in one place, from its first sound to its end.

Theory of operation
1. A turn of the user is known from the first sign of it: speech that the server hears, audio that the app has committed
   or begun to send after it cleared the buffer, a message, silence that the server will take for a turn. A turn without
   the user begins with the request for a response, or with a response that the server makes by itself.
2. Facts about it are written once, into its record, and the rules ask the record: whether the server announced it
   (`turns`), whether it may be no interruption (`interruption`), whether it is being checked (`input_guardrails`), who
   owes it an answer, and what answers it (`responses`).
3. A turn is found by the item of the user, once the server has named that; before, the app's own commits are answered
   in order, because the server reads them in order.
4. One response answers every turn that is open when it begins: committed or written, in no doubt, checked, and not
   asked for by a request of its own. They are one turn from then on: the one that was asked for takes the others in,
   and who still holds another one finds it there (`TurnRecord.current`).
5. A turn of the user ends in one of two ways: something answers it, or `why_not` says why nothing does. What the server
   owes, and does not bring in time, ends like that too (`deadline`).
6. At most `MOST_OPEN` turns are kept; an older one that no rule waits for goes first.

What stays elsewhere: the time until which automatic requests stay in the queue is one for the conversation, and the
last thing that happened to any turn decides it (`response_queue`); requests and responses have lives of their own,
which may cross turns, and name the record of the turn that they answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

import attrs

from trealtime.metrics import TurnSource

if TYPE_CHECKING:
    from trealtime._core.response import Response

__all__ = ["MOST_OPEN", "Debtor", "TurnRecord", "TurnRecords", "WhyNot"]

MOST_OPEN: Final = 256

Debtor = Literal["server", "us", "app"]
"""Who brings the answer: the server by itself, the session by its rules, or the app when it wants to."""

WhyNot = Literal[
    "dismissed", "withheld", "thrown_away", "not_taken", "no_answer", "refused", "cancelled", "session_over"
]
"""``"dismissed"``: speech that was no interruption. ``"withheld"``: a guardrail tripped. ``"thrown_away"``: its audio
was cleared. ``"not_taken"``: the server did not take the commit. ``"no_answer"``: none came in time. ``"refused"``: the
server refused to make one. ``"cancelled"``: the app wanted none any more."""


@attrs.define(eq=False)
class TurnRecord:
    """One turn; see the module's theory of operation."""

    number: int
    source: TurnSource
    agent: str
    began_at: float

    item_ids: list[str] = attrs.Factory(list)
    """The user's items in it, as far as the server has named them."""

    # ---- spoken
    start_ms: int = 0
    """The place of its beginning in the input audio."""

    put_off: bool = False
    """It began in an uninterruptible scope: it interrupts only at the end of that."""

    announced: bool = False
    """The server's voice detection will commit it, or the user's silence."""

    ended_at: float | None = None
    """The server told that the speech was over."""

    # ---- committed
    commit_id: str | None = None
    """The app's own commit of it, until the server has answered that."""

    place: int = 0
    """Of that commit, in the order of response requests."""

    committed_at: float | None = None

    # ---- in doubt
    doubt_until: float | None = None
    """It may be no interruption, and is one at this time unless it is dismissed before; None: no doubt."""

    # ---- checked
    unchecked_since: float | None = None
    """Input guardrails have to pass it before anything answers it; None: they have, or need not."""

    words: str | None = None
    """The text that is being checked."""

    # ---- owed and answered
    owed_by: Debtor | None = None
    asked: bool = False
    """A request for its answer has been made."""

    responses: list[Response] = attrs.Factory(list)
    why_not: WhyNot | None = None
    part_of: TurnRecord | None = None
    """The turn that has taken it in."""

    def begin_speech(self, start_ms: int, *, announced: bool) -> None:
        """The user speaks; unless the app has `announced` the end of this turn itself, the server will commit it."""
        self.start_ms, self.announced = start_ms, self.announced or announced

    def end_speech(self, now: float) -> None:
        """The user has fallen silent: the server's voice detection commits what was said."""
        self.announced, self.ended_at = True, now

    def put(self, *, off: bool) -> None:
        """Whether it interrupts only at the end of an uninterruptible scope."""
        self.put_off = off

    def commit_sent(self, event_id: str, place: int) -> None:
        """The app has ended it."""
        self.commit_id, self.place = event_id, place

    def commit(self, now: float) -> None:
        """The server has made an item of it."""
        self.committed_at, self.commit_id, self.announced = now, None, False

    def forget_commit(self) -> None:
        """The server will not answer the app's commit any more."""
        self.commit_id = None

    def doubt(self, until: float) -> None:
        """It may be no interruption; it is one then, unless it is dismissed before."""
        self.doubt_until = until

    def believe(self) -> None:
        """It is the user's turn, or is dismissed: there is no doubt any more."""
        self.doubt_until = None

    def wait_for_check(self, now: float) -> None:
        """It has to be checked before anything answers it."""
        self.unchecked_since = now

    def check(self, words: str) -> None:
        """It is being checked."""
        self.words = words

    def checked(self) -> None:
        """It has its verdict, or needs none."""
        self.unchecked_since = None

    def owe(self, debtor: Debtor | None) -> None:
        """This is who brings the answer; None: nobody."""
        self.owed_by = debtor

    def ask(self) -> None:
        """A request for its answer has been made."""
        self.asked = True

    def answer(self, response: Response) -> None:
        """This response is of its answer."""
        if response not in self.responses:
            self.responses.append(response)

    def disown(self, response: Response) -> None:
        """It was not."""
        if response in self.responses:
            self.responses.remove(response)

    def end(self, why_not: WhyNot) -> None:
        """Nothing answers it."""
        if self.why_not is None and not self.responses:
            self.why_not = why_not

    def take_in(self, other: TurnRecord) -> None:
        """One answer is for both, or the app and the server have told of the same one: they are one turn."""
        if other is self:
            return
        other.part_of = self
        self.item_ids += [each for each in other.item_ids if each not in self.item_ids]
        self.responses += [each for each in other.responses if each not in self.responses]
        self.asked = self.asked or other.asked
        self.began_at = min(self.began_at, other.began_at)
        self.committed_at = _later(self.committed_at, other.committed_at)
        self.ended_at = _later(self.ended_at, other.ended_at)
        if other.unchecked_since is not None:
            self.unchecked_since, self.words = other.unchecked_since, other.words
        if other.of_user and self.source != "speech":
            self.source = other.source

    # ---- questions -------------------------------------------------------------------------------------------------

    @property
    def current(self) -> TurnRecord:
        """The turn that it is part of now: itself, unless another one has taken it in."""
        record = self
        while record.part_of is not None:
            record = record.part_of
        return record

    @property
    def item_id(self) -> str | None:
        """The user's last item in it; None before the server has named one."""
        return self.item_ids[-1] if self.item_ids else None

    @property
    def key(self) -> str:
        """The name under which it is checked."""
        return self.item_id or self.commit_id or f"turn_{self.number}"

    @property
    def of_user(self) -> bool:
        """Whether the user spoke, wrote or was silent."""
        return self.source in ("speech", "text", "idle")

    @property
    def answered(self) -> bool:
        """Whether a response is its answer."""
        return bool(self.responses)

    @property
    def waits_for_answer(self) -> bool:
        """Whether the next response of the conversation answers it, whoever asks for that."""
        return (
            self.of_user
            and self.committed_at is not None
            and self.doubt_until is None
            and self.unchecked_since is None
            and not self.asked
            and not self.responses
            and self.why_not is None
            and self.part_of is None
        )

    def in_the_air(self, now: float, timeout_s: float) -> bool:
        """Whether the server has still to tell something of it: its commit, or the words that have to be checked."""
        if self.doubt_until is not None or self.unchecked_since is not None or self.commit_id is not None:
            return True
        coming = self.announced and self.committed_at is None and self.why_not == "dismissed"
        return coming and now < self.began_at + timeout_s

    def deadline(self, timeout_s: float) -> float | None:
        """The time at which the server's part of it is overdue: its commit, or its answer; None: nothing is."""
        if not self.of_user or self.asked or self.responses or self.why_not is not None:
            return None
        if self.doubt_until is not None or self.unchecked_since is not None:
            return None
        if self.committed_at is None:
            return (self.began_at if self.ended_at is None else self.ended_at) + timeout_s
        return self.committed_at + timeout_s if self.owed_by == "server" else None


@attrs.define
class TurnRecords:
    """The turns that are not over, oldest first."""

    _open: dict[int, TurnRecord] = attrs.field(factory=dict, init=False)
    _last: int = attrs.field(default=0, init=False)

    def __iter__(self) -> Iterator[TurnRecord]:
        return iter([each for each in self._open.values() if each.part_of is None])

    def __len__(self) -> int:
        return sum(each.part_of is None for each in self._open.values())

    def open(self, source: TurnSource, agent: str, now: float, item_id: str | None = None) -> TurnRecord:
        """A turn begins."""
        self._last += 1
        record = self._open[self._last] = TurnRecord(self._last, source, agent, now)
        if item_id is not None:
            record.item_ids.append(item_id)
        if len(self._open) > MOST_OPEN:
            idle = (each for each in self._open.values() if each.doubt_until is None and each.unchecked_since is None)
            self.drop(next(idle, record))
        return record

    def drop(self, record: TurnRecord) -> None:
        """A turn is over."""
        self._open.pop(record.number, None)
        for taken in [number for number, each in self._open.items() if each.part_of is not None]:
            del self._open[taken]

    # ---- questions -------------------------------------------------------------------------------------------------

    def of_item(self, item_id: str) -> TurnRecord | None:
        """The newest open turn that has this item of the user."""
        return next((each for each in reversed(list(self)) if item_id in each.item_ids), None)

    @property
    def ended_by_app(self) -> list[TurnRecord]:
        """Turns whose commit by the app is on its way, in the order of those."""
        return sorted((each for each in self if each.commit_id is not None), key=lambda each: each.place)

    @property
    def unnamed(self) -> TurnRecord | None:
        """The oldest turn that has to be checked, and of which the server has not named the item."""
        return next((each for each in self.unchecked if not each.item_ids), None)

    @property
    def in_doubt(self) -> list[TurnRecord]:
        """Turns that may be no interruptions."""
        return [each for each in self if each.doubt_until is not None]

    @property
    def unchecked(self) -> list[TurnRecord]:
        """Turns that input guardrails have not passed, in the order in which they came to be checked."""
        waiting = [each for each in self if each.unchecked_since is not None]
        return sorted(waiting, key=lambda each: each.unchecked_since or 0.0) if len(waiting) > 1 else waiting

    @property
    def waiting(self) -> list[TurnRecord]:
        """Turns that the next response of the conversation answers."""
        return [each for each in self._open.values() if each.waits_for_answer]

    @property
    def due(self) -> bool:
        """Whether the server has promised to answer a turn by itself and has not."""
        return any(each.owed_by == "server" and each.waits_for_answer for each in self._open.values())

    def deadline(self, timeout_s: float) -> float | None:
        """The time at which an answer that the server owes is overdue. Speech that is never committed waits for
        nothing: it may end with whatever happens next."""
        times = (each.deadline(timeout_s) for each in self if each.committed_at is not None)
        return min((at for at in times if at is not None), default=None)


def _later(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)
