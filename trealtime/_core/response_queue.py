"""The response queue: one response at a time in the default conversation, and no request for one ever lost.

Theory of operation
1. A request is *queued*, then *sent* (``response.create`` is on its way), then *answered* (``response.created`` has
   come).
2. In the default conversation a request is sent only when no response lives there and no other request is on its way.
3. Automatic requests for the same thing that wait next to each other go as one; every other request keeps to itself
   and its place.
4. Out-of-band requests (``conversation: "none"``) wait for nothing.
5. A response answers the request whose key its metadata carries. A server that has echoed our key once always
   does, so without the key the response is its own (its voice detection made it). A server that has not shown that yet
   is taken to answer the oldest request on its way, unless a turn of the user is due an answer of the server's own;
   once it shows a key, that guess was wrong and is taken back: for an out-of-band request, when its own key comes.
   Where ``response.created`` is lost, the first output of a response tells no key: it is taken to answer the only
   request on its way, unless a turn of the user is due an answer, until an event with its metadata shows otherwise.
6. A request that collides with a response of the server's goes back to the head of the queue and is sent again: after
   that response is done, or, where none is known, after a pause that doubles each time. That holds also when the
   refusal comes late and shows that rule 5 had guessed wrong. So does an automatic one that the server refuses for its
   own sake (`server_errors`), after pauses that double.
7. Automatic requests stay while it is the user's turn (`turns`); others pass them. Where the app says whose turn it
   is, one by hand without params is its answer to that turn, and to the automatic ones that wait for its end.
8. A request that was interrupted on its way still takes its ``response.created``, and that response is interrupted as
   soon as it begins. So is one for a request that was given up and whose key comes back after all: its callers know
   already that there is no answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import attrs

from trealtime._core.effects import ResponseResult
from trealtime._core.ids import Recent
from trealtime._value import Shown
from trealtime.events import RealtimeError

if TYPE_CHECKING:
    from trealtime._core.state import State
    from trealtime._core.turn_records import TurnRecord, WhyNot
    from trealtime.tools.function_tool import FunctionTool

__all__ = ["METADATA_KEY", "PASSING_AGAIN", "Request", "ResponseQueue"]


METADATA_KEY: Final = "trealtime_request"
"""Our ``response.create`` carries its request's key here; servers echo metadata in every response object."""

COLLISION_AGAIN: Final = (0.2, 8)
PASSING_AGAIN: Final = (1.0, 3)
"""The first pause in seconds, and how often a request goes again: after 7 s a user who waits has given up."""


