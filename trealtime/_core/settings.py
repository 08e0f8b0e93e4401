"""The settings of the session: updates, their acknowledgements, and our own reasons to change turn detection.

Theory of operation
1. The server acknowledges updates in the order in which it got them, and shows the whole session. A change holds when
   it is acknowledged, and not before: a refusal changes nothing. Acknowledgements name no update, so they are matched
   by order and by content: where one is lost, the next says so. An update that is not acknowledged in time has failed;
   where the server shows later that it has made it all the same, it holds from then on. Where the answer to a later one
   shows that a new connection has none of the settings that it was told first, another one is dialled.
2. If a turn has to be checked before it is answered (input guardrails, a `BargeIn`), we tell the server not to answer
   by itself: ``create_response`` false. We then ask for the answers that it would have made.
3. If speech may turn out to be no interruption (a `BargeIn`, an uninterruptible scope), we tell the server not to
   cancel by itself: ``interrupt_response`` false.
4. We remember the app's own settings of turns, and send them again when the reason is gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from trealtime._core.effects import DropConnection, MakeLate
from trealtime._core.interruption import BargeIn, BargeInPolicy, speech_thrown_away
from trealtime._core.reconnection import reopened
from trealtime._value import Shown, Value
from trealtime.audio.formats import PCM16_24K, AudioFormat, parse_audio_format
from trealtime.errors import AudioFormatError
from trealtime.events import RealtimeHistoryUpdated, RealtimeSettingsMismatch, SettingsDifference
from trealtime.protocol.acknowledgement import session_differences
from trealtime.protocol.settings import deep_merge, sharing

if TYPE_CHECKING:
    from trealtime._core.handoffs import AgentSwitch
    from trealtime._core.state import State
    from trealtime._core.tool_calls import ToolOffer
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.protocol import server_events as wire

__all__ = [
    "OpenUpdates",
    "Opening",
    "RequestedTurns",
    "SettingsUpdate",
    "TurnSettings",
    "acknowledge",
    "detection_of",
    "gate_switch",
    "keep_server_told",
    "open_session",
    "send_update",
    "session_created",
    "session_updated",
    "setting_in",
    "settle_update",
    "update_refused",
    "turns_are_ours",
]


@attrs.define(eq=False, repr=False)
class Opening(Shown):
    """The wait for a session that is ready: created, and our settings acknowledged."""

    reply_id: str
    session: Mapping[str, Any] | None = None
    """Our settings; None: the server is sent none."""

    acknowledged: bool = False


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RequestedTurns(Value):
    """The server's own moves, as the app's settings want them."""

    answers: bool = True
    interrupts: bool = True


@attrs.define(eq=False, repr=False)
class TurnSettings(Shown):
    """The reasons to tell the server other things about turns than the app wants."""

    checked: bool = False
    """Input of the user is checked before anything answers it."""

    uninterruptible: int = attrs.field(default=0, init=False)
    """Scopes in which speech interrupts nothing."""

    override: BargeInPolicy | None = attrs.field(default=None, init=False)
    """The policy of an endpoint, while it is attached."""

    requested: RequestedTurns = attrs.field(factory=RequestedTurns, init=False)

    def begin_uninterruptible(self) -> None:
        """One more scope in which speech interrupts nothing."""
        self.uninterruptible += 1

    def end_uninterruptible(self) -> None:
        """One less."""
        self.uninterruptible -= 1

    def use(self, policy: BargeInPolicy | None) -> None:
        """An endpoint brings its policy, or takes it away."""
        self.override = policy

    def check(self) -> None:
        """Check the input of the user before anything answers it, from now on."""
        self.checked = True

    def request(self, requested: RequestedTurns) -> None:
        """The server has acknowledged the app's settings of turns."""
        self.requested = requested


@attrs.define(kw_only=True, eq=False, repr=False)
class SettingsUpdate(Shown):
    """A ``session.update`` on its way."""

    event_id: str
    session: Mapping[str, Any]
    reply_id: str | None = None
    opening: bool = False
    """It is the first one: the caller waits for the whole opening."""

    switch: AgentSwitch | None = None
    """The agent that is in charge once it is acknowledged."""

    offer: ToolOffer | None = None
    """The tools of the model from then on."""

    requested: RequestedTurns | None = None
    """The app's settings of turns, if this update has any."""

    deadline: float | None = attrs.field(default=None, init=False)
    """Set when the input that sent it has ended."""

    ignored: bool = attrs.field(default=False, init=False)
    """An acknowledgement has come since that shows the session as it was: a doubled one, or the server ignores this."""

    late: bool = attrs.field(default=False, init=False)
    """Its deadline has passed: its caller was told that it has failed."""

    withdrawn: bool = attrs.field(default=False, init=False)
    """Another update that takes it back has been sent."""

    def be_late(self) -> None:
        """Its deadline has passed."""
        self.late = True

    def withdraw(self) -> None:
        """Another update takes it back."""
        self.withdrawn = True


