"""A model of the user's own, written for the SDK, as something that a session of trealtime connects through.

The session speaks the Realtime protocol over a wire in memory. At the other end, a task reads what the session sends
and calls the model's `send_event` with the SDK's values; a listener writes what the model tells as server events
(`_custom_events`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import trio

from trealtime._log import Log
from trealtime._secrets import stand_in, withheld
from trealtime.compat.exceptions import UserError
from trealtime.compat.realtime import model_events, model_inputs
from trealtime.compat.realtime._custom_events import EventWriter, Frame
from trealtime.compat.realtime.config import RealtimeSessionModelSettings
from trealtime.compat.realtime.model import RealtimeModel, RealtimeModelConfig, RealtimeModelListener
from trealtime.compat.realtime.model_events import RealtimeModelToolCallEvent
from trealtime.compat.tool import FunctionTool
from trealtime.terminal import text_of
from trealtime.transport.background import background_nursery
from trealtime.transport.memory import MemoryWire, memory_wire_pair
from trealtime.transport.models import ConnectionTarget
from trealtime.transport.wire import Wire, WireClosed

__all__ = ["CustomConnector"]

_LOGGER: Final = Log("trealtime.session")

_CLOSE_S: Final = 3.0
"""How long a model may take to close."""


class CustomConnector:
    """A `trealtime.RealtimeModel` that connects through `model`, with the `options` of the SDK."""

    def __init__(self, model: RealtimeModel, options: RealtimeModelConfig) -> None:
        self._model = model
        self._options = options

    @asynccontextmanager
    async def connect(self, target: ConnectionTarget) -> AsyncIterator[Wire]:
        """Let the model connect as soon as the session's settings are known; close it on leaving."""
        ours, theirs = memory_wire_pair(capacity=4096)
        far_side = _FarSide(self._model, self._options, theirs)
        try:
            async with background_nursery() as nursery:
                nursery.start_soon(far_side.run)
                yield ours
        finally:
            self._model.remove_listener(far_side)
            if far_side.connected:
                with trio.move_on_after(_CLOSE_S, shield=True):
                    await self._model.close()


