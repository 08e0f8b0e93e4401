"""From the lines of a recording to a `Call`.

Theory of operation
1. One pass over the lines, in memory that grows with the length of the call and not with the file: of sound, levels
   are kept, and small audio up to a bound.
2. The wire says what was received and said. Where the recording has the events of the session, they say what was
   heard, which agent spoke, and what tools, approvals and guardrails did; else the wire has to do, and what was heard
   is assumed.
3. Everything in the file is from elsewhere: a value of a wrong type counts as absent, a number is bounded, text is cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import attrs

from trealtime._recordings.lines import Header, Line, left_out_bytes
from trealtime.audio.formats import PCM16_24K, AudioFormat, parse_audio_format
from trealtime.errors import AudioFormatError
from trealtime.protocol.lenient import as_text, within
from trealtime.timeline.figures import Figures
from trealtime.timeline.model import (
    Approval,
    Call,
    Connection,
    Interrupt,
    Mark,
    Reign,
    Response,
    Sound,
    Speech,
    ToolCall,
    WireNote,
)
from trealtime.timeline.playback import Playback
from trealtime.timeline.sound import RATE, Clip, Shrinker, SoundBudget
from trealtime.timeline.user import PADDING_MS, SILENCE_MS, UserSide
from trealtime.timeline.values import (
    LONGEST_S,
    LONGEST_TEXT,
    MOST,
    SHORT_TEXT,
    audio_of,
    detail_of,
    number_of,
    shown,
    text_of,
)

__all__ = ["SOUND_BYTES", "read_call"]

SOUND_BYTES: Final = 16 * 2**20
_NOTES: Final = frozenset(
    {"limit_approached", "limit_reached", "settings_mismatch", "audio_dropped", "connection_lost", "reconnected"}
    | {"expires_soon", "rollover_started", "rolled_over", "input_audio_timeout_triggered", "tool_progress"}
)
"""Events of the session that get a mark of their own."""


def read_call(header: Header, lines: Iterable[Line], *, sound: SoundBudget | None = None) -> Call:
    """Return the call. `sound` says how much of its sound is kept to listen to, as mu-law at 8 kHz."""
    reading = _Reading(header, sound if sound is not None else SoundBudget(SOUND_BYTES))
    for line in lines:
        reading.take(line)
    return reading.call()


@attrs.define
class _Part:
    """A content part of the agent's speech, so far."""

    response_id: str
    item_id: str
    content_index: int
    first_s: float
    last_s: float
    received_ms: float = 0.0
    levels: bytearray = attrs.field(factory=bytearray)
    sound: Clip = attrs.field(factory=Clip)
    shrinker: Shrinker = attrs.field(factory=Shrinker)
    words: list[str] = attrs.field(factory=list)
    n_characters: int = 0
    """The length of the words."""

    interrupt: Interrupt | None = None