_KEPT_LOST: Final = 8


@attrs.define(eq=False, repr=False)
class OpenUpdates(Shown):
    """The updates on their way, in the order of sending."""

    _updates: list[SettingsUpdate] = attrs.field(factory=list, init=False)
    _lost: list[SettingsUpdate] = attrs.field(factory=list, init=False)
    """Those whose deadline has passed: an acknowledgement of one may still come."""

    def __len__(self) -> int:
        return len(self._updates)

    def add(self, update: SettingsUpdate) -> None:
        """An update leaves."""
        self._updates.append(update)

    def set_deadlines(self, deadline: float) -> None:
        """The input that sent the new ones has ended. The first of the session has no deadline of its own: the opening
        has one."""
        for update in self._updates:
            if update.deadline is None and not update.opening:
                update.deadline = deadline

    @property
    def deadline(self) -> float | None:
        """The time at which the oldest is overdue."""
        if not self._updates:
            return None
        return min([each.deadline for each in self._updates if each.deadline is not None], default=None)

    def expire(self, now: float) -> list[SettingsUpdate]:
        """Take out those whose time is over."""
        late = [update for update in self._updates if update.deadline is not None and update.deadline <= now]
        for update in late:
            self._updates.remove(update)
            if not update.ignored:
                update.be_late()
                self._lost.append(update)
        del self._lost[:-_KEPT_LOST]
        return late

    def acknowledged(self, session: Mapping[str, Any], before: Mapping[str, Any]) -> list[SettingsUpdate]:
        """The server has shown the session, which was `before`; return the updates that this acknowledges, in order.

        That is the oldest. But the server takes updates in order: where the session shows what only a later one can
        have changed, the acknowledgements before that one are lost, and those updates are acknowledged as well. So are
        updates whose deadline has passed, where the session now shows what they change. The late answer to one of
        those acknowledges no other, and neither does one that shows nothing new.
        """
        known = [each for each in self._lost if not session_differences(each.session, session)]
        self._lost = [each for each in self._lost if each not in known]
        changed = [] if session == before else [each for each in known if not each.withdrawn]
        late = [each for each in changed if deep_merge(before, each.session) != before]
        if not self._updates:
            return late
        count, expected = 1, before
        for number, update in enumerate(self._updates, start=1):
            shown = not session_differences(update.session, session)
            if number > 1 and shown and session_differences(update.session, expected):
                count = number
            expected = deep_merge(expected, update.session)
        oldest = self._updates[0]
        if count == 1 and session_differences(oldest.session, session):
            if known:
                return late
            if session == before and not oldest.opening:
                oldest.ignored = True
                return []
        self._lost.clear()  # the server takes updates in order
        return [*late, *(self._updates.pop(0) for _ in range(count))]

    def opening_missed(self, session: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
        """Whether the session, which was `before`, has what a later update changes, and nothing that only the first of
        the connection does."""
        if not self.opening_first:
            return False
        opening, *later = self._updates
        if all(session_differences(each.session, session) for each in later):
            return False
        changed = [path for path, _, _ in session_differences(opening.session, before)]
        own = {path for path in changed if not any(_has(each.session, path) for each in later)}
        return bool(own) and own <= {path for path, _, _ in session_differences(opening.session, session)}

    @property
    def opening_first(self) -> bool:
        """Whether the oldest is the first one of a connection."""
        return bool(self._updates) and self._updates[0].opening

    def refused(self, event_id: str) -> SettingsUpdate | None:
        """An error names this event: return the update, None if it is none that is open."""
        update = next((each for each in (*self._updates, *self._lost) if each.event_id == event_id), None)
        if update is not None:
            (self._lost if update.late else self._updates).remove(update)
        return update

    def take_opening(self) -> SettingsUpdate | None:
        """Take out the first update of the session, if it is open."""
        update = next((each for each in self._updates if each.opening), None)
        if update is not None:
            self._updates.remove(update)
        return update

    def next(self) -> list[SettingsUpdate]:
        """Take out the oldest."""
        return [self._updates.pop(0)] if self._updates else []

    def open_ids(self, param: str = "") -> list[str]:
        """The event ids of all. An error about a setting (`param`) is about the oldest that has it, if one has: the
        server answers updates in order."""
        *path, name = param.partition("[")[0].removeprefix("session.").split(".")
        named = [each.event_id for each in self._updates if name in _mapping_in(each.session, *path)]
        return named[:1] if named else [update.event_id for update in self._updates]

    def about_turns(self) -> list[SettingsUpdate]:
        """The updates that say something about turns."""
        return [update for update in self._updates if detection_of(update.session) is not None]

    @property
    def unsure_about_turns(self) -> bool:
        """Whether the server may have made a change of turns that it has not acknowledged in time."""
        return any(detection_of(update.session) is not None for update in self._lost)

    def lose(self) -> None:
        """The connection is lost: what the server has not acknowledged goes to the next one."""
        self._updates = [each for each in self._updates if not each.opening]
        for update in self._updates:
            update.deadline, update.ignored = None, False
        self._lost.clear()

    def open_again(self, update: SettingsUpdate) -> None:
        """The first update of another connection leaves, before those that wait."""
        self._updates.insert(0, update)

    def drain(self) -> list[str]:
        """The connection has ended: return the open replies."""
        reply_ids = [update.reply_id for update in self._updates if update.reply_id is not None]
        self._updates.clear()
        return reply_ids


def setting_in(session: object, *path: str) -> object:
    """The value at `path` in a session object; None where it is not there."""
    for key in path:
        session = session.get(key) if isinstance(session, (dict, Mapping)) else None  # a dict is found out faster
    return session


def _has(session: Mapping[str, Any], path: str) -> bool:
    *above, key = path.split(".")
    return key in _mapping_in(session, *above)


def _mapping_in(session: object, *path: str) -> Mapping[str, Any]:
    value = setting_in(session, *path)
    return value if isinstance(value, Mapping) else {}


def detection_of(session: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The turn detection in a session object; None where it is off or not there."""
    detection = setting_in(session, "audio", "input", "turn_detection")
    return detection if isinstance(detection, Mapping) else None


# ---- updates --------------------------------------------------------------------------------------------------------


def open_session(state: State, session: Mapping[str, Any] | None, *, reply_id: str) -> None:
    """See `Conversation.open_session`."""
    state.emit(RealtimeHistoryUpdated(history=state.history.snapshot(), info=state.info))
    state.opening = Opening(reply_id, session, acknowledged=session is None)
    if session is not None:
        send_update(state, session, opening=True)


def turns_are_ours(state: State) -> bool:
    """Whether we answer turns, and the server never does."""
    return state.turn_settings.checked or isinstance(state.policy, BargeIn)


def gate_switch(state: State, agent: RealtimeAgent[Any], session: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the update that puts `agent` in charge. From the first agent on that checks what the user says, the server
    answers no turn by itself, for the rest of the session."""
    if not agent.input_guardrails or state.turn_settings.checked:
        return session
    told_already = turns_are_ours(state)
    state.turn_settings.check()
    shown = _sendable(state.turn_detection)
    if told_already or not shown:
        return session
    own = session if session is not None else {"type": "realtime"}
    return deep_merge(_with_detection(shown), own)


def send_update(
    state: State,
    session: Mapping[str, Any],
    *,
    reply_id: str | None = None,
    event_id: str | None = None,
    opening: bool = False,
    switch: AgentSwitch | None = None,
    offer: ToolOffer | None = None,
) -> str:
    """Send a ``session.update``, as the server may get it; return its event id."""
    detection = detection_of(session)
    requested = None
    if detection is not None:
        requested = RequestedTurns(
            answers=detection.get("create_response", True) is not False,
            interrupts=detection.get("interrupt_response", True) is not False,
        )
        session = deep_merge(session, _with_detection(_forced(state)))
    event: dict[str, Any] = {"type": "session.update", "session": session}
    if event_id is not None:
        event["event_id"] = event_id
    update = SettingsUpdate(
        event_id=state.send(event),
        session=session,
        reply_id=reply_id,
        opening=opening,
        switch=switch,
        offer=offer,
        requested=requested,
    )
    state.updates.add(update)
    return update.event_id


def keep_server_told(state: State) -> None:
    """Send the server our settings of turns where they differ from those that it got last."""
    open_updates = state.updates.about_turns()
    told = detection_of(open_updates[-1].session) if open_updates else _sendable(state.turn_detection)
    if not told:
        return
    requested = next(
        (each.requested for each in reversed(open_updates) if each.requested is not None), state.turn_settings.requested
    )
    wanted = {"create_response": requested.answers, "interrupt_response": requested.interrupts, **_forced(state)}
    unsure = state.updates.unsure_about_turns and not open_updates
    if unsure or any(told.get(key, True) is not value for key, value in wanted.items()):
        session = _with_detection({**told, **wanted})
        event_id = state.send({"type": "session.update", "session": session})
        state.updates.add(SettingsUpdate(event_id=event_id, session=session))


def _forced(state: State) -> dict[str, bool]:
    forced = {}
    if turns_are_ours(state):
        forced["create_response"] = False
    # With "off" from the beginning the settings say so, unless the app has set them.
    if (
        state.turn_settings.uninterruptible
        or isinstance(state.policy, BargeIn)
        or state.turn_settings.override == "off"
    ):
        forced["interrupt_response"] = False
    return forced


def _sendable(detection: Mapping[str, Any]) -> Mapping[str, Any]:
    """The turn detection that the server shows, as it can be sent back: nothing where it has no type, and without
    values of a wrong kind."""
    if not isinstance(detection.get("type"), str):
        return {}
    wrong = [key for key, kinds in _KINDS.items() if key in detection and type(detection[key]) not in kinds]
    return {key: value for key, value in detection.items() if key not in wrong} if wrong else detection


_KINDS: Final = {
    "threshold": (int, float),
    "prefix_padding_ms": (int,),
    "silence_duration_ms": (int,),
    "idle_timeout_ms": (int, type(None)),
    "eagerness": (str,),
}


def _with_detection(detection: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}


# ---- acknowledgements -----------------------------------------------------------------------------------------------


def session_created(state: State, event: wire.SessionCreated, now: float) -> None:
    state.defaults = event.session
    state.link.expiry.read(event.session)
    if state.link.recovering:
        state.link.show(event.session)
        if state.link.opening_id is None:
            acknowledge(state, event.session, now)
            reopened(state, now)
            _advance_opening(state, now)
        return
    acknowledge(state, event.session, now)
    _advance_opening(state, now)


def session_updated(state: State, event: wire.SessionUpdated, now: float) -> None:
    state.link.expiry.read(event.session)
    shown = state.link.created if state.link.created is not None else state.acknowledged
    if state.link.recovering and state.updates.opening_missed(event.session, shown if shown is not None else {}):
        state.link.wait_no_longer()
        state.do(DropConnection("the settings were not taken"))
        return
    acknowledge(state, event.session, now)
    updates = state.updates.acknowledged(event.session, shown if shown is not None else {})
    settle_update(state, updates)
    # It repeats instructions and tools, which are most of what a session takes.
    state.acknowledged = sharing(sharing(event.session, state.defaults), state.link.settings or {})
    if state.link.recovering and any(update.opening for update in updates):
        reopened(state, now)
    _advance_opening(state, now)


def settle_update(state: State, updates: Sequence[SettingsUpdate]) -> None:
    """Make the changes that the server has acknowledged."""
    session = state.acknowledged if state.acknowledged is not None else {}
    for update in updates:
        # Of several, an earlier one may differ because a later one has changed the same again.
        differences = session_differences(update.session, session) if update is updates[-1] else []
        if differences:
            told = tuple(SettingsDifference(*difference) for difference in differences)
            state.emit(RealtimeSettingsMismatch(differences=told, info=state.info))
        state.link.use(update.session if update.opening else deep_merge(state.link.settings or {}, update.session))
        if update.opening and state.opening is not None:
            state.opening.acknowledged = True
        if update.requested is not None:
            state.turn_settings.request(update.requested)
        if update.offer is not None:
            update.offer.take_effect(state)
        if update.switch is not None:
            update.switch.take_effect(state)
        if not update.late:
            state.settle(update.reply_id, session)
        elif update.reply_id is not None:
            state.do(MakeLate(update.reply_id))


def update_refused(state: State) -> None:
    """The refusal of an update comes after an acknowledgement that was taken for its own: that was the next one's."""
    settle_update(state, state.updates.next())


def acknowledge(state: State, session: Mapping[str, Any], now: float) -> None:
    """Take over the session as the server has it."""
    state.acknowledged = session
    audio = session.get("audio")
    sides = audio if isinstance(audio, Mapping) else {}
    if not state.turn_detection:
        state.turns.free(state.response_queue)
        speech_thrown_away(state, now)
    state.input_format = _format(sides.get("input"), state.input_format)
    state.audio.use_format(state.input_format)
    padding_ms = state.turn_detection.get("prefix_padding_ms")
    state.audio.listen(
        detecting=bool(state.turn_detection), padding_ms=padding_ms if isinstance(padding_ms, int) else 300
    )
    state.output_format = _format(sides.get("output"), state.output_format)


def _format(side: object, current: AudioFormat) -> AudioFormat:
    value = side.get("format") if isinstance(side, Mapping) else None
    if value is None:
        return current
    try:
        return parse_audio_format(value)
    except AudioFormatError:
        return PCM16_24K  # the default of the service stands in for a format that is unknown


def _advance_opening(state: State, now: float) -> None:
    if state.opening is not None and state.opening.acknowledged and (opening := state.take_opening()) is not None:
        state.limits.begin(now)
        state.settle(opening.reply_id, state.acknowledged)
