"""Reconnecting: when another connection is dialled, how often, and when the session counts as lost.

Theory of operation
1. A *loss* is the end of a connection that neither side meant. Whether another one is dialled stands in the policy's
   `retry_on`: close codes and "network" for the end of a connection, HTTP statuses for a handshake that is refused.
2. Attempts wait: `base_delay_s`, doubled with each, up to `max_delay_s`, with jitter from the session's random source;
   a server that says ``Retry-After`` is taken at its word. The attempts of one loss end after `max_attempts`, and after
   `give_up_after_s` in any case. Then the session is lost, and the error has every attempt in its notes.
3. A connection counts as open when the server has acknowledged the settings. One that ends before that, or that does
   not acknowledge them in time, is a failed attempt of the same loss.
4. While the connection is away nothing is sent: `Link.pending` keeps what would have been, in order.
5. That holds from the first connection on: one that is lost before the settings are acknowledged is a loss, and a
   handshake that a busy server refuses counts as one, and so do first settings that it refuses for its own sake. But
   where no HTTP answer comes, there may be no server at all, and entering fails at once.
6. `in_flight` and `replay` have what a new connection gets.
"""

# ruff: noqa: RUF009  # `setting` makes an attrs field, as `attrs.field` does
from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from trealtime._core.effects import Dial, DropConnection, GiveUp
from trealtime._core.ids import Recent
from trealtime._core.replay import Replay, ReplayBounds, make_replay
from trealtime._core.successor import Expiry, Successor
from trealtime._core.told import ToldItems
from trealtime._value import Shown, Value
from trealtime.events import RealtimeReconnected, RealtimeReconnecting
from trealtime.items import RealtimeItem
from trealtime.metrics import ConnectionCounters
from trealtime.protocol.validation import WrongValue, setting

if TYPE_CHECKING:
    from trealtime._core.requests import Sent
    from trealtime._core.state import State

__all__ = [
    "Link",
    "ReconnectPolicy",
    "Summarise",
    "dial_again",
    "dial_failed",
    "expire_link",
    "reopened",
    "retell_item",
    "set_aside",
]

Summarise = Callable[[Sequence[RealtimeItem]], str | Awaitable[str | None] | None]
"""Makes a summary of the oldest items of a conversation; sync or async."""

_NOTHING_TOLD: Final = Replay()

_DEFAULT_RETRY: Final = ("network", "5xx", 429, 1001, 1006, 1011, 1012, 1013)
_ALLOWED_RETRY: Final = '"network", "5xx", HTTP statuses from 400 to 599, and close codes from 1000 to 4999'


