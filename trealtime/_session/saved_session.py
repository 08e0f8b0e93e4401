"""A session that moves to another process: what `RealtimeSession.export` writes, and how it is read.

The text is JSON: the version of the format, the name of the agent in charge, the history as `dump_history` writes it,
tokens and cost so far, decisions about approvals that hold for always, and the voice. Nothing in it is a secret, and
all of it is what people said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from trealtime._core.approvals import SavedDecision
from trealtime._core.saved_history import dump_history, load_history
from trealtime._value import Value
from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.handoffs import Handoff
from trealtime.errors import SettingsError, SettingsProblem
from trealtime.items import AssistantMessageItem, OtherItem, RealtimeItem, RealtimeToolCallItem
from trealtime.items import SystemMessageItem as _SystemMessage
from trealtime.items import UserMessageItem as _UserMessage
from trealtime.protocol.lenient import within
from trealtime.protocol.settings import deep_merge
from trealtime.usage import Cost, TranscriptionUsage, Usage

if TYPE_CHECKING:
    from trealtime._core.conversation import Conversation
    from trealtime._session.connect import FirstUpdate

__all__ = ["SavedSession", "beginning", "dump_session", "find_agent", "load_session", "seed_items"]

_FORMAT: Final = 1
_KEY: Final = "trealtime_session"
_ITEMS: Final = (_SystemMessage, _UserMessage, AssistantMessageItem, RealtimeToolCallItem, OtherItem)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SavedSession(Value):
    """The part of a session that another process goes on with."""

    agent: str
    history: tuple[RealtimeItem, ...] = ()
    voice: str | Mapping[str, Any] | None = None
    usage: Usage = attrs.field(factory=Usage)
    transcription_usage: TranscriptionUsage = attrs.field(factory=TranscriptionUsage)
    decisions: tuple[SavedDecision, ...] = ()

    @property
    def for_core(self) -> dict[str, Any]:
        """The arguments of `Conversation.begin_with`."""
        return {
            "items": self.history,
            "usage": self.usage,
            "transcription_usage": self.transcription_usage,
            "decisions": self.decisions,
            "keeps_voice": self.voice is not None,
        }

    def with_voice(self, first: FirstUpdate) -> FirstUpdate:
        """Return the first update, with the voice in which the agent has spoken."""
        if self.voice is None:
            return first
        voice = {"audio": {"output": {"voice": self.voice}}}
        return attrs.evolve(first, payload=deep_merge(first.payload, voice))


def beginning(
    agent: RealtimeAgent[Any], history: str | bytes | Iterable[RealtimeItem] | None, resume: str | bytes | None
) -> tuple[RealtimeAgent[Any], SavedSession]:
    """Return the agent and all else that a session begins with. Raises `SettingsError`."""
    if resume is None:
        items = () if history is None else tuple(seed_items(history))
        return agent, SavedSession(agent=agent.name, history=items)
    if history is not None:
        raise SettingsError(
            [SettingsProblem("history", history, "nothing beside `resume`, which has one")], what="session"
        )
    saved = load_session(resume)
    return find_agent(agent, saved.agent), saved


# ---- out ------------------------------------------------------------------------------------------------------------


def dump_session(core: Conversation) -> str:
    """Return the session as JSON text."""
    saved: dict[str, Any] = {
        _KEY: _FORMAT,
        "agent": core.agent.name,
        "voice": within(core.acknowledged, "audio", "output", "voice"),
        "history": msgspec.Raw(dump_history(core.history()).encode()),
        "usage": _shown(core.usage),
        "transcription_usage": _shown(core.transcription_usage),
        "decisions": [attrs.asdict(decision) for decision in core.decisions()],
    }
    return msgspec.json.encode(saved).decode()


def _shown(usage: Usage | TranscriptionUsage) -> dict[str, Any]:
    shown = attrs.asdict(usage, filter=lambda field, _: field.name != "request_usage_entries")
    cost = usage.cost
    shown["cost"] = None if cost is None else [str(cost.at_least), str(cost.at_most), cost.unpriced]
    return shown


# ---- in -------------------------------------------------------------------------------------------------------------


def load_session(text: str | bytes) -> SavedSession:
    """Return the session that `dump_session` wrote. Raises `SettingsError` that names what cannot be read."""
    try:
        saved = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise _problem("$", text, "the JSON text that RealtimeSession.export returned") from error
    if not isinstance(saved, dict) or _KEY not in saved:
        raise _problem("$", text, "the JSON text that RealtimeSession.export returned")
    if saved[_KEY] != _FORMAT:
        raise _problem(_KEY, saved[_KEY], f"{_FORMAT}: this version of trealtime reads no other format")
    history = load_history(msgspec.json.encode(saved.get("history", [])))
    agent, voice = saved.get("agent"), saved.get("voice")
    if not isinstance(agent, str):
        raise _problem("agent", agent, "the name of an agent")
    if voice is not None and not isinstance(voice, str | dict):
        raise _problem("voice", voice, "the voice as the server shows it")
    return SavedSession(
        agent=agent,
        history=tuple(seed_items(history, what="resume")),
        voice=voice,
        usage=_usage(Usage, saved.get("usage"), "usage"),
        transcription_usage=_usage(TranscriptionUsage, saved.get("transcription_usage"), "transcription_usage"),
        decisions=tuple(_decisions(saved.get("decisions"))),
    )


def _usage(kind: type[Any], value: object, path: str) -> Any:
    if not isinstance(value, Mapping):
        raise _problem(path, value, "tokens and cost, as RealtimeSession.export writes them")
    fields = attrs.fields_dict(kind)
    try:
        known = {name: each for name, each in value.items() if name in fields and name != "cost"}
        for name, each in known.items():
            if not name.endswith("_details") and (isinstance(each, bool) or not isinstance(each, int | float)):
                raise TypeError(name)
        given = value.get("cost")
        cost = None if given is None else Cost(Decimal(given[0]), Decimal(given[1]), unpriced=bool(given[2]))
        return kind(**known, cost=cost)
    except (TypeError, ValueError, ArithmeticError, IndexError, KeyError) as error:
        raise _problem(path, value, "tokens and cost, as RealtimeSession.export writes them") from error


def _decisions(value: object) -> Iterator[SavedDecision]:
    for number, each in enumerate(value if isinstance(value, list) else ()):
        if not isinstance(each, Mapping):
            raise _problem(f"decisions[{number}]", each, "a decision, as RealtimeSession.export writes it")
        try:
            decision = SavedDecision(**each)
        except TypeError as error:
            raise _problem(f"decisions[{number}]", each, "a decision, as RealtimeSession.export writes it") from error
        fits = {
            "kind": each.get("kind") in ("function", "hosted"),
            "approve": isinstance(each.get("approve"), bool),
            "name": isinstance(each.get("name"), str),
            "declaration": isinstance(each.get("declaration", ""), str),
            "namespace": isinstance(each.get("namespace"), str | None),
            "message": isinstance(each.get("message"), str | None),
        }
        for key, fit in fits.items():
            if not fit:
                allowed = "what RealtimeSession.export writes there"
                raise _problem(f"decisions[{number}].{key}", each.get(key), allowed)
        yield decision


def _problem(path: str, value: object, allowed: str) -> SettingsError:
    return SettingsError([SettingsProblem(path, value, allowed)], what="resume")


def seed_items(history: str | bytes | Iterable[RealtimeItem], *, what: str = "history") -> Sequence[RealtimeItem]:
    """Return the items to begin a conversation with. Raises `SettingsError` for anything that is none, and for two
    items of one id."""
    if isinstance(history, str | bytes):
        return seed_items(load_history(history), what=what)
    given: object = history
    if not isinstance(given, Iterable) or isinstance(given, Mapping):
        allowed = "the text that dump_history returned, or items"
        raise SettingsError([SettingsProblem("", history, allowed)], what=what)
    items = list(history)
    problems: list[SettingsProblem] = []
    places: dict[str, int] = {}
    for number, item in enumerate(items):
        if not isinstance(item, _ITEMS):
            problems.append(SettingsProblem(f"[{number}]", item, "an item, as RealtimeSession.history has them"))
        elif not _is_id(item.item_id):
            problems.append(SettingsProblem(f"[{number}].item_id", item.item_id, "an id, text that is not empty"))
        elif places.setdefault(item.item_id, number) != number:
            allowed = f"an id of its own, item {places[item.item_id]} has this one"
            problems.append(SettingsProblem(f"[{number}].item_id", item.item_id, allowed))
    if problems:
        raise SettingsError(problems, what=what)
    return items


def _is_id(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def find_agent(start: RealtimeAgent[Any], name: str) -> RealtimeAgent[Any]:
    """Return the agent of that name: `start`, or one that it can hand over to, directly or through others. Raises
    `SettingsError` if there is none."""
    seen: dict[int, RealtimeAgent[Any]] = {}
    pending: list[RealtimeAgent[Any]] = [start]
    while pending:
        agent = pending.pop(0)
        if id(agent) in seen:
            continue
        seen[id(agent)] = agent
        if agent.name == name:
            return agent
        for handoff in agent.handoffs:
            target: object = handoff
            if isinstance(handoff, Handoff):
                target = getattr(handoff.on_invoke_handoff, "agent", None)
                if not isinstance(target, RealtimeAgent) and callable(target):
                    target = target()
            if isinstance(target, RealtimeAgent):
                pending.append(target)
    known = ", ".join(repr(agent.name) for agent in seen.values())
    raise _problem("agent", name, f"an agent that the runner's agent can hand over to: {known}")
