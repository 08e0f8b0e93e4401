"""A small server of the protocol with an item graph of its own, for the random machines.

What it sends and what the core sends travels through queues, so every race between the two sides is reachable: a
response that the server's voice detection begins while our request is on its way, deltas of a cancelled response, a
refusal that comes a second late.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import attrs
import pybase64

from trealtime._core.effects import GuardrailCheck
from trealtime._core.guardrails import GuardrailPolicy
from trealtime._core.interruption import BargeIn
from trealtime._core.settings import detection_of
from trealtime.agents.guardrails import (
    GuardrailFunctionOutput,
    InputGuardrail,
    InputGuardrailResult,
    OutputGuardrail,
    OutputGuardrailResult,
)
from trealtime.tools.function_tool import FunctionTool

GRACE_S = 5.0
TIMEOUT_S = 30.0
APPROVAL_S = 3.0
REQUEST_S = 10.0
BYTES_PER_MS = 48
WORDS = ("well", "I", "think", "that", "is", "fine")


def look(**options: Any) -> FunctionTool:
    """The tool that the model calls."""

    async def handler(context: Any, arguments: str) -> str:
        raise AssertionError("the core runs nothing")

    schema = {"type": "object"}
    return FunctionTool("look", "", params_json_schema=schema, on_invoke_tool=handler, needs_approval=True, **options)


@attrs.define
class Making:
    """A response that the server is making: what it has still to send, and what it would send if it were cancelled."""

    id: str
    out_of_band: bool
    metadata: dict[str, str] | None
    answers: str | None
    """The event id of the request that it answers."""

    items: list[dict[str, Any]]
    at: tuple[int, int] = (0, 0)
    """Item and step within it."""


@attrs.define
class ModelServer:
    rng: random.Random
    vad: bool
    answers_turns: bool
    interrupts: bool
    echoes: bool
    names_conversations: bool
    error_ids: bool
    late_errors: bool
    other_ids: bool = False
    """Errors come under ids that are none of ours."""

    down: list[dict[str, Any]] = attrs.Factory(list)
    late: list[dict[str, Any]] = attrs.Factory(list)
    order: list[str] = attrs.Factory(list)
    items: dict[str, dict[str, Any]] = attrs.Factory(dict)
    audio_ms: Counter[tuple[str, int]] = attrs.Factory(Counter)
    making: dict[str, Making] = attrs.Factory(dict)
    speaking: str | None = None
    transcribing: list[str] = attrs.Factory(list)
    outside: set[str] = attrs.Factory(set)
    """Out-of-band responses."""

    answered: dict[str, str] = attrs.Factory(dict)
    """Response id to the event id of our request."""

    seen: set[str] = attrs.Factory(set)
    """Items that were there when some response of the conversation began."""

    _last: int = 0

    # ---- helpers ---------------------------------------------------------------------------------------------------

    def id(self, prefix: str) -> str:
        self._last += 1
        return f"{prefix}_{self._last}"

    def send(self, type: str, **fields: Any) -> None:
        self.down.append({"type": type, "event_id": self.id("event"), **fields})

    def refuse(self, event: dict[str, Any], code: str, param: str | None = None) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": code, "param": param}
        named = "of another client" if self.other_ids else event["event_id"] if self.error_ids else None
        frame = {
            "type": "error",
            "event_id": self.id("event"),
            "error": {**error, "event_id": named},
            "refuses": event["event_id"],
        }
        (self.late if self.late_errors else self.down).append(frame)

    @property
    def active(self) -> Making | None:
        return next((each for each in self.making.values() if not each.out_of_band), None)

    def enter(self, item: dict[str, Any], after: str | None = None, *, at_end: bool = True) -> None:
        """An item enters the conversation and is announced."""
        position = len(self.order) if at_end else (0 if after is None else self.order.index(after) + 1)
        self.order.insert(position, item["id"])
        self.items[item["id"]] = item
        self.announce("added", item)

    def announce(self, kind: str, item: dict[str, Any]) -> None:
        if item["id"] not in self.order:
            return
        position = self.order.index(item["id"])
        previous = self.order[position - 1] if position else None
        self.send(f"conversation.item.{kind}", item=self.shown(item), previous_item_id=previous)

    @staticmethod
    def shown(item: dict[str, Any]) -> dict[str, Any]:
        """An item as events show it: without images and audio."""
        if "content" not in item:
            return dict(item)
        return {**item, "content": [dict(part) for part in item["content"] if part["type"] != "input_image"]}

    # ---- what the client asks --------------------------------------------------------------------------------------

    def read(self, event: dict[str, Any]) -> None:
        name = event["type"].replace(".", "_")
        getattr(self, f"on_{name}")(event)

    def on_session_update(self, event: dict[str, Any]) -> None:
        if not isinstance(event["session"], dict) or event["session"].get("bad"):
            self.refuse(event, "invalid_value", "session.bad")
            return
        detection = detection_of(event["session"])
        if detection is not None:
            self.answers_turns = detection.get("create_response", True)
            self.interrupts = detection.get("interrupt_response", True)
            self.vad = True
        elif "turn_detection" in event["session"].get("audio", {}).get("input", {}):
            self.vad, self.speaking = False, None
        self.send("session.updated", session=self.session())

    def session(self) -> dict[str, Any]:
        detection = {
            "type": "server_vad",
            "create_response": self.answers_turns,
            "interrupt_response": self.interrupts,
        }
        return {"type": "realtime", "audio": {"input": {"turn_detection": detection if self.vad else None}}}

    def on_conversation_item_create(self, event: dict[str, Any]) -> None:
        item, after = {"id": self.id("item"), **event["item"], "status": "completed"}, event.get("previous_item_id")
        if after not in (None, "root", *self.order):
            self.refuse(event, "invalid_value", "previous_item_id")
            return
        self.enter(item, None if after == "root" else after, at_end=after is None)
        self.announce("done", item)

    def on_conversation_item_delete(self, event: dict[str, Any]) -> None:
        if event["item_id"] not in self.order:
            self.refuse(event, "item_delete_invalid_item_id")
            return
        self.order.remove(event["item_id"])
        self.send("conversation.item.deleted", item_id=event["item_id"])

    def on_conversation_item_retrieve(self, event: dict[str, Any]) -> None:
        if event["item_id"] not in self.order:
            self.refuse(event, "item_retrieve_invalid_item_id")
            return
        self.send("conversation.item.retrieved", item=self.shown(self.items[event["item_id"]]))

    def on_conversation_item_truncate(self, event: dict[str, Any]) -> None:
        key = (event["item_id"], event["content_index"])
        if event["item_id"] not in self.order or event["audio_end_ms"] > self.audio_ms[key]:
            self.refuse(event, "invalid_value")
            return
        self.send(
            "conversation.item.truncated", item_id=key[0], content_index=key[1], audio_end_ms=event["audio_end_ms"]
        )

    def on_input_audio_buffer_commit(self, event: dict[str, Any]) -> None:
        self.commit(self.id("item"))

    def on_input_audio_buffer_append(self, event: dict[str, Any]) -> None:
        """Audio says nothing here: `begin_speech` and `end_speech` say what is heard in it."""

    def on_input_audio_buffer_clear(self, event: dict[str, Any]) -> None:
        self.speaking = None
        self.send("input_audio_buffer.cleared")

    def on_response_create(self, event: dict[str, Any]) -> None:
        params = event["response"]
        out_of_band = params.get("conversation") == "none"
        if not out_of_band and self.active is not None:
            self.refuse(event, "conversation_already_has_active_response")
            return
        self.begin(out_of_band, params.get("metadata") if self.echoes else None, event["event_id"])

    def on_response_cancel(self, event: dict[str, Any]) -> None:
        making = self.making.get(event["response_id"])
        if making is None:
            self.refuse(event, "response_cancel_not_active")
        else:
            self.end(making, "cancelled", "client_cancelled")

    # ---- making a response -----------------------------------------------------------------------------------------

    def begin(self, out_of_band: bool, metadata: dict[str, str] | None, answers: str | None) -> None:
        response_id = self.id("resp")
        items: list[dict[str, Any]] = []
        for _ in range(self.rng.choice((0, 1, 1, 1, 2))):
            item_id = self.id("item")
            if self.rng.random() < 0.25:
                name = self.rng.choice(("look", "look", "hand over"))
                call = {"type": "function_call", "call_id": self.id("call"), "name": name, "arguments": "{}"}
                items.append({"id": item_id, **call})
            else:
                kinds = self.rng.choice((["output_audio"], ["output_text"], ["output_audio", "output_audio"]))
                content = [{"type": kind} for kind in kinds]
                items.append({"id": item_id, "type": "message", "role": "assistant", "content": content})
        self.making[response_id] = Making(response_id, out_of_band, metadata, answers, items)
        if out_of_band:
            self.outside.add(response_id)
        else:
            self.seen.update(self.order)
        if answers is not None:
            self.answered[response_id] = answers
        shown = {"id": response_id, "status": "in_progress", "metadata": metadata}
        self.send("response.created", response=self.placed(shown, out_of_band))

    def placed(self, response: dict[str, Any], out_of_band: bool) -> dict[str, Any]:
        if self.names_conversations:
            response["conversation_id"] = None if out_of_band else "conv_1"
        return response

    def steps(self, making: Making, item: dict[str, Any]) -> int:
        return 2 + 3 * len(item.get("content", ()))

    def advance(self, making: Making) -> None:
        """One more event of a response (or the last ones)."""
        index, step = making.at
        if index == len(making.items):
            self.end(making, "completed", None)
            return
        item = making.items[index]
        about = {"response_id": making.id, "item_id": item["id"], "output_index": index}
        if step == 0:
            self.begin_item(making, item, index)
        elif step == self.steps(making, item) - 1:
            self.end_item(making, item, index, "completed")
            making.at = (index + 1, 0)
            return
        else:
            content_index, part_step = divmod(step - 1, 3)
            part = item["content"][content_index]
            if part_step < 2:
                self.grow(part, {**about, "content_index": content_index})
            else:
                self.end_part(part, {**about, "content_index": content_index})
        making.at = (index, step + 1)

    def begin_item(self, making: Making, item: dict[str, Any], index: int) -> None:
        bare = {**item, "status": "in_progress", **({"content": []} if "content" in item else {})}
        self.send("response.output_item.added", response_id=making.id, output_index=index, item=bare)
        if not making.out_of_band:
            self.order.append(item["id"])
            self.items[item["id"]] = item
            self.announce_bare(bare)

    def announce_bare(self, item: dict[str, Any]) -> None:
        position = self.order.index(item["id"])
        previous = self.order[position - 1] if position else None
        self.send("conversation.item.added", item=item, previous_item_id=previous)

    def grow(self, part: dict[str, Any], about: dict[str, Any]) -> None:
        word = self.rng.choice(WORDS) + " "
        if part["type"] == "output_text":
            part["text"] = part.get("text", "") + word
            self.send("response.output_text.delta", **about, delta=word)
            return
        part["transcript"] = part.get("transcript", "") + word
        ms = self.rng.choice((10, 200, 1000))
        self.audio_ms[about["item_id"], about["content_index"]] += ms
        audio = pybase64.b64encode_as_string(bytes(ms * BYTES_PER_MS))
        frames = [
            ("response.output_audio_transcript.delta", word),
            ("response.output_audio.delta", audio),
        ]
        for kind, delta in frames if self.rng.random() < 0.7 else reversed(frames):
            self.send(kind, **about, delta=delta)

    def end_part(self, part: dict[str, Any], about: dict[str, Any]) -> None:
        if part["type"] == "output_text":
            self.send("response.output_text.done", **about, text=part.get("text", ""))
            shown = {"type": "text", "text": part.get("text", "")}
        else:
            self.send("response.output_audio.done", **about)
            self.send("response.output_audio_transcript.done", **about, transcript=part.get("transcript", ""))
            shown = {"type": "audio", "transcript": part.get("transcript", "")}
        self.send("response.content_part.done", **about, part=shown)

    def end_item(self, making: Making, item: dict[str, Any], index: int, status: str) -> None:
        item["status"] = status
        output = (
            "response.output_item.done",
            {"response_id": making.id, "output_index": index, "item": self.shown(item)},
        )
        # The place of conversation.item.done is not specified: before or after the response's own event.
        if self.rng.random() < 0.5:
            self.send(output[0], **output[1])
            self.announce("done", item) if not making.out_of_band else None
        else:
            self.announce("done", item) if not making.out_of_band else None
            self.send(output[0], **output[1])

    def end(self, making: Making, status: str, reason: str | None) -> None:
        index, step = making.at
        if status != "completed" and index < len(making.items) and step > 0:
            item = making.items[index]
            begun = (step + 1) // 3 if step > 1 else 0
            if "content" in item:
                item["content"] = item["content"][: max(begun, (step + 1) // 3)]
            self.end_item(making, item, index, "incomplete")
        del self.making[making.id]
        shown = {"id": making.id, "status": status, "metadata": making.metadata, "usage": {"total_tokens": 3}}
        shown["status_details"] = {"type": status, "reason": reason} if reason else None
        self.send("response.done", response=self.placed(shown, making.out_of_band))

    # ---- the user's voice ------------------------------------------------------------------------------------------

    def commit(self, item_id: str) -> None:
        self.send(
            "input_audio_buffer.committed", item_id=item_id, previous_item_id=self.order[-1] if self.order else None
        )
        item = {"id": item_id, "type": "message", "role": "user", "content": [{"type": "input_audio"}]}
        self.enter({**item, "status": "completed"})
        self.announce("done", self.items[item_id])
        self.transcribing.append(item_id)

    def begin_speech(self) -> None:
        self.speaking = self.id("item")
        active = self.active
        first = self.rng.random() < 0.5
        if first:
            self.send("input_audio_buffer.speech_started", item_id=self.speaking, audio_start_ms=0)
        if self.interrupts and active is not None:
            self.end(active, "cancelled", "turn_detected")
        if not first:
            self.send("input_audio_buffer.speech_started", item_id=self.speaking, audio_start_ms=0)

    def end_speech(self) -> None:
        assert self.speaking is not None
        item_id, self.speaking = self.speaking, None
        length_ms = self.rng.choice((10, 10, 3000))
        self.send("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=length_ms)
        self.commit(item_id)
        if self.answers_turns and self.active is None:
            self.begin(False, None, None)


def pass_all(*_: Any) -> GuardrailFunctionOutput:
    return GuardrailFunctionOutput(None, tripwire_triggered=False)


POLICIES = (
    BargeIn(min_speech_ms=300, while_unsure="hold", dismiss="fillers"),
    BargeIn(min_speech_ms=2000, while_unsure="duck"),
    BargeIn(while_unsure="play", dismiss="fillers", transcript_timeout_s=0.2),
)
SPOKEN = OutputGuardrail(pass_all, "spoken")
HEARD = InputGuardrail(pass_all, "heard")
CHECKED = (
    GuardrailPolicy(output=(SPOKEN,), debounce_text_length=12),
    GuardrailPolicy(output=(SPOKEN,), debounce_text_length=12, hold_back=True, hold_back_s=3),
    GuardrailPolicy(input=(HEARD,), gates_turns=True, on_failure="stop"),
    GuardrailPolicy(output=(SPOKEN,), input=(HEARD,), gates_turns=True, hold_back=True, input_recovery="system"),
)


def verdict_on(check: GuardrailCheck) -> OutputGuardrailResult | InputGuardrailResult:
    output = GuardrailFunctionOutput("no", tripwire_triggered=True)
    if check.which == "input":
        return InputGuardrailResult(guardrail=HEARD, user_input=check.text, agent=check.agent, output=output)
    return OutputGuardrailResult(guardrail=SPOKEN, agent_output=check.text, agent=check.agent, output=output)