def _read_retry(value: object) -> tuple[int | str, ...]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence | frozenset | set):
        raise WrongValue(f"a sequence of {_ALLOWED_RETRY}")
    for each in value:
        code = isinstance(each, int) and not isinstance(each, bool) and (400 <= each <= 599 or 1000 <= each <= 4999)
        if each not in ("network", "5xx") and not code:
            raise WrongValue(f"{_ALLOWED_RETRY}; not {each!r}")
    return tuple(value)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ReconnectPolicy(Value):
    """When a session dials again, and what becomes of what was under way. Times are seconds."""

    max_attempts: int | None = setting(default=None, at_least=1)
    """Attempts for one loss. None: as many as fit into `give_up_after_s`."""

    give_up_after_s: float = setting(default=60.0, at_least=0)
    """How long after a loss the last attempt may begin."""

    max_reconnects: int = setting(default=50, at_least=0)
    """Losses of one session that are made good. The next one ends it."""

    base_delay_s: float = setting(default=0.25, at_least=0)
    """The wait before the first attempt; it doubles with each, and a random half of it is taken off."""

    max_delay_s: float = setting(default=10.0, at_least=0)
    """The longest wait, unless the server asks for a longer one (``Retry-After``)."""

    retry_on: Sequence[int | str] = setting(default=_DEFAULT_RETRY, read=_read_retry)
    """The ends of a connection and the failures of an attempt after which another one is dialled: close codes,
    ``"network"`` (no close frame, no route, no answer), HTTP statuses, ``"5xx"`` for all from 500 to 599. A quota that
    is used up is never retried."""

    on_cut: Literal["continue", "drop"] = setting(default="continue")
    """What becomes of an answer that was being made: ``"continue"`` asks the model to go on from where it was cut,
    ``"drop"`` leaves it there."""

    resend_buffer_s: float = setting(default=60.0, at_least=0)
    """The user's audio that is kept to be sent again: that of the turn under way, and of turns whose words are not
    known yet."""

    rollover_margin_s: float | None = setting(default=120.0, at_least=0)
    """How long before the server's limit of a session's duration another connection is opened beside the first. None:
    the session runs into the limit, which then is a loss."""

    max_history_items: int | None = setting(default=None, at_least=0)
    """Items that another connection is told. Older turns are folded."""

    max_history_tokens: int | None = setting(default=16_000, at_least=0)
    """The same in tokens, by an estimate of four characters each. None: no bound."""

    summarise: Summarise | None = setting(default=None)
    """Makes the summary that stands for folded turns; sync or async. None: they are left out."""

    summarise_timeout_s: float = setting(default=5.0, at_least=0)
    """How long that may take. Past it, the folded turns are left out."""

    @property
    def bounds(self) -> ReplayBounds:
        """The most that another connection is told."""
        return ReplayBounds(max_items=self.max_history_items, max_tokens=self.max_history_tokens)

    def retries_end(self, code: int, closed_by: str) -> bool:
        """Whether a connection that ended like this is replaced."""
        return code in self.retry_on or (closed_by == "network" and "network" in self.retry_on)

    def retries_refusal(self, status: int | None, body: str) -> bool:
        """Whether an attempt that failed like this is followed by another; `status` None: no HTTP answer came."""
        if status is None:
            return "network" in self.retry_on
        if "insufficient_quota" in body:
            return False
        return status in self.retry_on or (500 <= status <= 599 and "5xx" in self.retry_on)


