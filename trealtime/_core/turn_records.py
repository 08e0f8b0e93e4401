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
   owes, and does not bring in time, ends like that too (`deadline`). A server that has not read yet that it must not
   answer by itself answers speech that we have dismissed: that turn stays open for its answer for `PATIENCE_S`.
6. At most `MOST_OPEN` turns are kept; an older one that no rule waits for goes first.

What stays elsewhere: the time until which automatic requests stay in the queue is one for the conversation, and the
last thing that happened to any turn decides it (`response_queue`); requests and responses have lives of their own,
which may cross turns, and name the record of the turn that they answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

import attrs

from trealtime._value import Shown
from trealtime.metrics import TurnInterruption, TurnSource

if TYPE_CHECKING:
    from trealtime._core.response import Response

__all__ = ["MOST_OPEN", "PATIENCE_S", "Debtor", "TurnRecord", "TurnRecords", "WhyNot"]

MOST_OPEN: Final = 256

PATIENCE_S: Final = 2.0
"""How long what follows at once may take: a commit, and the server's own answer to it."""

Debtor = Literal["server", "us", "app"]
"""Who brings the answer: the server by itself, the session by its rules, or the app when it wants to."""

WhyNot = Literal[
    "dismissed", "withheld", "thrown_away", "not_taken", "no_answer", "refused", "cancelled", "session_over"
]
"""``"dismissed"``: speech that was no interruption. ``"withheld"``: a guardrail tripped. ``"thrown_away"``: its audio
was cleared. ``"not_taken"``: the server did not take the commit. ``"no_answer"``: none came in time. ``"refused"``: the
server refused to make one. ``"cancelled"``: the app wanted none any more."""