@attrs.define(eq=False, repr=False)
class Request(Shown):
    """One request for a response. `reply_ids` are those of the callers who wait for it."""

    key: str
    params: Mapping[str, Any] | None = None
    automatic: bool = False
    about: int = 0
    """Of an automatic request: the number of the last item that it wants answered (`turns.SentItems`); 0: unknown."""

    reply_ids: list[str] = attrs.Factory(list)
    event_id: str | None = None
    tools: Sequence[FunctionTool | Mapping[str, Any]] = ()
    """Those that `params` offers, as they can be run."""

    interrupted: bool = False
    """No caller wants it any more: its response is cancelled as soon as it is created."""

    answered: bool = False
    """A response has been taken for its answer."""

    sent_at: float | None = None
    place: int = 0
    """In the order of sending."""

    refusals: int = 0  # after which it has gone back into the queue
    answers: TurnRecord | None = None
    """The turn of the user that it answers, where that is being checked."""

    record: TurnRecord | None = None
    """The turn of whose answer its response is (`turn_records`)."""

    item: Mapping[str, Any] | None = None
    """A message that leaves just before it."""

    recovery: int = 0
    """The number of guardrail trips in a row that led to it. 0: it is an ordinary request."""

    shared: bool = False
    """It answers other requests as well."""

    turn: bool = False
    """It is the answer to a spoken turn: a response that the server makes by itself after it answers that turn."""

    of_input: bool = False
    """Its message is about something that the user said: a newer response does not make it pointless."""

    for_app: bool = attrs.Factory(lambda self: not self.reply_ids, takes_self=True)
    """It is wanted also if none of the callers waits for it any more."""

    rounds: int = 0
    """The number of responses of this turn that have called functions before it."""

    continues: str | None = None
    """It asks for the rest of this response, which was cut by the loss of its connection."""

    reconnected: bool = False
    """It has outlived a connection."""

    @property
    def out_of_band(self) -> bool:
        """Whether the response stays outside the default conversation."""
        return self.params is not None and self.params.get("conversation") == "none"

    @property
    def plain(self) -> bool:
        """Whether it asks for nothing but the session's ordinary answer."""
        return self.params is None and self.item is None and not self.recovery

    @property
    def wanted_by_app(self) -> bool:
        """Whether the app wants it apart from the callers who wait for it, and apart from a spoken turn."""
        return self.for_app and (not self.automatic or self.about > 0)

    def take_item(self) -> Mapping[str, Any] | None:
        """Return the message that leaves just before it, which goes once."""
        item, self.item = self.item, None
        return item

    def go_with(self, item: Mapping[str, Any]) -> None:
        """Let this message leave just before it."""
        self.item = item

    def forget_recovery(self) -> None:
        """A recovery message comes too late: it is there for the other requests alone."""
        self.item, self.recovery = None, 0

    def belong(self, record: TurnRecord) -> None:
        """Its response is of the answer to this turn."""
        self.record = record
        record.ask()

    def sent_as(self, event_id: str) -> None:
        """It is on its way under this id."""
        self.event_id = event_id

    def answer(self) -> None:
        """A response has been taken for its answer."""
        self.answered = True

    def reopen(self, reply_ids: list[str]) -> None:
        """That response was not its answer after all: these callers wait for it again."""
        self.answered, self.reply_ids = False, reply_ids

    def lose(self, reply_id: str) -> None:
        """This caller waits for something else now."""
        if reply_id in self.reply_ids:
            self.reply_ids.remove(reply_id)

    def abandon(self) -> None:
        """Forget the callers: they know already that there is no answer."""
        self.interrupted, self.reply_ids = True, []

    def stop(self, state: State) -> None:
        """No caller gets an answer: it was interrupted."""
        self.interrupted = True
        self.fail(state, RuntimeError("interrupted"))

    def outlive(self) -> None:
        """The connection on which it was made, or waited, is lost."""
        self.reconnected, self.sent_at = True, None

    def fail(self, state: State, error: Exception) -> None:
        """Settle its callers without a response; if it has none, tell the app."""
        if self.interrupted:
            result = ResponseResult(response_id=None, status="cancelled", reason="client_cancelled")
            reason = None
        else:
            reason = getattr(error, "code", None)
            result = ResponseResult(response_id=None, status="failed", reason=reason, error=error)
            if not self.reply_ids:
                state.emit(RealtimeError(error=error, info=state.info))
        for reply_id in self.reply_ids:
            state.settle(reply_id, result)
        if self.record is not None:
            why_not: WhyNot = "no_answer" if reason == "no_answer" else "refused"
            self.record.current.end("cancelled" if self.interrupted else why_not)

    def goes_with(self, other: Request) -> bool:
        """Whether one response answers both."""
        return self.automatic and other.automatic and self.params == other.params and other.item is None

    def take_in(self, other: Request) -> None:
        """Answer `other` as well."""
        known = all(each.about or each.turn for each in (self, other))
        self.about = max(self.about, other.about) if known else 0
        self.turn, self.for_app = self.turn and other.turn, self.for_app or other.for_app
        self.shared = True
        self.reply_ids += other.reply_ids
        self.reconnected = self.reconnected or other.reconnected
        if self.record is None or self.record.current.over:
            self.record = other.record
        elif other.record is not None:
            self.record.current.take_in(other.record.current)


