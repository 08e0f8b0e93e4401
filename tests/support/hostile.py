"""A server that keeps to the protocol, and what spoils its events on the way: for the fuzzers of core and session.

The server answers each client event and begins everything by itself that a server can begin, every type of event among
it. `Spoiler` makes frames of its events: fields that are missing, null or of another type, numbers without bounds, ids
of others, events lost, doubled, late or from the past, types that nobody knows, frames that are no JSON.
"""

from __future__ import annotations

import copy
import json
import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs

__all__ = ["Server", "Spoiler", "TOOLS", "naming"]

Event = dict[str, Any]

TOOLS = ("look", "risk", "transfer_to_b", "unheard_of")
"""What the model calls: a tool, one that needs approval, a handoff, and one that there is not."""

_WORDS = ("Well, ", "I think ", "that is ", "fine. ", "zebra ")
_AUDIO = "AAAA" * 400
_USAGE = {
    "total_tokens": 12,
    "input_tokens": 7,
    "output_tokens": 5,
    "input_token_details": {"text_tokens": 3, "audio_tokens": 4, "cached_tokens": 0},
    "output_token_details": {"text_tokens": 1, "audio_tokens": 4},
}


@attrs.define
class Server:
    """One connection's server. `down` has the events that it has sent and the client has not read."""

    rng: random.Random
    down: deque[Event] = attrs.Factory(deque)
    items: dict[str, Event] = attrs.Factory(dict)
    session: Event = attrs.Factory(lambda: {"type": "realtime", "object": "realtime.session", "id": "sess_1"})
    prefix: str = ""
    plain: bool = False
    """It says something in each response, and all of it."""

    _last: int = 0
    _input_item: str | None = None
    _ms: int = 0

    def send(self, type: str, **fields: Any) -> None:
        self.down.append({"type": type, "event_id": self._new("event"), **fields})

    def _new(self, kind: str) -> str:
        self._last += 1
        return f"{kind}_{self.prefix}{self._last}"

    def open(self) -> None:
        """The first event of a connection."""
        detection = {"type": "server_vad", "create_response": True, "interrupt_response": True}
        pcm = {"type": "audio/pcm", "rate": 24000}
        audio = {"input": {"format": pcm, "turn_detection": detection}, "output": {"format": pcm}}
        self.session = {**self.session, "model": "m", "audio": audio}
        self.send("session.created", session=self.session)

    # ---- answers ---------------------------------------------------------------------------------------------------

    def hear(self, event: Event) -> None:
        """Answer an event of the client."""
        kind, event_id = event["type"], event.get("event_id")
        match kind:
            case "session.update":
                self.session = _merged(self.session, event["session"])
                self.send("session.updated", session=self.session)
            case "conversation.item.create":
                item = {"id": self._new("item"), "status": "completed", **event["item"]}
                if item["id"] in self.items:
                    self._refuse("invalid_value", event_id, param="item.id")
                else:
                    self._add(item, previous=event.get("previous_item_id"))
            case "conversation.item.retrieve" | "conversation.item.delete" | "conversation.item.truncate":
                self._about_item(kind.removeprefix("conversation.item."), event)
            case "input_audio_buffer.append":
                self._ms += 20
            case "input_audio_buffer.commit":
                self._commit(self._new("item"))
            case "input_audio_buffer.clear":
                self.send("input_audio_buffer.cleared")
            case "response.create":
                wanted = event.get("response") or {}
                outside = wanted.get("conversation") == "none"
                if not outside and self.live:
                    self._refuse("conversation_already_has_active_response", event_id)
                else:
                    self.respond(metadata=wanted.get("metadata"), outside=outside, tools=wanted.get("tools") != [])
            case "response.cancel":
                self._cancel(event.get("response_id"), event_id)
            case "output_audio_buffer.clear":
                self.send("output_audio_buffer.cleared", response_id="resp_0")

    @property
    def live(self) -> list[str]:
        """Responses in the conversation of which the end has not been read."""
        ends = (each["response"] for each in self.down if each["type"] == "response.done")
        return [each["id"] for each in ends if each["conversation_id"] is not None]

    def _refuse(self, code: str, event_id: str | None, *, param: str | None = None) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": "no", "param": param, "event_id": event_id}
        self.send("error", error=error)

    def _add(self, item: Event, *, previous: str | None = None) -> None:
        before = previous or next(reversed(self.items), None)
        self.items[item["id"]] = item
        self.send("conversation.item.added", item=item, previous_item_id=before)
        self.send("conversation.item.done", item=item, previous_item_id=before)

    def _about_item(self, what: str, event: Event) -> None:
        item_id = event["item_id"]
        item = self.items.get(item_id)
        if item is None:
            self._refuse("item_not_found", event.get("event_id"), param="item_id")
        elif what == "retrieve":
            self.send("conversation.item.retrieved", item=item)
        elif what == "delete":
            del self.items[item_id]
            self.send("conversation.item.deleted", item_id=item_id)
        else:
            cut = {key: event[key] for key in ("item_id", "content_index", "audio_end_ms")}
            self.send("conversation.item.truncated", **cut)

    def _commit(self, item_id: str) -> None:
        before = next(reversed(self.items), None)
        self.send("input_audio_buffer.committed", item_id=item_id, previous_item_id=before)
        content = [{"type": "input_audio", "transcript": None}]
        self._add({"id": item_id, "type": "message", "role": "user", "status": "completed", "content": content})
        about = {"item_id": item_id, "content_index": 0}
        if self.rng.random() < 0.2:
            failure = {"type": "transcription_error", "code": "audio_unintelligible", "message": "no"}
            self.send("conversation.item.input_audio_transcription.failed", error=failure, **about)
            return
        self.send("conversation.item.input_audio_transcription.delta", delta="Hello", **about)
        said = {"id": "seg_1", "text": "Hello", "speaker": "A", "start": 0.0, "end": 0.4}
        self.send("conversation.item.input_audio_transcription.segment", **said, **about)
        usage = {"type": "duration", "seconds": 1.0}
        self.send(
            "conversation.item.input_audio_transcription.completed", transcript="Hello there", usage=usage, **about
        )

    def _cancel(self, response_id: str | None, event_id: str | None) -> None:
        found = response_id or next(iter(self.live), None)
        done = next((e for e in self.down if e["type"] == "response.done" and e["response"]["id"] == found), None)
        if done is None:
            self._refuse("response_cancel_not_active", event_id)
            return
        kept = [e for e in self.down if e.get("response_id") != found and e is not done]
        self.down = deque(kept)
        ended = {"status": "cancelled", "status_details": {"type": "cancelled", "reason": "client_cancelled"}}
        self.send("response.done", response={**done["response"], **ended})

    # ---- responses -------------------------------------------------------------------------------------------------

    def respond(self, *, metadata: Any = None, outside: bool = False, tools: bool = True) -> None:
        """Make a response, from its beginning to its end."""
        rng, response_id, plain = self.rng, self._new("resp"), self.plain
        conversation = None if outside else "conv_1"
        response: Event = {"id": response_id, "object": "realtime.response", "status": "in_progress", "output": []}
        response |= {"conversation_id": conversation, "metadata": metadata, "usage": None}
        self.send("response.created", response=response)
        output = []
        for index in range(1 if plain else rng.choice((0, 1, 1, 1, 2))):
            call = tools and not plain and rng.random() < 0.3
            make = self._call if call else self._speech if plain or rng.random() < 0.8 else self._text
            item = make({"response_id": response_id, "output_index": index}, outside=outside)
            output.append(item)
        details: Any = None
        status = "completed" if plain else rng.choices(("completed", "incomplete", "failed"), (18, 1, 1))[0]
        if status == "failed":
            details = {"type": "failed", "error": {"type": "server_error", "code": "server_error", "message": "no"}}
        elif status == "incomplete":
            details = {"type": "incomplete", "reason": "max_output_tokens"}
        ended = {"status": status, "status_details": details, "output": output, "usage": _USAGE}
        self.send("response.done", response={**response, **ended})
        self.send(
            "rate_limits.updated", rate_limits=[{"name": "tokens", "limit": 9, "remaining": 8, "reset_seconds": 1}]
        )

    def _begin_item(self, place: Event, item: Event, *, outside: bool) -> None:
        before = next(reversed(self.items), None)
        self.send("response.output_item.added", item=item, **place)
        if not outside:
            self.items[item["id"]] = item
            self.send("conversation.item.added", item=item, previous_item_id=before)

    def _end_item(self, place: Event, item: Event, *, outside: bool) -> Event:
        self.send("response.output_item.done", item=item, **place)
        if not outside:
            self.items[item["id"]] = item
            self.send("conversation.item.done", item=item, previous_item_id=None)
        return item

    def _speech(self, place: Event, *, outside: bool) -> Event:
        item: Event = {"id": self._new("item"), "type": "message", "role": "assistant", "status": "in_progress"}
        self._begin_item(place, {**item, "content": []}, outside=outside)
        part = {**place, "item_id": item["id"], "content_index": 0}
        self.send("response.content_part.added", part={"type": "audio", "transcript": ""}, **part)
        said = ""
        for _ in range(self.rng.randrange(1, 4)):
            said += self.rng.choice(_WORDS[:4] if self.plain else _WORDS)
            self.send("response.output_audio_transcript.delta", delta=said, **part)
            self.send("response.output_audio.delta", delta=_AUDIO, **part)
        self.send("response.output_audio.done", **part)
        self.send("response.output_audio_transcript.done", transcript=said, **part)
        self.send("response.content_part.done", part={"type": "audio", "transcript": said}, **part)
        content = [{"type": "output_audio", "transcript": said}]
        return self._end_item(place, {**item, "status": "completed", "content": content}, outside=outside)

    def _text(self, place: Event, *, outside: bool) -> Event:
        item: Event = {"id": self._new("item"), "type": "message", "role": "assistant", "status": "in_progress"}
        self._begin_item(place, {**item, "content": []}, outside=outside)
        part = {**place, "item_id": item["id"], "content_index": 0}
        self.send("response.content_part.added", part={"type": "text", "text": ""}, **part)
        text = self.rng.choice(_WORDS)
        self.send("response.output_text.delta", delta=text, **part)
        self.send("response.output_text.done", text=text, **part)
        self.send("response.content_part.done", part={"type": "text", "text": text}, **part)
        content = [{"type": "output_text", "text": text}]
        return self._end_item(place, {**item, "status": "completed", "content": content}, outside=outside)

    def _call(self, place: Event, *, outside: bool) -> Event:
        name, call_id = self.rng.choice(TOOLS), self._new("call")
        item: Event = {"id": self._new("item"), "type": "function_call", "call_id": call_id, "name": name}
        self._begin_item(place, {**item, "status": "in_progress", "arguments": ""}, outside=outside)
        about = {**place, "item_id": item["id"], "call_id": call_id}
        self.send("response.function_call_arguments.delta", delta="{}", **about)
        self.send("response.function_call_arguments.done", arguments="{}", name=name, **about)
        return self._end_item(place, {**item, "status": "completed", "arguments": "{}"}, outside=outside)

    # ---- what it begins by itself ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Do something by itself."""
        rng = self.rng
        match rng.randrange(12):
            case 0 | 1 | 2 | 3:
                self.user_speaks(answered=rng.random() < 0.7)
            case 4 | 5:
                if not self.live:
                    self.respond()
            case 6:
                item_id = self._new("item")
                self.send("input_audio_buffer.timeout_triggered", item_id=item_id, audio_start_ms=0, audio_end_ms=9)
                self._commit(item_id)
            case 7:
                self.send("input_audio_buffer.dtmf_event_received", event="5", received_at=1_700_000_000)
                self.send("session.updated", session=self.session)
            case 8:
                self._hosted_mcp()
            case 9:
                self.server_plays()
            case 10:
                code = rng.choice(("rate_limit_exceeded", "server_error", "invalid_value", "item_not_found"))
                self._refuse(code, rng.choice((None, "evt_1")), param=rng.choice((None, "session.audio")))
            case 11:
                self.send("conversation.created", conversation={"id": "conv_1", "object": "realtime.conversation"})
                item = {"id": self._new("item"), "type": "message", "role": "system", "status": "completed"}
                content = [{"type": "input_text", "text": "Be brief."}]
                self.send("conversation.item.created", item={**item, "content": content}, previous_item_id=None)

    def user_speaks(self, *, answered: bool) -> None:
        """The user takes a turn, as the voice detection hears it."""
        item_id = self._new("item")
        self.send("input_audio_buffer.speech_started", item_id=item_id, audio_start_ms=self._ms)
        for response_id in self.live:
            self._cancel(response_id, None)
        self._ms += 900
        self.send("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=self._ms)
        self._commit(item_id)
        if answered and not self.live:
            self.respond()

    def server_plays(self) -> None:
        """A call that the server carries: it says what it plays."""
        if self.live:
            return
        response_id = f"resp_{self.prefix}{self._last + 2}"
        self.send("rate_limits.updated", rate_limits=[])
        self.respond()
        self.send("output_audio_buffer.started", response_id=response_id)
        kind = self.rng.choice(("stopped", "cleared"))
        self.send(f"output_audio_buffer.{kind}", response_id=response_id)

    def _hosted_mcp(self) -> None:
        listing = self._new("item")
        self.send("mcp_list_tools.in_progress", item_id=listing)
        self.send(f"mcp_list_tools.{self.rng.choice(('completed', 'failed'))}", item_id=listing)
        tool = {"name": "find", "input_schema": {"type": "object"}, "description": "x", "annotations": None}
        self._add({"id": listing, "type": "mcp_list_tools", "server_label": "s", "tools": [tool]})
        call = self._new("item")
        about = {"item_id": call, "output_index": 0}
        made = {"id": call, "type": "mcp_call", "server_label": "s", "name": "find", "arguments": "{}"}
        self.send("response.mcp_call_arguments.delta", response_id="resp_0", delta="{}", **about)
        self.send("response.mcp_call_arguments.done", response_id="resp_0", arguments="{}", **about)
        self.send("response.mcp_call.in_progress", **about)
        self.send(f"response.mcp_call.{self.rng.choice(('completed', 'failed'))}", **about)
        self._add({**made, "output": "x", "error": None})
        asked = {"id": self._new("item"), "type": "mcp_approval_request", "server_label": "s"}
        self._add({**asked, "name": "find", "arguments": "{}"})


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
    return new


# ---- spoiling -------------------------------------------------------------------------------------------------------

_DEEP = json.loads("[" * 60 + "]" * 60)
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 3, 1.5, -0.0, 1e308, -1e308, 2**31, 2**63 - 1, 2**63, 2**64, -(10**30), 10**400),
    *("", "x", " ", "\ud83d", "\x1b[2J\x00", "a" * 5000, "{}", "null", "not base64!", "AAAA", "AAA", "NaN", "root"),
    *([], {}, [[]], [None], [{}], [1, "x"], {"": None}, {"id": 5}, {"type": "message"}, {"type": {}}, _DEEP),
    *([{"type": "function_call"}], [{"type": "output_audio"}], {"error": []}, float("nan"), float("inf")),
)
_FRAMES: tuple[str | bytes, ...] = (
    *("", " ", "null", "5", "[]", "{}", '"x"', "{", "\x00", "\ufeff{}", '{"type":"error"}', '{"type":null}', "\ud83d"),
    *(b"", b"\xff\xfe", b'{"type":"\xff"}', '{"type":' * 300, "[" * 100_000, "9" * 10_000, '{"type":NaN}'),
    *('{"type":"response.done","type":"response.created"}', '{"type":"response.output_audio.delta","delta":"'),
)
_NAMES = ("type", "id", "item_id", "response_id", "status", "content", "item", "error", "usage", "transcript", "output")


