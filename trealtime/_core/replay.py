"""Replay: the conversation as the user heard it, told to a server that does not know it.

Theory of operation
1. Items keep their ids and their order: each names the one before it. They leave one after another, and nothing waits
   for an answer (`reconnection`).
2. Text that the user typed goes as text; speech of the user as its words, or as its audio where there are none and it
   is still kept. Speech of the agent goes as text, up to where it was heard: servers take no audio of the agent.
3. A call is told with its output right after it. A call that still runs, or waits for a decision, is told alone: its
   output follows when there is one. A call that never got an output is left out.
4. Calls that the server has made itself (MCP) are told as text, because another server has not made them. A request
   for approval that is still pending is told as it is.
5. Everything else is left out: items without content, and types that are newer than this library.
6. Past a bound of items or tokens the oldest turns are folded: left out, with a summary in their place if there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
import pybase64

from trealtime._value import Value
from trealtime.audio.formats import PCM16_24K, AudioFormat
from trealtime.items import (
    AssistantAudio,
    AssistantMessageItem,
    AssistantText,
    InputAudio,
    InputImage,
    InputText,
    OtherItem,
    RealtimeItem,
    RealtimeToolCallItem,
    SystemMessageItem,
    UserMessageItem,
)

__all__ = ["Entry", "Replay", "ReplayBounds", "estimated_tokens", "folded", "heard_text", "make_replay", "spoken"]

Json = dict[str, Any]

_CHARS_PER_TOKEN: Final = 4
_IMAGE_TOKENS: Final = 800
_ITEM_TOKENS: Final = 4
"""What an item takes beside its text."""

_AUDIO_TOKENS_PER_S: Final = 10

SPEECH_CHARS_PER_S: Final = 16.0
"""How fast an agent speaks: some 160 words a minute."""

_AHEAD: Final = 1.25
"""A transcript that is longer than this much of what the audio can hold has run ahead of it."""


@attrs.frozen(eq=False, repr=False)
class Entry(Value):
    """An item of the history, with the id of its output's own item if it is a call that has one."""

    item: RealtimeItem
    output_id: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ReplayBounds(Value):
    """The most that another server is told. None: no bound."""

    max_items: int | None = None
    max_tokens: int | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Replay(Value):
    """The items to create, in order, and what they leave out."""

    items: tuple[Json, ...] = ()
    """Items of the wire, with ids."""

    stands_for: Mapping[str, str] = attrs.field(factory=dict)
    """By the id of a told item, the last item of the history that its place stands for: those after it that are left
    out."""

    summary_id: str | None = None
    """The item that stands for the folded turns, which is in no history."""

    left_out: int = 0
    """Items of the history that are not told."""

    tokens: int = 0
    """An estimate of the input that it makes."""


def make_replay(
    entries: Sequence[Entry],
    *,
    open_calls: Collection[str] = (),
    pending_approvals: Collection[str] = (),
    audio_of: Callable[[str], bytes | None] = lambda _: None,
    bounds: ReplayBounds | None = None,
    summary: Mapping[str, Any] | None = None,
    audio_format: AudioFormat = PCM16_24K,
) -> Replay:
    """Return what to tell of this history. `open_calls` are the ids of calls whose outputs follow, `audio_of` gives the
    kept audio of a turn of the user in `audio_format`, `summary` is the item that stands for the folded turns."""
    first = folded(entries, bounds or ReplayBounds())
    items: list[Json] = []
    stands_for: dict[str, str] = {}
    left_out = 0
    summary_id = None
    if first and summary is not None:
        items.append(dict(summary))
        summary_id = summary["id"]
    for number, entry in enumerate(entries):
        item = entry.item
        told = [] if number < first else _told(entry, open_calls, pending_approvals, audio_of)
        items += told
        left_out += not told
        if items:
            stands_for[items[-1]["id"]] = item.item_id if entry.output_id is None else entry.output_id
    tokens = sum(_tokens(item, audio_format) for item in items)
    return Replay(items=tuple(items), stands_for=stands_for, summary_id=summary_id, left_out=left_out, tokens=tokens)


# ---- item by item ---------------------------------------------------------------------------------------------------


def _told(
    entry: Entry,
    open_calls: Collection[str],
    pending_approvals: Collection[str],
    audio_of: Callable[[str], bytes | None],
) -> list[Json]:
    match entry.item:
        case SystemMessageItem(item_id=item_id, content=content):
            return _message(item_id, "system", [_text("input_text", part.text) for part in content])
        case UserMessageItem(item_id=item_id, content=content):
            return _message(item_id, "user", [_user_part(part, item_id, audio_of) for part in content])
        case AssistantMessageItem(item_id=item_id, content=content):
            return _message(item_id, "assistant", [_agent_part(part) for part in content])
        case RealtimeToolCallItem() as call:
            return _call(call, entry.output_id, open_calls)
        case OtherItem() as other:
            return _other(other, pending_approvals)


def _message(item_id: str, role: str, parts: Iterable[Json | None]) -> list[Json]:
    content = [part for part in parts if part is not None]
    return [{"id": item_id, "type": "message", "role": role, "content": content}] if content else []


def _text(kind: str, text: str | None) -> Json | None:
    return {"type": kind, "text": _sendable(text)} if text and text.strip() else None