@attrs.define(eq=False, repr=False)
class ResponseQueue(Shown):
    """See the module's theory of operation. It decides; the conversation sends what `next` gives."""

    _queue: list[Request] = attrs.field(factory=list, init=False)
    _sent: Request | None = attrs.field(default=None, init=False)
    _places: Iterator[int] = attrs.field(factory=count, init=False)
    _sent_out_of_band: dict[str, Request] = attrs.field(factory=dict, init=False)
    _given_up: Recent[str, Request] = attrs.field(factory=partial(Recent, 16), init=False)
    """By key."""

    _live: frozenset[str] = attrs.field(default=frozenset(), init=False)
    """Responses in the default conversation that have been created and are not done."""

    _echoes: bool = attrs.field(default=False, init=False)
    _guessed: Request | None = attrs.field(default=None, init=False)
    """The last request that was taken as answered without its key."""

    _guessed_outside: Recent[str, Request] = attrs.field(factory=partial(Recent, 16), init=False)
    """By key: out-of-band requests that were taken as answered without it."""

    _blocked_until: float | None = attrs.field(default=None, init=False)

    _held: bool = attrs.field(default=False, init=False)
    """Something in the conversation must not be answered yet: send no request there."""

    _quiet_until: float | None = attrs.field(default=None, init=False)
    """Automatic requests stay until then, unless `speak` comes before."""

    _user_until: float | None = attrs.field(default=None, init=False)
    """The same, as the app says."""

    # ---- waiting ---------------------------------------------------------------------------------------------------

    def keep_quiet(self, until: float | None) -> None:
        """Keep automatic requests back until then, or until `speak`."""
        self._quiet_until = until

    def speak(self) -> None:
        """Let automatic requests go."""
        self._quiet_until = None

    def wait_for_user(self, until: float | None) -> None:
        """Keep automatic requests back until then, because the app sends what the user says; None: no longer."""
        self._user_until = until

    @property
    def quiet_until(self) -> float | None:
        """The time at which automatic requests may go; None: now."""
        return self._quiet_until

    def hold(self, *, held: bool) -> None:
        """Ask for nothing in the default conversation, as long as something in it must not be answered."""
        self._held = held

    # ---- asking ----------------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Take a request in; `next` says when to send it. The rest of an answer that was cut comes first."""
        if request.record is not None:
            request.record.current.ask()
        if request.continues is not None:
            self._queue.insert(0, request)
        else:
            self._queue.append(request)

    def next(self, now: float) -> Request | None:
        """The request to send now, marked as sent; None when there is none or it has to wait. Ask until None."""
        for request in self._queue:
            if request.out_of_band:
                self._queue.remove(request)
                self._sent_out_of_band[request.key] = request
                return self._mark_sent(request, now)
        if self._live or self._sent is not None or self._held:
            return None
        at = next((at for at, each in enumerate(self._queue) if self._due_at(each) <= now), None)
        if at is None:
            return None
        self._blocked_until = None
        request = self._queue[at]
        del self._queue[at]
        if request.plain and not request.automatic and self._user_until is not None and self._user_until > now:
            for passed in self.withdraw(lambda each: each.automatic and each.plain):
                request.take_in(passed)
        while at < len(self._queue) and request.goes_with(self._queue[at]):
            request.take_in(self._queue[at])
            del self._queue[at]
        self._sent = request
        return self._mark_sent(request, now)

    def _due_at(self, request: Request) -> float:
        """The time at which a request of the default conversation may go, if nothing else is in its way."""
        times = (self._blocked_until, *((self._quiet_until, self._user_until) if request.automatic else ()))
        return max((time for time in times if time is not None), default=-math.inf)

    def take_place(self) -> int:
        """Return a place in the order of sending for what is no request."""
        return next(self._places)

    def _mark_sent(self, request: Request, now: float) -> Request:
        request.sent_at = now
        request.place = next(self._places)
        return request

    def pause(self, request: Request, now: float) -> None:
        """The server has failed to make the answer to this request for its own sake: wait a moment before it goes."""
        first_s, _ = PASSING_AGAIN
        self._blocked_until = now + first_s * 2 ** (request.refusals - 1)

    # ---- answers ---------------------------------------------------------------------------------------------------

    def created(
        self,
        response_id: str,
        metadata: Mapping[str, Any] | None,
        *,
        out_of_band: bool | None,
        turn_due: bool = False,
    ) -> Request | None:
        """A response has begun; the request it answers, None for one that the server made by itself.

        `out_of_band` is None where the server does not tell. `turn_due`: the server has promised to answer a turn of
        the user by itself.
        """
        key = metadata.get(METADATA_KEY) if metadata is not None else None
        if isinstance(key, str):
            request = self._take_by_key(key)
        else:
            request = None if turn_due and not out_of_band else self._guess(out_of_band=out_of_band)
        if out_of_band if request is None else request.out_of_band:
            self._live -= {response_id}  # it may have been taken for one of the default conversation
        else:
            self._live |= {response_id}
        return request

    def begun_untold(
        self, response_id: str, metadata: Mapping[str, Any] | None, *, turn_due: bool
    ) -> tuple[bool, Request | None]:
        """A response has begun without its ``response.created``. Return whether it is known what it answers, and the
        request that it answers, None for one that the server made by itself."""
        key = metadata.get(METADATA_KEY) if metadata is not None else None
        on_its_way = self._on_its_way()
        known, request = True, None
        if isinstance(key, str):
            request = self._take_by_key(key)
        elif on_its_way and (not response_id or turn_due or len(on_its_way) > 1 or on_its_way[0].refusals):
            known = False
        elif on_its_way:
            request = self._take_guess(on_its_way[0])
        if request is None or not request.out_of_band:
            self._live |= {response_id}
        return known, request

    def speaks_against(self, metadata: Mapping[str, Any] | None, request: Request) -> bool:
        """Whether the metadata of a response shows that it does not answer this request."""
        key = metadata.get(METADATA_KEY) if metadata is not None else None
        return key != request.key if isinstance(key, str) else self._echoes

    def send_back(self, request: Request) -> None:
        """A response that was taken for the answer to this request is not: it is still on its way."""
        if self._guessed is request:
            self._guessed = None
        self._guessed_outside.pop(request.key, None)
        if request.out_of_band:
            self._sent_out_of_band[request.key] = request
        elif self._sent is None:
            self._sent = request

    def _take_by_key(self, key: str) -> Request | None:
        if not self._echoes:
            self._echoes = True
            self._take_guess_back()
        others = (*self._given_up.values(), *self._guessed_outside.values())
        for request in [*self._on_its_way(), *others, *self._queue]:
            if request.key == key:
                self._drop_sent(request)
                return request
        return None

    def _guess(self, *, out_of_band: bool | None) -> Request | None:
        if self._echoes:
            return None
        likely = [request for request in self._on_its_way() if out_of_band in (None, request.out_of_band)]
        if not likely:
            return None
        return self._take_guess(min(likely, key=lambda request: request.place))

    def _take_guess(self, request: Request) -> Request:
        self._drop_sent(request)
        self._guessed = request
        if request.out_of_band:
            self._guessed_outside[request.key] = request
        return request

    def _take_guess_back(self) -> None:
        """The server shows keys, so a response without one answered nothing: that request is still on its way. Its
        callers have been served by then, so it goes on for none."""
        request, self._guessed = self._guessed, None
        if request is not None and not request.interrupted and not request.out_of_band and self._sent is None:
            request.reply_ids = []
            self._sent = request

    def adopt(self, response_id: str) -> None:
        """A response of the default conversation lives: output of it came before its ``response.created``, or it was
        taken for an out-of-band one."""
        self._live |= {response_id}

    def done(self, response_id: str, metadata: Mapping[str, Any] | None = None) -> Request | None:
        """A response is over. The answer is a request that is still on its way and that this response must have
        answered: its key says so, or, on a server that shows no keys, it took the request's place."""
        key = metadata.get(METADATA_KEY) if metadata is not None else None
        request = self._take_by_key(key) if isinstance(key, str) else None
        if response_id not in self._live:
            return request
        self._live -= {response_id}
        self._blocked_until = None
        took_its_place = not self._echoes and not self._live
        if request is None and took_its_place and self._sent is not None and self._sent.refusals == 0:
            request = self._take_guess(self._sent)
        return request

    def refused(
        self, event_id: str | None, *, collision: bool, passing: bool = False, now: float
    ) -> tuple[Request, bool] | None:
        """The server refused a ``response.create``: the request and whether it will be sent again.

        Without an `event_id` it must be the only one on its way. None: no such request.
        """
        on_its_way = self._on_its_way()
        if event_id is None:
            request = on_its_way[0] if len(on_its_way) == 1 else None
        else:
            request = next((each for each in on_its_way if each.event_id == event_id), None)
        guessed = self._guessed
        late = guessed is not None and guessed.event_id == event_id and not guessed.interrupted
        if request is None and collision and late:
            request = guessed
        if request is None:
            return None
        if request is guessed:
            self._guessed = None
        self._drop_sent(request)
        again = not request.out_of_band if collision else passing and request.automatic
        first_s, limit = COLLISION_AGAIN if collision else PASSING_AGAIN
        if again and not request.interrupted and request.refusals < limit:
            if not collision or not self._live:
                self._blocked_until = now + first_s * 2**request.refusals
            request.refusals += 1
            request.sent_at = None
            self._queue.insert(0, request)
            return request, True
        return request, False

    def open_ids(self, *, collision: bool) -> list[str]:
        """The event ids of requests on their way that an error without an id can be about. An out-of-band request does
        not collide."""
        return [
            request.event_id
            for request in self._on_its_way()
            if request.event_id is not None and not (collision and request.out_of_band)
        ]

    def give_up(self, request: Request) -> None:
        """An error that named nothing was taken for the refusal of this request: remember its key, in case it was
        not."""
        request.abandon()
        self._given_up[request.key] = request

    def withdraw(self, which: Callable[[Request], bool]) -> list[Request]:
        """Take these out of the queue, and return those that were there."""
        gone = [request for request in self._queue if which(request)]
        for request in gone:
            self._queue.remove(request)
        return gone

    # ---- giving up -------------------------------------------------------------------------------------------------

    def kill_sent(self, *, sent_before: int | None = None) -> Request | None:
        """Interrupt the request on its way in the default conversation; None if there is none that is wanted, or none
        that was sent before this place."""
        if self._sent is None or self._sent.interrupted:
            return None
        if sent_before is not None and self._sent.place > sent_before:
            return None
        self._sent.interrupted = True
        return self._sent

    def kill_reply(self, reply_id: str) -> bool:
        """The caller under this reply id has left. Return whether the reply is free to be settled: its request was
        still in the queue, and is not any more, or others wait for it too.

        It is not free where its request is on its way, and interrupted now, or where there is none.
        """
        for request in [*self._queue, *self._on_its_way()]:
            if reply_id not in request.reply_ids or request.interrupted:
                continue
            if len(request.reply_ids) > 1 or request.for_app:
                request.reply_ids.remove(reply_id)
                return True
            request.interrupted = True
            if request in self._queue:
                self._queue.remove(request)
                return True
            return False
        return False

    def expire(self, now: float, timeout_s: float) -> list[Request]:
        """Requests on their way for too long: the server will not answer them any more."""
        # The same sum as for the deadline: a difference may round the other way, and never be due.
        late = [
            request
            for request in self._on_its_way()
            if request.sent_at is not None and request.sent_at + timeout_s <= now
        ]
        for request in late:
            self._drop_sent(request)
            self._given_up[request.key] = request
        return late

    def drain(self) -> list[Request]:
        """The connection has ended: return every request that has no response yet, and begin anew."""
        waiting = [*self._on_its_way(), *self._queue]
        self._queue.clear()
        self._sent = None
        self._sent_out_of_band.clear()
        self._given_up.clear()
        self._guessed_outside.clear()
        self._live = frozenset()
        self._guessed = None
        self._blocked_until = self._quiet_until = self._user_until = None
        return waiting

    def lose(self) -> list[Request]:
        """The connection is lost: requests on their way go again. Return those that nobody wants any more."""
        on_its_way = self._on_its_way()
        self._queue[:0] = [each for each in on_its_way if not each.interrupted]
        for request in self._queue:
            if request.reply_ids or request in on_its_way:
                request.outlive()
        self._sent = self._guessed = self._blocked_until = self._quiet_until = None
        self._sent_out_of_band.clear()
        self._given_up.clear()
        self._guessed_outside.clear()
        self._live = frozenset()
        return [each for each in on_its_way if each.interrupted]

    def follow_items(self, number: int) -> None:
        """Another server knows every item up to this number: the automatic requests are about all of them."""
        for request in self._queue:
            if request.automatic:
                request.about = number

    def _on_its_way(self) -> list[Request]:
        return [*self._sent_out_of_band.values(), *([self._sent] if self._sent is not None else [])]

    def _drop_sent(self, request: Request) -> None:
        if request is self._sent:
            self._sent = None
        if request in self._queue:  # an error that named nothing was taken for its refusal
            self._queue.remove(request)
        self._sent_out_of_band.pop(request.key, None)
        self._given_up.pop(request.key, None)
        self._guessed_outside.pop(request.key, None)

    # ---- questions -------------------------------------------------------------------------------------------------

    def without_turn(self) -> list[Request]:
        """The requests of which no turn is known."""
        return [each for each in (*self._queue, *self._on_its_way()) if each.record is None]

    def holds(self, record: TurnRecord) -> bool:
        """Whether something of the answer to this turn is asked for and has not come."""
        requests = (*self._queue, *self._on_its_way())
        return any(each.record is not None and each.record.current is record for each in requests)

    @property
    def busy(self) -> bool:
        """Whether a response lives in the default conversation or anything is asked for."""
        return bool(self._live or self._sent or self._sent_out_of_band or self._queue)

    @property
    def sent_alive(self) -> bool:
        """Whether a request of the default conversation is on its way and wanted."""
        return self._sent is not None and not self._sent.interrupted

    @property
    def asked(self) -> bool:
        """Whether another turn of the conversation is asked for already."""
        return self._sent is not None or bool(self._queue)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    @property
    def due_at(self) -> float | None:
        """The time to ask `next` again, if nothing happens before."""
        if self._live or self._sent is not None or self._held:
            return None
        return min(map(self._due_at, self._queue), default=None)

    @property
    def oldest_sent_at(self) -> float | None:
        """The time at which the oldest request on its way was sent."""
        if self._sent is None and not self._sent_out_of_band:
            return None
        times = [request.sent_at for request in self._on_its_way() if request.sent_at is not None]
        return min(times, default=None)