@attrs.define(eq=False, repr=False)
class Link(Shown):
    """The connection, as far as the rules go: whether there is one, and what it has been told."""

    policy: ReconnectPolicy | None = None
    ready_timeout_s: float = 10.0
    attached: bool = False
    """It leads to a phone call that the server carries, which goes on without it."""

    status: Literal["open", "away", "opening"] = attrs.field(default="open", init=False)
    """``"opening"``: everything has been told, and the settings are not acknowledged."""

    pending: list[tuple[str, Sent]] = attrs.field(factory=list, init=False)
    """Requests that wait for another connection, with their event ids, in order."""

    settings: Mapping[str, Any] | None = attrs.field(default=None, init=False)
    """What the server has acknowledged of our settings, all updates in one; None: it was never sent any."""

    created: Mapping[str, Any] | None = attrs.field(default=None, init=False)
    """The session as a new connection began, until our settings are acknowledged."""

    opening_id: str | None = attrs.field(default=None, init=False)
    """The event id of the first update of a new connection."""

    attempt: int = attrs.field(default=0, init=False)
    attempts: list[str] = attrs.field(factory=list, init=False)
    """What became of the attempts of this loss."""

    lost_at: float | None = attrs.field(default=None, init=False)
    ready_by: float | None = attrs.field(default=None, init=False)
    response: Literal["continued", "dropped"] | None = attrs.field(default=None, init=False)
    """What became of the answer that was cut."""

    unread: int = attrs.field(default=0, init=False)
    """The tokens of what it was told, until a response has read that."""

    replay: Replay = attrs.field(default=_NOTHING_TOLD, init=False)
    told: ToldItems = attrs.field(factory=ToldItems, init=False)
    """Items that this connection was told by us."""

    retold_place: int = attrs.field(default=-1, init=False)
    """The place of the last item that went again, in the order of the requests for responses."""

    _replaced: dict[str, None] = attrs.field(factory=dict, init=False)
    """Items that were deleted to be told anew."""

    places: Recent[str, str] = attrs.field(factory=partial(Recent, 256), init=False)
    """By item of the app, the one that it was to follow, where a connection was not told that one."""

    audio_ms: float = attrs.field(default=0.0, init=False)
    _dropped_before: int = attrs.field(default=0, init=False)
    dropped_ms: float = attrs.field(default=0.0, init=False)

    expiry: Expiry = attrs.field(factory=Expiry, init=False)
    """When the server ends the connection."""

    successor: Successor | None = attrs.field(default=None, init=False)
    """The connection that is to follow it."""

    losses: int = attrs.field(default=0, init=False)
    dials: int = attrs.field(default=0, init=False)
    reconnects: int = attrs.field(default=0, init=False)
    rollovers: int = attrs.field(default=0, init=False)
    outage_s: float = attrs.field(default=0.0, init=False)
    items_replayed: int = attrs.field(default=0, init=False)
    items_refused: int = attrs.field(default=0, init=False)
    audio_resent_s: float = attrs.field(default=0.0, init=False)
    audio_dropped_s: float = attrs.field(default=0.0, init=False)
    replayed_tokens: int = attrs.field(default=0, init=False)

    # ---- what is true ----------------------------------------------------------------------------------------------

    @property
    def away(self) -> bool:
        """Whether there is no connection to send on."""
        return self.status == "away"

    @property
    def recovering(self) -> bool:
        """Whether a loss is not made good yet."""
        return self.status != "open"

    def recovers(self, code: int, closed_by: str) -> bool:
        """Whether a session whose connection ends like this goes on."""
        policy = self.policy
        if policy is None:
            return False
        if self.recovering:  # a failed attempt of the loss under way
            return True
        return self.reconnects < policy.max_reconnects and policy.retries_end(code, closed_by)

    @property
    def deadline(self) -> float | None:
        """The time at which a new connection should have acknowledged the settings."""
        return self.ready_by if self.status == "opening" else None

    def local(self, item_id: str | None, *, present: Container[str] = ()) -> str | None:
        """The item of our history after which one comes that the server tells of, after this item of its own.
        `present`: see `ToldItems.last_after`."""
        if item_id is None:
            return None
        item_id = self.told.last_after(item_id, present=present) or item_id
        return self.replay.stands_for.get(item_id, item_id)

    # ---- what happens ----------------------------------------------------------------------------------------------

    def use(self, session: Mapping[str, Any]) -> None:
        """The server has acknowledged these settings, all in one."""
        self.settings = session

    def hold(self, event_id: str, sent: Sent) -> None:
        """Keep a request until there is a connection."""
        self.pending.append((event_id, sent))

    def take_pending(self) -> list[tuple[str, Sent]]:
        """Take out what waits, in order."""
        pending, self.pending = self.pending, []
        return pending

    def drain(self) -> list[str]:
        """The session ends: return the replies that wait for another connection."""
        self.ready_by = self.successor = None
        self.expiry = Expiry()
        return [sent.reply_id for _, sent in self.take_pending() if sent.reply_id is not None]

    def lose(self, now: float) -> bool:
        """The connection has gone. Return whether it had been open."""
        was_open, self.status = self.status == "open", "away"
        self.ready_by = self.opening_id = self.created = None
        self._forget_told()
        if was_open:
            self.losses += 1
            self._count_from(now)
        return was_open

    def begin_away(self, now: float) -> None:
        """There is no first connection yet, and it is dialled again."""
        self.status = "away"
        self._count_from(now)

    def begin_anew(self, now: float) -> None:
        """The server is there, and does not take the first settings for now: a loss, whose attempts begin."""
        self.status = "opening"
        self._count_from(now)

    def _count_from(self, now: float) -> None:
        self.lost_at, self.attempt = now, 0
        self.attempts, self.response = [], None

    def expect_end(self, expiry: Expiry) -> None:
        """There is a connection: so it will end."""
        self.expiry = expiry

    def succeed_with(self, successor: Successor | None) -> None:
        """Another connection is to follow this one; None: none is any more."""
        self.successor = successor

    def leave_for_successor(self) -> None:
        """The connection is left: what is sent now waits for its successor."""
        self.status = "away"
        self.response = None
        self._forget_told()

    def take_successor(self, successor: Successor) -> None:
        """The successor is the connection."""
        self.status, self.successor, self.expiry = "open", None, successor.expiry
        self.lost_at = None
        self.audio_ms = self.dropped_ms = 0.0
        self.tell(successor.replay)
        self.told = successor.told
        self.told.mend()
        self.rollovers += 1

    def _forget_told(self) -> None:
        self.told, self.replay, self._replaced = ToldItems(), _NOTHING_TOLD, {}

    def cut(self, became: Literal["continued", "dropped"]) -> None:
        """An answer was being made."""
        self.response = became

    def dial(self) -> int:
        """Return the number of the attempt that begins."""
        self.attempt += 1
        self.dials += 1
        return self.attempt

    def note_failure(self, text: str) -> None:
        """Note why an attempt has failed."""
        self.attempts.append(f"attempt {self.attempt}: {text}")

    def begin(self, now: float) -> None:
        """There is a connection again, and it is being told everything."""
        self.status, self.ready_by = "opening", now + self.ready_timeout_s
        self.audio_ms = self.dropped_ms = 0.0

    def wait_no_longer(self) -> None:
        """It has not acknowledged the settings in time."""
        self.ready_by = None

    def open_with(self, event_id: str | None) -> None:
        """Its first update leaves under this id; None: there is none."""
        self.opening_id = event_id

    def tell(self, replay: Replay) -> None:
        """It is told these items."""
        self.replay = replay
        self.unread = replay.tokens
        self.items_replayed += len(replay.items)
        self.replayed_tokens += replay.tokens

    def take_unread(self) -> int:
        """A response has read the conversation; return the tokens of what was told before it, once."""
        unread, self.unread = self.unread, 0
        return unread

    def retold(self, replay: Replay) -> None:
        """It knows these items now."""
        self.replay = replay

    def keep_place(self, item_id: str, previous_item_id: str) -> None:
        """An item of the app leaves that was to follow one which the server is not told."""
        self.places[item_id] = previous_item_id

    def replace(self, item_id: str) -> None:
        """It is deleted, and told anew."""
        self._replaced[item_id] = None

    def was_replaced(self, item_id: str) -> bool:
        """Whether this connection was made to delete the item, to tell it anew."""
        return item_id in self._replaced

    def creates(self) -> list[Sent]:
        """The items that wait."""
        return [sent for _, sent in self.pending if sent.type == "conversation.item.create"]

    def refuse(self, item_id: str, *, passing: bool, place: int) -> bool:
        """The server has not taken an item; return whether it goes again, with this place in the order of the requests.
        `passing`: the item is not the reason."""
        again = self.told.refuse(item_id, passing=passing)
        if again:
            self.retold_place = place
        else:
            self.count_refused()
        return again

    def count_refused(self) -> None:
        """An item was refused for good."""
        self.items_refused += 1

    def resend(self, audio_ms: float) -> None:
        """Audio of the user is sent again."""
        self.audio_ms += audio_ms
        self.audio_resent_s += audio_ms / 1000

    def count_dropped(self, dropped_bytes: int, ms_of: Callable[[int], float]) -> None:
        """So much audio has been dropped so far."""
        self.dropped_ms = ms_of(dropped_bytes - self._dropped_before)
        self.audio_dropped_s += self.dropped_ms / 1000
        self._dropped_before = dropped_bytes

    def show(self, created: Mapping[str, Any]) -> None:
        """A new connection has shown its session as it began."""
        self.created = created

    def reopen(self, now: float) -> float:
        """The loss is made good; return how long it took."""
        outage_s = now - self.lost_at if self.lost_at is not None else 0.0
        self.status, self.lost_at, self.ready_by, self.created = "open", None, None, None
        self.opening_id = None
        self.reconnects += self.losses > self.reconnects  # not where the first connection was refused before
        self.outage_s += outage_s
        return outage_s

    def counters(self) -> ConnectionCounters:
        """Numbers for `session.statistics()`."""
        return ConnectionCounters(
            losses=self.losses,
            attempts=self.dials,
            reconnects=self.reconnects,
            rollovers=self.rollovers,
            outage_s=self.outage_s,
            items_replayed=self.items_replayed,
            items_refused=self.items_refused,
            audio_resent_s=self.audio_resent_s,
            audio_dropped_s=self.audio_dropped_s,
            replayed_tokens=self.replayed_tokens,
        )


