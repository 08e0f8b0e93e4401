"""Responses: the rules for starting one, its events on the wire, its end.

`ResponseManager` keeps the rule of one response at a time in the default conversation, and the ones outside it. A
`Response` writes its own events while the engine makes it; the manager ends it. Neither waits nor knows a clock of its
own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal

from trealtime.audio.formats import parse_audio_format
from trealtime.emulator.brain import BrainRequest
from trealtime.emulator.conversation import Conversation
from trealtime.emulator.event_buffer import EventBuffer, Ids
from trealtime.emulator.hosted_mcp import HostedServers, as_functions
from trealtime.emulator.items import Item, read_item
from trealtime.emulator.options import EventOrder
from trealtime.emulator.response import Response
from trealtime.emulator.settings import SessionSettings, cannot_update_voice, read_response_params
from trealtime.emulator.usage import InputTokens, RateLimits, input_tokens, usage_object
from trealtime.emulator.validation import Refusal, invalid_type, missing, nullable, record, text

__all__ = ["EndReason", "ResponseManager"]

EndReason = Literal["turn_detected", "client_cancelled", "max_output_tokens"]

_CREATE = record({"type": text(), "event_id": nullable(text()), "response": lambda value, path: value})
_CANCEL = record({"type": text(), "event_id": nullable(text()), "response_id": text(non_empty=True)})


class ResponseManager:
    """All responses of one session.

    `started` holds the responses that have yet to be made, `spoken` says whether the voice is locked, and
    `ended` is called with each response after its ``response.done``.
    """

    def __init__(
        self,
        event_buffer: EventBuffer,
        ids: Ids,
        conversation: Conversation,
        *,
        clock: Callable[[], float],
        ended: Callable[[Response], None],
        max_out_of_band: int,
        hosted: HostedServers,
        event_order: EventOrder = "usual",
    ) -> None:
        self.started: deque[Response] = deque()
        self.active: Response | None = None
        self.last_ended_id: str | None = None
        self.spoken: bool = False
        self._event_buffer = event_buffer
        self._ids = ids
        self._conversation = conversation
        self._clock = clock
        self._ended = ended
        self._hosted = hosted
        self._max_out_of_band = max_out_of_band
        self._other_order = event_order == "other"
        self._out_of_band: dict[str, Response] = {}
        self._turn_waits = False
        self._limits = RateLimits()
        self._last_read = InputTokens()

    @property
    def running(self) -> list[Response]:
        """Every response that has not ended."""
        return [*([self.active] if self.active else []), *self._out_of_band.values()]

    # ---- client events -----------------------------------------------------------------------------------------

    def create(self, event: dict[str, Any], settings: SessionSettings) -> None:
        """``response.create``."""
        params = read_response_params(_CREATE(event, "").get("response", {}))
        in_conversation = params.get("conversation", "auto") == "auto"
        if in_conversation and self.active is not None:
            raise Refusal(
                f"Conversation already has an active response in progress: {self.active.id}. Wait until it is done.",
                code="conversation_already_has_active_response",
            )
        if not in_conversation and len(self._out_of_band) >= self._max_out_of_band:
            raise Refusal(
                f"At most {self._max_out_of_band} out-of-band responses may run at the same time.",
                code="rate_limit_exceeded",
                type="rate_limit_error",
            )
        voice = params.get("audio", {}).get("output", {}).get("voice", settings.voice)
        if in_conversation and self.spoken and voice != settings.voice:
            raise cannot_update_voice("response.audio.output.voice")
        given = params.get("input")
        context = self._conversation.items if given is None else self._read_input(given, settings)
        self._start(settings, params, in_conversation=in_conversation, context=context)

    def cancel(self, event: dict[str, Any]) -> None:
        """``response.cancel``."""
        response_id = _CANCEL(event, "").get("response_id")
        wanted = [r for r in self.running if r.id == response_id] if response_id else [self.active]
        if not wanted or wanted[0] is None:
            raise Refusal("Cancellation failed: no active response found", code="response_cancel_not_active")
        self.end(wanted[0], "cancelled", reason="client_cancelled")

    def _read_input(self, given: list[Any], settings: SessionSettings) -> list[Item]:
        items = []
        for index, value in enumerate(given):
            path = f"response.input[{index}]"
            if value.get("type") != "item_reference":
                fmt = parse_audio_format(settings.input_format)
                items.append(read_item(value, path, ids=self._ids, input_format=fmt))
                continue
            if "id" not in value:
                raise missing(f"{path}.id")
            if not isinstance(value["id"], str):
                raise invalid_type(f"{path}.id", value["id"], "a string")
            item = self._conversation.get(value["id"])
            if item is None:
                raise Refusal(
                    f"The conversation has no item with id '{value['id']}'.", code="invalid_value", param=f"{path}.id"
                )
            items.append(item)
        return items

    # ---- the server's own moves --------------------------------------------------------------------------------

    def answer_turn(self, settings: SessionSettings, *, queued: bool) -> None:
        """Answer a turn of the user's that is over; with `queued`, while another response runs, as soon as that has
        ended. Else such a turn gets no answer, as OpenAI documents for ``interrupt_response``: false."""
        if self.active is not None:
            self._turn_waits = self._turn_waits or queued
            return
        self._start(settings, {}, in_conversation=True, context=self._conversation.items)

    def interrupt(self) -> None:
        """The user speaks: cancel the response in the default conversation, no other."""
        if self.active is not None:
            self.end(self.active, "cancelled", reason="turn_detected")

    def end(
        self,
        response: Response,
        status: Literal["completed", "cancelled", "incomplete", "failed"],
        *,
        reason: EndReason | None = None,
        error: Mapping[str, str] | None = None,
    ) -> None:
        """End `response`: its open item, then ``response.done``, which comes with every outcome. Once only."""
        if response.over:
            return
        details = {"type": status} | ({"reason": reason} if reason else {}) | ({"error": dict(error)} if error else {})
        usage = usage_object(response.read, response.made, before=self._last_read)
        limits = {"rate_limits": self._limits.spend(self._clock(), tokens=usage["total_tokens"])}
        if self._other_order:
            self._event_buffer.emit("rate_limits.updated", limits)
        response.finish(status, None if status == "completed" else details, usage)
        self._last_read = response.read
        if not self._other_order:
            self._event_buffer.emit("rate_limits.updated", limits)
        if response is self.active:
            self.active, self.last_ended_id = None, response.id
        else:
            del self._out_of_band[response.id]
        self._ended(response)

    def next_turn(self, settings: SessionSettings) -> None:
        """Answer the turn that waited, if one did and nothing is in its way any more."""
        if self._turn_waits and self.active is None:
            self._turn_waits = False
            self.answer_turn(settings, queued=True)

    def note_speech(self, response: Response) -> None:
        """`response` makes its first sound."""
        response.speech_began_at = self._clock()
        if response.in_conversation:
            self.spoken = True

    def _start(
        self, settings: SessionSettings, params: Mapping[str, Any], *, in_conversation: bool, context: list[Item]
    ) -> None:
        data = settings.data
        output = data["audio"]["output"] | params.get("audio", {}).get("output", {})
        tools = params.get("tools", data["tools"])
        instructions = params.get("instructions", data["instructions"])
        hosted = self._hosted.offered(tools)
        response = Response(
            id=self._ids.new("resp"),
            conversation=self._conversation if in_conversation else None,
            modality=params.get("output_modalities", data["output_modalities"])[0],
            audio_format=parse_audio_format(output["format"]),
            format=output["format"],
            voice=output["voice"],
            speed=output["speed"],
            max_output_tokens=params.get("max_output_tokens", data["max_output_tokens"]),
            metadata=params.get("metadata"),
            context=tuple(context),
            request=BrainRequest(
                instructions=instructions,
                tools=(*tools, *as_functions(hosted)),
                tool_choice=params.get("tool_choice", data["tool_choice"]),
                parallel_tool_calls=params.get("parallel_tool_calls", data.get("parallel_tool_calls", True)),
                output_modalities=tuple(params.get("output_modalities", data["output_modalities"])),
                metadata=params.get("metadata"),
                own_instructions="instructions" in params,
            ),
            hosted=hosted,
            approved=self._hosted.take() if in_conversation else (),
            read=input_tokens(instructions, tools, context),
            item_first=self._other_order,
            ids=self._ids,
            event_buffer=self._event_buffer,
        )
        if in_conversation:
            self.active = response
        else:
            self._out_of_band[response.id] = response
        response.announce()
        self.started.append(response)