def _user_part(
    part: InputText | InputAudio | InputImage, item_id: str, audio_of: Callable[[str], bytes | None]
) -> Json | None:
    match part:
        case InputText(text=text):
            return _text("input_text", text)
        case InputImage(image_url=image_url, detail=detail):
            if not image_url:
                return None
            return {"type": "input_image", "image_url": image_url, **({} if detail is None else {"detail": detail})}
        case InputAudio(audio=audio, transcript=transcript):
            if transcript and transcript.strip():
                return _text("input_text", transcript)
            kept = audio_of(item_id)
            if kept:
                audio = pybase64.b64encode(kept).decode()
            return {"type": "input_audio", "audio": audio} if audio else None


def _agent_part(part: AssistantText | AssistantAudio) -> Json | None:
    return _text("output_text", part.text if isinstance(part, AssistantText) else part.transcript)


def _call(call: RealtimeToolCallItem, output_id: str | None, open_calls: Collection[str]) -> list[Json]:
    if call.call_id is None or (call.output is None and call.call_id not in open_calls):
        return []
    ids = {"type": "function_call", "call_id": call.call_id}
    told: list[Json] = [
        {"id": call.item_id, **ids, "name": _sendable(call.name), "arguments": _sendable(call.arguments)}
    ]
    if call.output is not None:
        output: Json = {"type": "function_call_output", "call_id": call.call_id, "output": _sendable(call.output)}
        # Where calls of one id came twice and one was deleted, nobody knows the item of the output any more.
        told.append({"id": f"{call.item_id[:24]}_output" if output_id is None else output_id, **output})
    return told


def _other(item: OtherItem, pending_approvals: Collection[str]) -> list[Json]:
    data = item.data
    if item.type == "mcp_call":
        outcome = data.get("output") if data.get("output") is not None else data.get("error")
        text = f"The tool {data.get('name')} was called with {data.get('arguments')}. It returned: {outcome}"
        return _message(item.item_id, "system", [_text("input_text", text)])
    if item.type == "mcp_approval_request" and item.item_id in pending_approvals:
        names = ("server_label", "name", "arguments")
        told = {key: _sendable(value) for key in names if isinstance(value := data.get(key), str)}
        return [{"id": item.item_id, "type": "mcp_approval_request", **told}]
    return []


def _sendable(text: str) -> str:
    """Return `text` as UTF-8 can carry it."""
    return text if text.isascii() else text.encode(errors="replace").decode()


# ---- folding --------------------------------------------------------------------------------------------------------


def folded(entries: Sequence[Entry], bounds: ReplayBounds) -> int:
    """Return the number of the oldest entries that are folded: whole turns, until the rest is within the bounds."""
    room = float("inf") if bounds.max_items is None else bounds.max_items
    tokens = float("inf") if bounds.max_tokens is None else bounds.max_tokens
    first = len(entries)
    while first > 0:
        item = entries[first - 1].item
        room -= 1 + isinstance(item, RealtimeToolCallItem)
        tokens -= estimated_tokens(item)
        if room < 0 or tokens < 0:
            break
        first -= 1
    if first == 0:
        return 0
    # A turn begins with the words of the user: half of one would be an answer without its question.
    turns = [at for at in range(first, len(entries)) if isinstance(entries[at].item, UserMessageItem)]
    return turns[0] if turns else min(first, len(entries))


def estimated_tokens(item: RealtimeItem) -> int:
    """Return an estimate of the tokens that an item takes."""
    if isinstance(item, RealtimeToolCallItem):
        return 2 * _ITEM_TOKENS + (len(item.name + item.arguments) + len(item.output or "")) // _CHARS_PER_TOKEN
    if isinstance(item, OtherItem):
        return _ITEM_TOKENS
    images = sum(isinstance(part, InputImage) for part in item.content)
    return _ITEM_TOKENS + images * _IMAGE_TOKENS + len(item.text) // _CHARS_PER_TOKEN


def _tokens(item: Mapping[str, Any], audio_format: AudioFormat) -> int:
    tokens = _ITEM_TOKENS
    for part in item.get("content", ()):
        tokens += _IMAGE_TOKENS if part["type"] == "input_image" else 0
        tokens += len(part.get("text", "")) // _CHARS_PER_TOKEN
        audio_s = audio_format.duration_ms(len(part.get("audio", "")) * 3 // 4) / 1000
        tokens += int(audio_s * _AUDIO_TOKENS_PER_S)
    return tokens + sum(len(item.get(key, "")) for key in ("name", "arguments", "output")) // _CHARS_PER_TOKEN


# ---- an answer that was cut -----------------------------------------------------------------------------------------


def spoken(transcript: str, audio_ms: float) -> str:
    """Return the part of `transcript` that audio of this length can hold, cut back to the end of a word.

    An estimate by the speed of speech: transcripts run ahead of their audio, and nothing says by how much.
    """
    fits = int(SPEECH_CHARS_PER_S * audio_ms / 1000)
    if len(transcript) <= fits * _AHEAD:
        return transcript
    end = fits if fits < len(transcript) and transcript[fits].isspace() else max(transcript.rfind(" ", 0, fits), 0)
    return transcript[:end].rstrip()


def heard_text(transcript: str, heard_ms: float, received_ms: float) -> str:
    """The part of `transcript` that fits the share of the audio that was heard, cut back to the end of a word.

    An estimate: the protocol does not say which word belongs to which millisecond.
    """
    if heard_ms >= received_ms:
        return transcript
    end = int(len(transcript) * max(heard_ms, 0.0) / received_ms) if received_ms > 0 else 0
    if end < len(transcript) and not transcript[end].isspace():
        end = max(transcript.rfind(" ", 0, end), 0)
    return transcript[:end].rstrip()