class _FarSide(RealtimeModelListener):
    """The custom model in the place of a server."""

    def __init__(self, model: RealtimeModel, options: RealtimeModelConfig, wire: MemoryWire) -> None:
        self.connected = False
        self._model = model
        self._options = options
        self._wire = wire
        self._writer = EventWriter()
        self._session: dict[str, Any] = {"id": "sess_custom", "object": "realtime.session", "type": "realtime"}
        self._calls: dict[str, RealtimeModelToolCallEvent] = {}
        self._asked = False
        """The model was given something that it answers by itself, so the next plain request is for that answer."""
        self._cut = False
        """The model has reported an interrupt of its own: it needs no truncation from the session."""

    async def run(self) -> None:
        try:
            await self._send({"type": "session.created", "session": self._session})
            while True:
                await self._take(json.loads(await self._wire.receive()))
        except WireClosed:
            return
        except Exception as error:  # the session learns of it as of any lost connection
            # That has its text; only a traceback says which line of the user's model it was.
            names = type(self._model).__name__, type(error).__name__
            _LOGGER.error("model %s failed: %s", *names, exc_info=stand_in(error, text_of=withheld))
            await self._wire.aclose(1011, f"{type(error).__name__}: {text_of(error)}")

    async def on_event(self, event: model_events.RealtimeModelEvent) -> None:
        """Tell the session what the model tells."""
        if isinstance(event, RealtimeModelToolCallEvent):
            self._calls[event.call_id] = event
        self._cut |= isinstance(event, model_events.RealtimeModelAudioInterruptedEvent)
        try:
            if isinstance(event, model_events.RealtimeModelExceptionEvent):
                await self._wire.aclose(1011, text_of(event.exception))
            elif isinstance(event, model_events.RealtimeModelEndOfStreamEvent):
                await self._wire.aclose(1000)
            else:
                for frame in self._writer.frames(event):
                    await self._send(frame)
        except WireClosed:
            return

    async def _send(self, frame: Frame) -> None:
        await self._wire.send(json.dumps(frame))

    # ---- what the session sends ----------------------------------------------------------------------------------

    async def _take(self, event: Mapping[str, Any]) -> None:
        match event["type"]:
            case "session.update":
                await self._update(event["session"])
            case "conversation.item.create":
                await self._create_item(event["item"])
            case "input_audio_buffer.append":
                await self._model.send_event(model_inputs.RealtimeModelSendAudio(base64.b64decode(event["audio"])))
            case "input_audio_buffer.commit":
                await self._model.send_event(model_inputs.RealtimeModelSendAudio(b"", commit=True))
            case "response.create":
                self._writer.metadata = event.get("response", {}).get("metadata")
                if not self._asked:
                    await self._raw(event)
                self._asked = False
            case "response.cancel":
                interrupt = model_inputs.RealtimeModelSendInterrupt(force_response_cancel=True)
                if not self._cut:
                    await self._model.send_event(interrupt)
            case "conversation.item.truncate":
                if not self._cut:
                    await self._model.send_event(model_inputs.RealtimeModelSendInterrupt())
                self._cut = False
                answer = {key: event[key] for key in ("item_id", "content_index", "audio_end_ms")}
                await self._send({"type": "conversation.item.truncated", **answer})
            case _:
                await self._raw(event)

    async def _raw(self, event: Mapping[str, Any]) -> None:
        rest = {key: value for key, value in event.items() if key not in ("type", "event_id")}
        message: model_inputs.RealtimeModelRawClientMessage = {"type": event["type"], "other_data": rest}
        await self._model.send_event(model_inputs.RealtimeModelSendRawMessage(message))

    async def _update(self, changes: Mapping[str, Any]) -> None:
        self._session = _merged(self._session, changes)
        settings = _settings(changes)
        if not self.connected:
            options = dict(self._options)
            options["initial_model_settings"] = {**options.get("initial_model_settings", {}), **settings}  # type: ignore[dict-item]
            self._model.add_listener(self)
            self.connected = True
            await self._model.connect(cast("RealtimeModelConfig", options))
        else:
            await self._model.send_event(model_inputs.RealtimeModelSendSessionUpdate(settings))
        await self._send({"type": "session.updated", "session": self._session})

    async def _create_item(self, item: Mapping[str, Any]) -> None:
        for frame in self._writer.added(item):
            await self._send(frame)
        if item["type"] == "function_call_output":
            call = self._calls.pop(item["call_id"], None) or RealtimeModelToolCallEvent("", item["call_id"], "")
            self._asked = True
            output = model_inputs.RealtimeModelSendToolOutput(call, item["output"], start_response=True)
            await self._model.send_event(output)
        elif item["type"] == "message" and item["role"] == "user":
            self._asked = True
            await self._model.send_event(model_inputs.RealtimeModelSendUserInput(_user_input(item)))
        else:
            await self._raw({"type": "conversation.item.create", "item": item})


def _user_input(item: Mapping[str, Any]) -> model_inputs.RealtimeModelUserInput:
    match item["content"]:
        case [{"type": "input_text", "text": str(text)}]:
            return text
        case content:
            message = {"type": "message", "role": "user", "content": content}
            return cast("model_inputs.RealtimeModelUserInputMessage", message)


def _merged(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in changes.items():
        before = merged.get(key)
        merged[key] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def _settings(session: Mapping[str, Any]) -> RealtimeSessionModelSettings:
    """Return settings as the SDK gives them to a model: tools as objects, the rest as on the wire."""
    settings = {key: value for key, value in session.items() if key not in ("type", "model", "tools")}
    if "model" in session:
        settings["model_name"] = session["model"]
    if "tools" in session:
        settings["tools"] = [
            FunctionTool(tool["name"], tool.get("description") or "", tool["parameters"], _not_called)
            for tool in session["tools"]
            if tool.get("type") == "function"
        ]
    return cast("RealtimeSessionModelSettings", settings)


async def _not_called(_context: object, _arguments: str) -> str:
    raise UserError("the session calls tools, the model does not")