# ---- a loss ---------------------------------------------------------------------------------------------------------


def dial_failed(
    state: State, now: float, *, why: str, status: int | None, body: str, retry_after_s: float | None, final: bool
) -> None:
    """See `Conversation.dial_failed`."""
    link = state.link
    assert link.policy is not None
    link.note_failure(why)
    if final or not link.policy.retries_refusal(status, body):
        state.do(GiveUp(tuple(link.attempts)))
    else:
        dial_again(state, now, at_least_s=retry_after_s if status in (429, 503) else None)


def dial_again(state: State, now: float, *, at_least_s: float | None = None) -> None:
    """Have another connection dialled, unless that was tried often enough."""
    link = state.link
    policy = link.policy
    assert policy is not None
    assert link.lost_at is not None
    until = link.lost_at + policy.give_up_after_s
    delay_s = max(_backoff(state, policy, link.attempt), at_least_s or 0.0)
    enough = policy.max_attempts is not None and link.attempt >= policy.max_attempts
    if enough or now + delay_s > until:
        state.do(GiveUp(tuple(link.attempts)))
        return
    attempt = link.dial()
    state.emit(RealtimeReconnecting(attempt=attempt, delay_s=delay_s, info=state.info))
    state.do(Dial(attempt, delay_s, until))


def _backoff(state: State, policy: ReconnectPolicy, made: int) -> float:
    """The wait before the next attempt: half of it is random, so that callers who were cut off together do not come
    back together."""
    longest_s = min(policy.max_delay_s, policy.base_delay_s * 2.0 ** min(made, 60))
    return longest_s * (0.5 + state.ids.rng.random() / 2)


