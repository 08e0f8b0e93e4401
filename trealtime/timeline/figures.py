"""The turns of a recorded call: the figures that the session has made, or what can be known without them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from trealtime.timeline.model import Response, Speech, ToolCall, Turn, Utterance

__all__ = ["Figures"]

MOST_TURNS: Final = 10_000
_LONGEST_S: Final = 24 * 3600.0


@attrs.define
class Figures:
    """Collects the figures of turns (`trealtime.metrics.TurnMetrics`, as recorded). Their times are on Trio's clock,
    where the recording began at `trio_s`."""

    trio_s: float
    _metrics: list[Mapping[str, Any]] = attrs.field(factory=list, init=False)
    _tokens: dict[str, float] = attrs.field(factory=dict, init=False)

    @property
    def has_room(self) -> bool:
        """Whether there are not too many turns yet."""
        return len(self._metrics) < MOST_TURNS

    def take(self, metrics: Mapping[str, Any]) -> None:
        """Take the figures of a turn."""
        self._metrics.append(metrics)

    def count_tokens(self, response_id: str, tokens: float | None) -> None:
        """Note the tokens of a response, for a recording without figures."""
        if tokens is not None and len(self._tokens) < MOST_TURNS:
            self._tokens[response_id] = tokens

    def turns(
        self,
        utterances: Sequence[Utterance],
        speeches: Sequence[Speech],
        responses: Sequence[Response],
        tools: Sequence[ToolCall],
    ) -> tuple[Turn, ...]:
        """Return the turns in order; those that the session has not ended are made of what is there."""
        said = {each.item_id: each.words for each in utterances if each.words}
        answered: dict[str, list[str]] = {}
        for speech in speeches:
            answered.setdefault(speech.response_id, []).append(speech.words)
        measured = [self._measured(each, said, answered) for each in self._metrics]
        known = {response_id for turn in measured for response_id in turn.response_ids}
        after_s = max((turn.start_s for turn in measured), default=0.0)
        rest = [each for each in responses if each.response_id not in known and each.created_s >= after_s]
        open_turns = self._derived(rest, utterances, speeches, tools, after_s, len(measured))
        return (*sorted(measured, key=lambda turn: turn.number), *open_turns)

    # ---- as measured ---------------------------------------------------------------------------------------------

    def _measured(
        self, metrics: Mapping[str, Any], said: Mapping[str, str], answered: Mapping[str, Sequence[str]]
    ) -> Turn:
        def at(name: str, within: Mapping[str, Any] = metrics) -> float | None:
            value = _number(within.get(name))
            # Both are floats of seconds, which differ in the last bits.
            return None if value is None else min(max(round(value - self.trio_s, 6), 0.0), _LONGEST_S)

        names = ("speech_started_at", "committed_at", "requested_at", "created_at")
        started = [each for each in map(at, names) if each is not None]
        ends = [each for each in (at("heard_until_at"), at("done_at")) if each is not None]
        start_s = min(started, default=0.0)
        interruption = metrics.get("interruption")
        stop: Mapping[str, Any] = interruption if isinstance(interruption, Mapping) else {}
        silent_s = at("silent_at", stop)
        spans = metrics.get("tools")
        calls = [each for each in spans if isinstance(each, Mapping)] if isinstance(spans, list) else []
        item_ids, response_ids = _texts(metrics.get("item_ids")), _texts(metrics.get("response_ids"))
        usage = metrics.get("usage")
        tokens = _number(usage.get("total_tokens")) if isinstance(usage, Mapping) else None
        return Turn(
            number=round(_number(metrics.get("number")) or 0),
            source=_text(metrics.get("source")),
            agent=_text(metrics.get("agent")),
            status=_text(metrics.get("status")),
            reason=_text(metrics.get("reason")),
            start_s=start_s,
            end_s=max([*ends, silent_s or 0.0, start_s]),
            said=" ".join(said[item_id] for item_id in item_ids if item_id in said),
            answered=" ".join(words for each in response_ids for words in answered.get(each, ()) if words),
            speech_started_s=at("speech_started_at"),
            speech_ended_s=at("speech_ended_at"),
            requested_s=at("requested_at"),
            created_s=at("created_at"),
            first_audio_s=at("first_audio_at"),
            first_heard_s=at("first_heard_at"),
            done_s=at("done_at"),
            heard_until_s=at("heard_until_at"),
            onset_s=at("onset_at", stop),
            silent_s=silent_s,
            interrupted_by=_text(stop.get("cause")),
            tools=tuple(_text(each.get("call_id")) for each in calls),
            tools_s=sum(_length(each) for each in calls),
            tokens=None if tokens is None else round(tokens),
            cost=_cost(metrics.get("cost")),
            retries=round(_number(metrics.get("retries")) or 0),
            response_ids=response_ids,
        )

    # ---- without figures -----------------------------------------------------------------------------------------

    def _derived(
        self,
        responses: Sequence[Response],
        utterances: Sequence[Utterance],
        speeches: Sequence[Speech],
        tools: Sequence[ToolCall],
        after_s: float,
        number: int,
    ) -> list[Turn]:
        """Make turns: each begins with what the user says, and has the responses until the user says something else."""
        groups: list[tuple[Utterance | None, list[Response]]] = []
        said = [each for each in utterances if each.end_s > after_s or not number]
        inputs: list[Utterance | Response] = [*said, *responses]
        for each in sorted(inputs, key=_moment):
            if isinstance(each, Utterance):
                groups.append((each, []))
            elif groups:
                groups[-1][1].append(each)
            else:
                groups.append((None, [each]))
        return [
            self._derived_turn(number + index, utterance, own, speeches, tools, utterances)
            for index, (utterance, own) in enumerate(groups, 1)
            if own
        ]

    def _derived_turn(
        self,
        number: int,
        utterance: Utterance | None,
        responses: Sequence[Response],
        speeches: Sequence[Speech],
        tools: Sequence[ToolCall],
        utterances: Sequence[Utterance],
    ) -> Turn:
        ids = tuple(each.response_id for each in responses)
        own = [each for each in speeches if each.response_id in ids]
        heard = [span for speech in own for span in speech.heard]
        cut = next((each.interrupt for each in own if each.interrupt is not None), None)
        onset_s = silent_s = None
        if cut is not None and cut.cause == "speech" and heard:
            onset_s = max((each.start_s for each in utterances if each.start_s <= cut.at_s), default=None)
            silent_s = max(span.end_s for span in heard)
        first_s = min(each.created_s for each in responses)
        start_s = min(first_s, utterance.start_s) if utterance is not None else first_s
        last = responses[-1]
        heard_until = max((span.end_s for span in heard), default=None)
        end_s = max([start_s, heard_until or 0.0, last.done_s or last.created_s])
        calls = [each for each in tools if start_s <= each.called_s <= end_s]
        spoken = utterance is not None and not utterance.written
        requested = [each.requested_s for each in responses if each.requested_s is not None]
        tokens = [self._tokens[each] for each in ids if each in self._tokens]
        return Turn(
            number=number,
            source="request" if utterance is None else "text" if utterance.written else "speech",
            agent=responses[0].agent,
            status="interrupted" if cut is not None else last.status or "open",
            start_s=start_s,
            end_s=end_s,
            said=utterance.words if utterance is not None else "",
            answered=" ".join(each.words for each in own if each.words),
            speech_started_s=utterance.start_s if utterance is not None and spoken else None,
            speech_ended_s=utterance.end_s if utterance is not None and spoken else None,
            requested_s=min(requested, default=None),
            created_s=first_s,
            first_audio_s=min((each.received_s[0] for each in own), default=None),
            first_heard_s=min((span.start_s for span in heard), default=None),
            done_s=last.done_s,
            heard_until_s=heard_until,
            onset_s=onset_s,
            silent_s=silent_s,
            interrupted_by=cut.cause if cut is not None else "",
            tools=tuple(each.call_id for each in calls),
            tools_s=sum((each.ended_s or each.called_s) - each.called_s for each in calls),
            tokens=round(sum(tokens)) if tokens else None,
            response_ids=ids,
            measured=False,
        )


def _moment(each: Utterance | Response) -> float:
    return each.end_s if isinstance(each, Utterance) else each.created_s


def _number(value: object) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and -1e12 < value < 1e12:
        return float(value)
    return None


def _length(span: Mapping[str, Any]) -> float:
    started, ended = _number(span.get("started_at")), _number(span.get("ended_at"))
    return 0.0 if started is None or ended is None else min(max(0.0, ended - started), _LONGEST_S)


def _cost(value: object) -> str | None:
    total = value.get("total") if isinstance(value, Mapping) else value
    return str(total)[:40] if isinstance(total, (str, int, float)) else None


def _text(value: object) -> str:
    return value[:200] if isinstance(value, str) else ""


def _texts(values: object) -> tuple[str, ...]:
    return tuple(map(_text, values)) if isinstance(values, Iterable) and not isinstance(values, str) else ()