@attrs.define(eq=False, repr=False)
class TurnRecord(Shown):
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

    had_from: float | None = None
    """The time at which its first sound was sent, by the clock of the input audio."""

    had_until: float | None = None
    """The time at which the server had all of it, with the pause that ends it."""

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
    ask_at: float | None = None
    """The time to ask for the answer that the server owes; None: never."""

    asked: bool = False
    """A request for its answer has been made."""

    responses: list[Response] = attrs.Factory(list)
    why_not: WhyNot | None = None
    broken: WhyNot | None = None
    """Why its answer ends where it does: what was asked for beyond that has not come."""

    interruption: TurnInterruption | None = None
    retries: int = 0

    # ---- when (seconds); times of responses and calls are theirs
    spoke_from: float | None = None
    spoke_until: float | None = None
    transcribed_at: float | None = None
    requested_at: float | None = None
    played_from: float | None = None
    """The server plays its audio itself, on a phone call that it carries, from then on."""

    played_until: float | None = None
    peaks: dict[str, float] = attrs.Factory(dict)
    """The most that waited, by name."""

    over: bool = False
    part_of: TurnRecord | None = None
    """The turn that has taken it in."""

    def begin_speech(self, start_ms: int, spoke_from: float, *, announced: bool) -> None:
        """The user speaks, at `start_ms` of the input audio, which was said at `spoke_from`. `announced`: the server
        will commit it by itself."""
        self.start_ms, self.announced = start_ms, self.announced or announced
        self.spoke_from = spoke_from if self.spoke_from is None else min(self.spoke_from, spoke_from)

    def end_speech(self, now: float, spoke_until: float) -> None:
        """The user has fallen silent, at `spoke_until`: the server's voice detection commits what was said."""
        self.announced, self.ended_at, self.spoke_until = True, now, spoke_until

    def leave(self) -> None:
        """The user has left in the middle of it: voice detection will not commit it, and nothing answers it."""
        self.announced = False
        self.end("cancelled")

    def is_over(self, now: float) -> None:
        """The user has fallen silent, and only what followed shows that: when that was is not known."""
        if self.ended_at is None:
            self.ended_at = now

    def had(self, *, begin: float | None, end: float | None) -> None:
        """The server had its first sound, and all of it, at these times; None: not known, or not yet."""
        self.had_from, self.had_until = begin, end

    def put(self, *, off: bool) -> None:
        """Whether it interrupts only at the end of an uninterruptible scope."""
        self.put_off = off

    def commit_sent(self, event_id: str, place: int, now: float) -> None:
        """The app has ended it."""
        self.commit_id, self.place = event_id, place
        if not self.announced:  # the app knows when the user is silent; else voice detection tells
            self.spoke_until = now

    def commit(self, now: float) -> None:
        """The server has made an item of it."""
        self.committed_at, self.commit_id, self.announced = now, None, False

    def leave_speech_to(self, other: TurnRecord) -> None:
        """The app has ended this turn in mid-speech, and the speech is of another turn."""
        other.item_ids, self.item_ids = self.item_ids, []
        other.announced, self.announced = self.announced, False
        other.doubt_until, self.doubt_until = self.doubt_until, None
        other.start_ms, other.put_off, other.spoke_from = self.start_ms, self.put_off, self.spoke_from
        other.had(begin=self.had_from, end=self.had_until)
        other.began_at, other.ended_at = self.began_at, self.ended_at

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
        """It has to be checked before anything answers it. Words that have been checked already are not those of what
        was said now: another server has given its item the same id."""
        if self.unchecked_since is None:
            self.words = None
        self.unchecked_since = now

    def check(self, words: str) -> None:
        """It is being checked."""
        self.words = words

    def checked(self) -> None:
        """It has its verdict, or needs none."""
        self.unchecked_since = None

    def owe(self, debtor: Debtor, *, ask_at: float | None = None) -> None:
        """This is who brings the answer; we ask for it at `ask_at`, if it has not come."""
        self.owed_by, self.ask_at = debtor, ask_at

    def ask(self) -> None:
        """A request for its answer has been made."""
        self.asked = True

    def answer(self, response: Response) -> None:
        """This response is of its answer."""
        if response not in self.responses:
            self.responses.append(response)

    def transcribed(self, now: float) -> None:
        """Its words are known."""
        self.transcribed_at = now

    def interrupt(self, interruption: TurnInterruption) -> None:
        """Its answer is interrupted. It can be only once: what comes after it was stopped by that."""
        if self.interruption is None:
            self.interruption = interruption

    def retry(self) -> None:
        """A request for its answer goes once more."""
        self.retries += 1

    def plays(self, now: float) -> None:
        """The server plays its audio, from now on."""
        self.played_from = now if self.played_from is None else self.played_from

    def played(self, now: float) -> None:
        """The server has played its audio."""
        self.played_until = now
        told = self.interruption
        if told is not None and told.silent_at is None and told.onset_at is not None:
            self.interruption = attrs.evolve(told, silent_at=now)

    def peak(self, name: str, waiting: float) -> None:
        """So much waits now."""
        if waiting > self.peaks.get(name, 0.0):
            self.peaks[name] = waiting

    def note(self, now: float) -> None:
        """An input has ended: stamp what it brought."""
        if self.asked and self.requested_at is None and self.created_at is None:
            self.requested_at = now
        for response in self.responses:
            for call in response.calls:
                call.stamp(now)

    def disown(self, response: Response) -> None:
        """It was not."""
        if response in self.responses:
            self.responses.remove(response)

    def end(self, why_not: WhyNot) -> None:
        """Nothing answers it."""
        if self.responses:
            self.broken = self.broken or why_not
        elif self.why_not is None:
            self.why_not = why_not

    def take_in(self, other: TurnRecord) -> None:
        """One answer is for both, or the app and the server have told of the same one: they are one turn. One that is
        over stays as it has been told."""
        if other is self or other.over:
            return
        other.part_of = self
        self.item_ids += [each for each in other.item_ids if each not in self.item_ids]
        self.responses += [each for each in other.responses if each not in self.responses]
        self.asked = self.asked or other.asked
        self.began_at = min(self.began_at, other.began_at)
        self.committed_at = _later(self.committed_at, other.committed_at)
        self.ended_at = _later(self.ended_at, other.ended_at)
        self.spoke_until = _later(self.spoke_until, other.spoke_until)
        self.transcribed_at = _later(self.transcribed_at, other.transcribed_at)
        self.spoke_from = _earlier(self.spoke_from, other.spoke_from)
        self.requested_at = _earlier(self.requested_at, other.requested_at)
        self.retries += other.retries
        for name, waiting in other.peaks.items():
            self.peak(name, waiting)
        if other.unchecked_since is not None:
            self.unchecked_since, self.words = other.unchecked_since, other.words
        if other.doubt_until is not None:
            self.doubt_until, self.start_ms = _earlier(self.doubt_until, other.doubt_until), other.start_ms
        if other.of_user and self.source != "speech":
            self.source = other.source

    def close(self) -> None:
        """It is over: let go of what it was made of."""
        self.over = True
        for response in self.responses:
            response.forget_turn()
        self.responses = []

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
    def uncommitted(self) -> bool:
        """Whether voice detection has found it, and no word has come of an item."""
        return self.announced and self.committed_at is None and self.part_of is None

    @property
    def created_at(self) -> float | None:
        """The time at which its answer began. A response may turn out to be of it only at its end, or not to be."""
        return min((each.began_at for each in self.responses), default=None)

    @property
    def awaited_silence(self) -> bool:
        """Whether it is silence that the server takes for a turn, and no word has come of an item."""
        return self.source == "idle" and self.committed_at is None and self.part_of is None

    @property
    def answered(self) -> bool:
        """Whether a response is its answer."""
        return bool(self.responses)

    @property
    def waits_for_answer(self) -> bool:
        """Whether the next response of the conversation answers it, no matter which request makes it."""
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

    @property
    def promised(self) -> bool:
        """Whether the server has promised to answer it by itself and has not. It waits for no check of ours, and knows
        nothing of a doubt, nor that we have dismissed the speech."""
        return (
            self.owed_by == "server"
            and self.of_user
            and self.committed_at is not None
            and not self.asked
            and not self.responses
            and self.why_not in (None, "dismissed")
            and self.part_of is None
        )

    def in_the_air(self, now: float, timeout_s: float) -> bool:
        """Whether the server has still to tell something of it: its commit, the words that have to be checked, or an
        answer to speech that we have dismissed."""
        if self.doubt_until is not None or self.unchecked_since is not None or self.commit_id is not None:
            return True
        if self.why_not != "dismissed":
            return False
        if self.committed_at is None:
            return self.announced and now < self.began_at + timeout_s
        return self.promised and now < self.committed_at + PATIENCE_S

    def deadline(self, timeout_s: float) -> float | None:
        """The time at which the server's part of it is overdue: its commit, or its answer; None: nothing is."""
        if self.why_not == "dismissed" and self.promised and self.committed_at is not None:
            # As long as it waits for more than that, the time of this alone would end nothing.
            waits = self.doubt_until is not None or self.unchecked_since is not None or self.commit_id is not None
            return None if waits else self.committed_at + PATIENCE_S
        if not self.of_user or self.asked or self.responses or self.why_not is not None:
            return None
        if self.doubt_until is not None or self.unchecked_since is not None:
            return None
        if self.committed_at is None:
            return (self.began_at if self.ended_at is None else self.ended_at) + timeout_s
        if self.owed_by != "server":
            return None
        return self.committed_at + timeout_s