def expire_link(state: State, now: float) -> bool:
    """Give up a new connection that does not acknowledge the settings in time; return whether there was one."""
    link = state.link
    if link.deadline is None or link.deadline > now:
        return False
    link.wait_no_longer()
    state.do(DropConnection(f"the settings were not acknowledged within {link.ready_timeout_s:g} s"))
    return True


def reopened(state: State, now: float) -> None:
    """The server has acknowledged the settings on a new connection: the loss is made good."""
    link = state.link
    outage_s = link.reopen(now)
    state.emit(
        RealtimeReconnected(
            outage_ms=outage_s * 1000,
            items=len(link.replay.items),
            items_left_out=link.replay.left_out,
            audio_ms=link.audio_ms,
            audio_dropped_ms=link.dropped_ms,
            response=link.response,
            info=state.info,
        )
    )


_OF_THE_CONNECTION: Final = frozenset(
    {"response.cancel", "response.create", "input_audio_buffer.clear", "output_audio_buffer.clear"}
)
"""Requests that mean nothing to another connection. The response queue sends those for a response again by itself."""


def set_aside(state: State, event_id: str, sent: Sent) -> None:
    """A request has no connection to go to, or was lost with one: keep it for the next, unless that is told anyway."""
    if sent.own and sent.type != "input_audio_buffer.commit":  # the next is told it anyway, or need not know
        state.settle(sent.reply_id)
    elif sent.type == "conversation.item.truncate":
        index, end_ms = sent.event["content_index"], sent.event["audio_end_ms"]
        received_ms = state.ledger.received_ms(sent.subject, index)
        if state.history.cut(sent.subject, index, end_ms, received_ms):
            state.emit_history("updated", sent.subject)
        state.settle(sent.reply_id)
    elif sent.type not in _OF_THE_CONNECTION:
        state.link.hold(event_id, sent)


def retell_item(state: State, item_id: str) -> None:
    """An item that was told as text has been cut where it played: tell it anew, as the user heard it."""
    link = state.link
    if link.away:  # the next connection is told so at once
        return
    entry = next((each for each in state.history.entries() if each.item.item_id == item_id), None)
    asked = state.requests.oldest("conversation.item.delete", item_id)
    if entry is None or (asked is not None and not asked.own):  # the app has deleted it while it played
        return
    # What passed its first telling, if that has not left yet, would have the item come twice.
    urgent = state.requests.oldest("conversation.item.create", item_id) is None
    link.replace(item_id)
    state.send({"type": "conversation.item.delete", "item_id": item_id}, own=True, urgent=urgent)
    for item in make_replay([entry]).items:
        before = link.told.place_of(item_id)
        event = {"type": "conversation.item.create", "previous_item_id": before or "root", "item": item}
        state.send(event, own=True, urgent=urgent)