@attrs.define
class Spoiler:
    """Makes frames of events, and spoils so many of them as `rate` says (0: none)."""

    rng: random.Random
    rate: float
    _ids: deque[str] = attrs.Factory(lambda: deque(("item_0", "resp_0", "call_0", ""), maxlen=60))
    _past: deque[Event] = attrs.Factory(lambda: deque(maxlen=40))
    _held: list[Event] = attrs.Factory(list)

    def frames(self, event: Event) -> list[str | bytes]:
        """What comes of an event, none or some."""
        rng, rate = self.rng, self.rate
        if not rate:
            return [json.dumps(event)]
        self._past.append(event)
        events = [event]
        chance = rng.random()
        if chance < rate:
            match rng.randrange(8):
                case 0:
                    events = []
                case 1:
                    events = [event] * rng.choice((2, 2, 3, 20))
                case 2:
                    self._held.append(event)
                    events = []
                case 3:
                    events = [rng.choice(self._past), event]
                case 4:
                    events = [event, *(rng.choice(self._past) for _ in range(5))]
                case 5:
                    events = [
                        {**event, "type": rng.choice(("response.of.tomorrow", "", rng.choice(self._past)["type"]))}
                    ]
                case _:
                    events = [self.wrong(event)]
        if self._held and rng.random() < 0.2:
            events.append(self._held.pop(rng.randrange(len(self._held))))
        frames = [self._frame(each) for each in events]
        if rng.random() < rate / 10:
            frames.append(rng.choice(_FRAMES))
        return frames

    def _frame(self, event: Event) -> str | bytes:
        text = json.dumps(event)
        if self.rng.random() < self.rate / 20:
            at = self.rng.randrange(len(text))
            return text[:at] + self.rng.choice(("", "}", "\x00", '"', "\\ud83d", "1e999", ",")) + text[at + 1 :]
        return text.encode() if self.rng.random() < 0.1 else text

    def wrong(self, event: Event) -> Event:
        """Return the event with something wrong in it."""
        wrong: Event = json.loads(json.dumps(event))
        for _ in range(self.rng.choice((1, 1, 2, 4))):
            self._spoil(wrong)
        return wrong

    def _spoil(self, event: Event) -> None:
        rng = self.rng
        node: Any = event
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                return
            key = rng.choice(keys)
            inner = node[key]
            if not (isinstance(inner, (dict, list)) and inner and rng.random() < 0.8):
                break
            node = inner
        if isinstance(inner, str) and (key == "id" or str(key).endswith("_id")):
            self._ids.append(inner)
            if rng.random() < 0.6:
                node[key] = rng.choice(self._ids)
                return
        match rng.randrange(6):
            case 0:
                del node[key]
            case 1 if isinstance(node, dict):
                node[rng.choice(_NAMES)] = copy.deepcopy(rng.choice(_ODD))
            case 2 if isinstance(inner, str):
                node[key] = inner[: rng.randrange(len(inner) + 1)]
            case 3 if isinstance(node, list):
                node.append(copy.deepcopy(inner))
            case _:
                node[key] = copy.deepcopy(rng.choice(_ODD))


@contextmanager
def naming(run: str) -> Iterator[None]:
    """Name the run in what it raises."""
    try:
        yield
    except Exception as error:
        error.add_note(run)
        raise