class _Reading:
    def __init__(self, header: Header, budget: SoundBudget) -> None:
        self._header = header
        self._of_session = "session_id" in header.values and header.values.get("recorded_by") != "server"
        self._budget = budget
        self._user = UserSide(self._budget, self._has_room)
        self._input_format: AudioFormat = PCM16_24K
        self._output_format: AudioFormat = PCM16_24K
        self._last_s = 0.0
        self._parts: dict[tuple[str, int], _Part] = {}
        self._playback = Playback()
        self._responses: dict[str, Response] = {}
        self._requests: list[tuple[float, object]] = []
        """When a response was asked for, and under which metadata: by these the answer is known."""

        self._tools: dict[str, ToolCall] = {}
        self._approvals: dict[str, Approval] = {}
        self._marks: list[Mark] = []
        self._reigns: list[tuple[str, float]] = []
        agent = header.values.get("agent")
        if isinstance(agent, str):
            self._reigns.append((agent[:200], 0.0))
        self._connections: list[Connection] = []
        self._wire: list[WireNote] = []
        self._figures = Figures(header.trio_s)
        self._problems: dict[str, None] = {}
        self._has_playback = False

    def take(self, line: Line) -> None:
        """Read one line."""
        if line.at_s > LONGEST_S:
            self._problem("it has lines past 24 hours, which are left out")
            return
        self._last_s = max(self._last_s, line.at_s)
        match line.kind:
            case "event":
                self._note_wire(line, text_of(line.value.get("type")) or "?", line.value)
                if line.sent_by == "server":
                    self._from_server(line.at_s, line.value, line.wire)
                else:
                    self._from_client(line.at_s, line.value, line.wire)
            case "text":
                self._note_wire(line, "no event", {"text": line.value})
            case "session":
                self._from_session(line.at_s, line.value)
            case "playback":
                self._played(line.at_s, line.value)
            case "connection":
                self._connected(line.at_s, line.value)
            case "closed":
                self._closed(line.at_s, line.value, line.wire)
            case "lost":
                self._problem(f"{line.value} lines are missing: the disk was too slow")

    # ---- the wire ------------------------------------------------------------------------------------------------

    def _note_wire(self, line: Line, kind: str, value: Mapping[str, Any]) -> None:
        assert line.sent_by is not None
        last = self._wire[-1] if self._wire else None
        many = kind.endswith((".delta", ".append"))
        if many and last is not None and last.type == kind and line.at_s - last.at_s < 1.0:
            self._wire[-1] = attrs.evolve(last, count=last.count + 1)
        elif len(self._wire) < MOST:
            detail = "" if many else detail_of(value)
            self._wire.append(WireNote(line.at_s, line.sent_by, kind[:100], detail))

    def _from_server(self, at_s: float, event: Mapping[str, Any], wire: int) -> None:
        kind = event.get("type")
        match kind:
            case "response.output_audio.delta" | "response.audio.delta":
                self._received(at_s, event)
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                if not self._of_session:
                    self._agent_words(event, at_s)
            case "session.created" | "session.updated":
                self._input_format = _format(event, "input") or self._input_format
                self._output_format = _format(event, "output") or self._output_format
                detection = within(event, "session", "audio", "input", "turn_detection")
                silence_ms = number_of(within(detection, "silence_duration_ms"))
                padding_ms = number_of(within(detection, "prefix_padding_ms"))
                self._user.silence_ms = SILENCE_MS if silence_ms is None else silence_ms
                self._user.padding_ms = PADDING_MS if padding_ms is None else padding_ms
            case "response.created":
                response_id = as_text(within(event, "response", "id"))
                if response_id is not None:
                    requested_s = self._request(within(event, "response", "metadata"))
                    self._begin_response(response_id, at_s, requested_s=requested_s)
            case "response.done":
                self._end_response(at_s, event)
            case "response.output_item.done":
                self._called(at_s, event)
            case "input_audio_buffer.speech_started":
                self._user.speech_began(at_s, event, wire)
            case "input_audio_buffer.speech_stopped":
                self._user.speech_ended(at_s, event, wire)
            case "input_audio_buffer.committed":
                self._user.committed(at_s, event)
            case "conversation.item.input_audio_transcription.completed":
                self._user.transcribed(event, text_of(event.get("transcript")))
            case "conversation.item.added" | "conversation.item.created":
                self._user.item_added(at_s, event)
            case "error" if not self._of_session:
                self._mark(at_s, "error", as_text(within(event, "error", "message")) or "error")
            case _:
                pass

    def _from_client(self, at_s: float, event: Mapping[str, Any], wire: int) -> None:
        match event.get("type"):
            case "input_audio_buffer.append":
                self._user.said(at_s, event.get("audio"), wire, self._input_format)
            case "response.create":
                self._requests.append((at_s, within(event, "response", "metadata")))
                del self._requests[:-100]
            case "conversation.item.create":
                self._item_sent(at_s, event)
            case "conversation.item.truncate" if not self._of_session:
                key = _key(event)
                heard_ms = number_of(event.get("audio_end_ms"))
                if key in self._parts and heard_ms is not None:
                    self._interrupted(key, at_s, heard_ms, "app")
            case _:
                pass

    def _received(self, at_s: float, event: Mapping[str, Any]) -> None:
        part = self._part(event, at_s)
        delta = event.get("delta")
        if part is None or not isinstance(delta, str):
            return
        left_out = left_out_bytes(delta)
        audio = audio_of(delta) if left_out is None else b""
        ms = self._output_format.duration_ms(left_out if left_out is not None else len(audio))
        if not self._has_playback and not self._of_session:
            key = (part.item_id, part.content_index)
            self._playback.take(key, at_s, part.received_ms, part.received_ms + ms)
        if not self._of_session:
            part.received_ms += ms
        part.levels += part.shrinker.levels(audio, self._output_format)
        self._budget.keep(part.sound, part.shrinker.small(audio, self._output_format))

    def _part(self, event: Mapping[str, Any], at_s: float) -> _Part | None:
        key = _key(event)
        part = self._parts.get(key)
        if part is None:
            response_id = text_of(event.get("response_id"))
            if not key[0] or not self._has_room(self._parts):
                return None
            part = self._parts[key] = _Part(response_id, *key, at_s, at_s, sound=Clip(key=key))
        part.last_s = at_s
        return part

    def _agent_words(self, event: Mapping[str, Any], at_s: float) -> None:
        delta = event.get("delta")
        part = self._parts.get(_key(event)) or self._part(event, at_s)
        if part is not None and isinstance(delta, str) and delta and part.n_characters < LONGEST_TEXT:
            part.words.append(delta[:LONGEST_TEXT])
            part.n_characters += len(delta)

    # ---- responses and tools -------------------------------------------------------------------------------------

    def _request(self, metadata: object) -> float | None:
        """Return when the response with this metadata was asked for; None for one that the server made by itself."""
        for position, (at_s, asked) in enumerate(self._requests):
            if not asked or asked == metadata:
                del self._requests[: position + 1]
                return at_s
        return None

    def _begin_response(
        self, response_id: str, at_s: float, agent: str = "", *, requested_s: float | None = None
    ) -> None:
        before = self._responses.get(response_id)
        if before is not None:
            if agent:
                self._responses[response_id] = attrs.evolve(before, agent=agent)
        elif self._has_room(self._responses):
            agent = agent or (self._reigns[-1][0] if self._reigns else "")
            self._responses[response_id] = Response(
                response_id=response_id, agent=agent, requested_s=requested_s, created_s=at_s
            )

    def _end_response(self, at_s: float, event: Mapping[str, Any]) -> None:
        response = event.get("response")
        if not isinstance(response, Mapping):
            return
        details = response.get("status_details")
        reason = details.get("reason") or within(details, "error", "code") if isinstance(details, Mapping) else None
        self._response_over(text_of(response.get("id")), at_s, text_of(response.get("status")), text_of(reason))
        if not self._of_session:
            usage = response.get("usage")
            tokens = number_of(usage.get("total_tokens")) if isinstance(usage, Mapping) else None
            self._figures.count_tokens(text_of(response.get("id")), tokens)

    def _response_over(self, response_id: str, at_s: float, status: str, reason: str) -> None:
        before = self._responses.get(response_id)
        if before is not None and before.done_s is None:
            self._responses[response_id] = attrs.evolve(before, done_s=at_s, status=status, reason=reason)

    def _item_sent(self, at_s: float, event: Mapping[str, Any]) -> None:
        item = event.get("item")
        if not isinstance(item, Mapping):
            return
        if item.get("type") == "function_call_output":
            call = self._tools.get(text_of(item.get("call_id")))
            if call is not None and call.ended_s is None:
                self._tools[call.call_id] = attrs.evolve(
                    call, ended_s=at_s, status=call.status or "completed", output=text_of(item.get("output"))
                )
        elif item.get("role") == "user":
            self._user.written(at_s, item)

    def _called(self, at_s: float, event: Mapping[str, Any]) -> None:
        item = event.get("item")
        if isinstance(item, Mapping) and item.get("type") in ("function_call", "mcp_call"):
            self._tool(
                text_of(item.get("call_id")) or text_of(item.get("id")),
                at_s,
                name=text_of(item.get("name")),
                arguments=text_of(item.get("arguments")),
                agent=self._agent(text_of(event.get("response_id"))),
            )

    def _agent(self, response_id: str) -> str:
        response = self._responses.get(response_id)
        return response.agent if response is not None else (self._reigns[-1][0] if self._reigns else "")

    def _tool(self, call_id: str, at_s: float, *, name: str, arguments: str, agent: str) -> ToolCall | None:
        if call_id in self._tools:
            return self._tools[call_id]
        if not call_id or not self._has_room(self._tools):
            return None
        call = ToolCall(call_id=call_id, name=name, agent=agent, called_s=at_s, arguments=arguments)
        self._tools[call_id] = call
        return call

    # ---- the session's own events --------------------------------------------------------------------------------

    def _from_session(self, at_s: float, event: Mapping[str, Any]) -> None:
        match event.get("type"):
            case "audio":
                self._session_audio(at_s, event)
            case "transcript_delta" | "text_delta":
                if event.get("role") != "user":
                    self._agent_words(event, at_s)
            case "agent_start":
                self._begin_response(text_of(event.get("response_id")), at_s, text_of(event.get("agent")))
            case "agent_end":
                response_id = text_of(event.get("response_id"))
                self._response_over(response_id, at_s, text_of(event.get("status")), text_of(event.get("reason")))
            case "audio_interrupted":
                heard_ms = number_of(event.get("heard_ms")) or 0.0
                self._interrupted(_key(event), at_s, heard_ms, text_of(event.get("cause")))
            case "tool_start" | "tool_end" | "tool_approval_required" | "tool_approval_dropped":
                self._tool_event(at_s, event)
            case "handoff":
                agent = text_of(event.get("to_agent"))
                if len(self._reigns) < MOST:
                    self._reigns.append((agent, at_s))
                self._mark(at_s, "handoff", f"{text_of(event.get('from_agent'))} hands over to {agent}")
            case "guardrail_tripped":
                results = event.get("guardrail_results")
                names = (
                    [text_of(each.get("guardrail")) for each in results if isinstance(each, Mapping)]
                    if isinstance(results, list)
                    else []
                )
                title = f"guardrail {', '.join(names)} ({text_of(event.get('which'))})"
                self._mark(at_s, "guardrail", title, text_of(event.get("message")))
            case "error":
                error = event.get("error")
                text = text_of(error.get("message")) if isinstance(error, Mapping) else text_of(error)
                self._mark(at_s, "error", text or "error")
            case "turn_ended":
                metrics = event.get("metrics")
                if isinstance(metrics, Mapping) and self._figures.has_room:
                    self._figures.take(metrics)
            case "interruption_pending" | "interruption_confirmed" | "interruption_dismissed":
                reason = text_of(event.get("reason"))
                self._mark(at_s, "note", str(event["type"]).replace("_", " ") + (f": {reason}" if reason else ""))
            case "dtmf_received":
                self._mark(at_s, "note", f"key {text_of(event.get('digit'))}")
            case str(kind) if kind in _NOTES:
                words = kind.replace("_", " ")
                ms = number_of(event.get("outage_ms", event.get("gap_ms")))
                self._mark(at_s, "note", words if ms is None else f"{words}, gap {ms:.0f} ms", detail_of(event))
            case _:
                pass

    def _session_audio(self, at_s: float, event: Mapping[str, Any]) -> None:
        part = self._part(event, at_s)
        start_ms, size = number_of(event.get("start_ms")), number_of(event.get("bytes"))
        if part is not None and start_ms is not None and size is not None:
            end_ms = start_ms + self._output_format.duration_ms(round(size))
            part.received_ms = max(part.received_ms, min(end_ms, LONGEST_S * 1000))

    def _interrupted(self, key: tuple[str, int], at_s: float, heard_ms: float, cause: str) -> None:
        part = self._parts.get(key)
        self._playback.cut(key, at_s, heard_ms)
        if part is not None and part.interrupt is None:
            part.interrupt = Interrupt(at_s=at_s, heard_ms=heard_ms, cause=cause)

    def _tool_event(self, at_s: float, event: Mapping[str, Any]) -> None:
        call_id, name = text_of(event.get("call_id")), text_of(event.get("tool"))
        arguments, agent = text_of(event.get("arguments")), text_of(event.get("agent"))
        call = self._tool(call_id, at_s, name=name, arguments=arguments, agent=agent)
        if call is None:
            return
        approval = self._approvals.get(call_id)
        match event["type"]:
            case "tool_start":
                self._tools[call_id] = attrs.evolve(call, started_s=at_s, name=name or call.name)
                self._decide(approval, at_s, "approved")
            case "tool_end":
                failure = text_of(event.get("failure"))
                self._tools[call_id] = attrs.evolve(
                    call,
                    ended_s=at_s,
                    status=failure or "completed",
                    output=shown(event.get("output")),
                    name=name or call.name,
                )
                self._decide(approval, at_s, "rejected" if failure == "approval_rejected" else failure or "approved")
            case "tool_approval_required":
                if self._has_room(self._approvals):
                    self._approvals[call_id] = Approval(call_id=call_id, name=name, asked_s=at_s)
            case _:
                self._decide(approval, at_s, text_of(event.get("reason")))

    def _decide(self, approval: Approval | None, at_s: float, outcome: str) -> None:
        if approval is not None and approval.decided_s is None:
            self._approvals[approval.call_id] = attrs.evolve(approval, decided_s=at_s, outcome=outcome)

    # ---- playback and connections --------------------------------------------------------------------------------

    def _played(self, at_s: float, value: Mapping[str, Any]) -> None:
        self._has_playback = True
        key = _key(value)
        heard_ms, from_ms, until_ms = (number_of(value.get(name)) for name in ("heard_ms", "from_ms", "until_ms"))
        if key not in self._parts:
            return
        if heard_ms is not None:
            self._playback.part(key).report(at_s, heard_ms)
        elif from_ms is not None and until_ms is not None:
            self._playback.take(key, at_s, from_ms, until_ms)

    def _connected(self, at_s: float, value: Mapping[str, Any]) -> None:
        number = round(number_of(value.get("number")) or 0)
        failed = value.get("failed")
        if len(self._connections) >= MOST:
            return
        if isinstance(failed, str):
            self._connections.append(
                Connection(number=number, start_s=at_s, end_s=at_s, end=f"failed: {failed[:SHORT_TEXT]}", clean=False)
            )
        else:
            self._connections.append(Connection(number=number, start_s=at_s, end_s=math.inf))

    def _closed(self, at_s: float, value: Mapping[str, Any], wire: int) -> None:
        reason = f" {value['reason'][:SHORT_TEXT]}" if value["reason"] else ""
        end = f"closed by the {value['by']}: {value['code']}{reason}"
        clean = value["code"] in (1000, 1001) and value["by"] != "network"
        if not clean:
            self._user.lose(at_s)
        still_open = [each for each in self._connections if each.end_s == math.inf and each.number == wire]
        if still_open:
            self._connections.remove(still_open[-1])
        last = still_open[-1] if still_open else Connection(number=wire, start_s=0.0, end_s=at_s)
        if len(self._connections) < MOST:
            self._connections.append(attrs.evolve(last, end_s=at_s, end=end, clean=clean))

    # ---- the whole -----------------------------------------------------------------------------------------------

    def _mark(
        self, at_s: float, kind: Literal["guardrail", "handoff", "error", "note"], title: str, detail: str = ""
    ) -> None:
        if len(self._marks) < MOST:
            self._marks.append(Mark(at_s, kind, title[:LONGEST_TEXT], detail[:LONGEST_TEXT]))

    def _problem(self, text: str) -> None:
        self._problems[text] = None

    def _has_room(self, kept: Mapping[Any, Any]) -> bool:
        if len(kept) < MOST:
            return True
        self._problem(f"it has more than {MOST} responses, items or calls: the rest is left out")
        return False

    def call(self) -> Call:
        """Return the call, once every line has been taken."""
        speeches = tuple(self._speech(part) for part in self._parts.values())
        heard_until = max((span.end_s for speech in speeches for span in speech.heard), default=0.0)
        end_s = max(self._last_s, min(heard_until, LONGEST_S))
        utterances = self._user.end(end_s)
        responses, tools = tuple(self._responses.values()), tuple(self._tools.values())
        connections = self._connections
        if self._of_session is False and not connections:
            connections = [Connection(number=1, start_s=0.0, end_s=math.inf)]
        clock = self._header.values.get("clock")
        return Call(
            session_id=text_of(self._header.values.get("session_id")),
            began_unix_s=number_of(clock.get("unix_s"), most=1e11) if isinstance(clock, Mapping) else None,
            duration_s=end_s,
            header=self._header.values,
            levels=bytes(self._user.levels),
            utterances=utterances,
            speeches=speeches,
            responses=responses,
            tools=tools,
            approvals=tuple(self._approvals.values()),
            marks=tuple(self._marks),
            reigns=self._closed_reigns(end_s),
            connections=tuple(attrs.evolve(each, end_s=min(each.end_s, end_s)) for each in connections),
            turns=self._figures.turns(utterances, speeches, responses, tools),
            wire=tuple(self._wire),
            sounds=tuple(self._audible()),
            sound_left_out=self._budget.missing or not self._header.audio,
            problems=tuple(self._problems),
        )

    def _closed_reigns(self, end_s: float) -> tuple[Reign, ...]:
        ends = [start_s for _agent, start_s in self._reigns[1:]] + [end_s]
        return tuple(
            Reign(agent, start_s, until_s) for (agent, start_s), until_s in zip(self._reigns, ends, strict=False)
        )

    def _speech(self, part: _Part) -> Speech:
        key = (part.item_id, part.content_index)
        levels = bytes(part.levels) + part.shrinker.last_level()
        spans = tuple(self._playback.parts[key].spans) if key in self._playback.parts else ()
        return Speech(
            response_id=part.response_id,
            item_id=part.item_id,
            content_index=part.content_index,
            agent=self._agent(part.response_id),
            received_s=(part.first_s, part.last_s),
            received_ms=part.received_ms,
            levels=levels,
            heard=spans,
            interrupt=part.interrupt,
            words="".join(part.words).strip(),
        )

    def _audible(self) -> Iterable[Sound]:
        for clip in self._user.sounds:
            if clip.data:
                yield Sound(clip.start_s, "user", bytes(clip.data))
        for part in self._parts.values():
            playback = self._playback.parts.get((part.item_id, part.content_index))
            for span in playback.spans if playback is not None else ():
                begin, end = (round(ms / 1000 * RATE) for ms in (span.from_ms, span.to_ms))
                if part.sound.data[begin:end]:
                    yield Sound(span.start_s, "agent", bytes(part.sound.data[begin:end]))


def _key(value: Mapping[str, Any]) -> tuple[str, int]:
    index = number_of(value.get("content_index"))
    return text_of(value.get("item_id")), round(index or 0)


def _format(event: Mapping[str, Any], side: str) -> AudioFormat | None:
    name = as_text(within(event, "session", "audio", side, "format", "type"))
    try:
        return parse_audio_format(name) if name is not None else None
    except AudioFormatError:
        return None