@attrs.define(eq=False, repr=False)
class TurnRecords(Shown):
    """The turns that are not over, oldest first."""

    playing: list[TurnRecord] = attrs.field(factory=list, init=False)
    """Those of which only the playback is not over."""

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
        for each in reversed(self._open.values()):
            if item_id in each.item_ids and each.part_of is None:
                return each
        return None

    def of_response(self, response_id: str) -> TurnRecord | None:
        """The open turn that this response answers."""
        return next((each for each in self if any(part.id == response_id for part in each.responses)), None)

    @property
    def ended_by_app(self) -> list[TurnRecord]:
        """Turns whose commit by the app is on its way, in the order of those."""
        ended = [each for each in self._open.values() if each.commit_id is not None and each.part_of is None]
        return sorted(ended, key=lambda each: each.place) if len(ended) > 1 else ended

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
        waiting = [each for each in self._open.values() if each.unchecked_since is not None and each.part_of is None]
        return sorted(waiting, key=lambda each: each.unchecked_since or 0.0) if len(waiting) > 1 else waiting

    @property
    def waiting(self) -> list[TurnRecord]:
        """Turns that the next response of the conversation answers."""
        return [each for each in self._open.values() if each.waits_for_answer]

    @property
    def uncommitted(self) -> bool:
        """Whether voice detection has found speech that is no item yet."""
        return any(each.uncommitted and each.why_not is None for each in self)

    @property
    def due(self) -> bool:
        """Whether the server has promised to answer a turn by itself and has not."""
        return any(each.promised for each in self._open.values())

    def deadline(self, timeout_s: float) -> float | None:
        """The time at which an answer that the server owes is overdue. Speech that is never committed has none: it
        ends with the first input after its time is over."""
        times: list[float | None] = []
        for each in self._open.values():
            if each.committed_at is not None and each.part_of is None:
                times.append(each.deadline(timeout_s))
                if each.ask_at is not None and each.waits_for_answer:
                    times.append(each.ask_at)
        return min([at for at in times if at is not None], default=None)


def _earlier(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _later(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)
