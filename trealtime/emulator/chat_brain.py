"""A language model as the emulator's brain: any server that speaks OpenAI's chat completions, such as a local one.

The brain sends the context of a Realtime model (instructions, items, tools) as a chat, and speaks the streamed answer a
sentence at a time while the rest is still being made. Audio goes as its transcript, images as images.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import trio

from trealtime._secrets import parsed_url, redacted_url, without_values
from trealtime.emulator.brain import BrainRequest, CallFunction, Part, Say, SayMore
from trealtime.errors import MissingDependency, SettingsError, SettingsProblem, TrealtimeError
from trealtime.terminal import one_line

if TYPE_CHECKING:
    import httpx

__all__ = ["ChatBrain", "ChatFailed"]

# A run of stops is looked at once, from its beginning: so the search is linear in the text.
_STOP = re.compile(r"(?<![.!?…:;\n])[.!?…:;\n]++[\"')\u201d\u2019]*+\s+")
_SHORTEST = 12
_LONGEST = 400
_SHOWN_BODY_CHARS = 500
_LONGEST_LINE = 2**20
"""Bytes of one event of the stream, and of a body that is no stream."""

_FUNCTION_KEYS = ("name", "description", "parameters")


class ChatFailed(TrealtimeError):
    """The chat server refused, or its answer cannot be read: the response of the emulator fails."""


@attrs.frozen(kw_only=True)
class _Endpoint:
    url: str = attrs.field(repr=redacted_url)
    model: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    timeout_s: float

    def failed(self, what: str) -> ChatFailed:
        """The failure of an answer, without what we have sent and the server repeats."""
        what = without_values(what, self.headers, self.url)
        return ChatFailed(f"{redacted_url(self.url)}: {what}")


class ChatBrain:
    """A `StreamingBrain` that asks ``POST {url}/chat/completions``; needs ``pip install "trealtime[http]"``.

    `url` is the base, such as ``http://localhost:11434/v1``; `model` the name that its server knows; `api_key` goes as
    a bearer token. A response fails when the server is silent for `timeout_s`. `client` is yours to close; by default
    each answer opens and closes its own. Raises `SettingsError` for a `url` that is none, `MissingDependency`.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str = "default",
        api_key: str | None = None,
        timeout_s: float = 60.0,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        try:
            import httpx
        except ModuleNotFoundError:
            raise MissingDependency("a chat server as the emulator's brain", extra="http") from None
        parts = parsed_url(url)
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            allowed = "the base of a chat server, such as http://localhost:11434/v1"
            raise SettingsError([SettingsProblem("url", redacted_url(url), allowed)], what="ChatBrain")
        self._endpoint = _Endpoint(
            url=parts._replace(path=f"{parts.path.rstrip('/')}/chat/completions").geturl(),
            model=model,
            headers={} if api_key is None else {"Authorization": f"Bearer {api_key}"},
            timeout_s=timeout_s,
        )
        self._httpx = httpx
        self._client = client

    def __repr__(self) -> str:
        endpoint = self._endpoint
        url = redacted_url(endpoint.url).replace("/chat/completions", "")
        return f"ChatBrain({url!r}, model={one_line(endpoint.model)})"

    async def stream(self, request: BrainRequest) -> AsyncGenerator[Part]:
        """Yield the answer, a sentence at a time, and then its calls. If cancelled, closes the connection to the
        server.

        Raises `ChatFailed`.
        """
        begun = False
        words = _Sentences()
        calls: dict[int, _Call] = {}
        async with aclosing(self._deltas(request)) as deltas:
            async for delta in deltas:
                for sentence in words.add(delta.get("content") or ""):
                    yield SayMore(sentence) if begun else Say(sentence)
                    begun = True
                for piece in delta.get("tool_calls") or ():
                    calls.setdefault(piece.get("index", 0), _Call()).add(piece.get("function") or {})
        rest = words.rest()
        if rest:
            yield SayMore(rest) if begun else Say(rest)
        for _, call in sorted(calls.items()):
            yield CallFunction(call.name, call.arguments or "{}")

    async def _deltas(self, request: BrainRequest) -> AsyncGenerator[Mapping[str, Any]]:
        httpx, endpoint = self._httpx, self._endpoint
        client = self._client or httpx.AsyncClient(trust_env=False)
        body = msgspec.json.encode(_chat(request, model=endpoint.model))
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream", **endpoint.headers}
        headers["Accept-Encoding"] = "identity"  # what comes compressed could grow to any size here
        try:
            async with client.stream(
                "POST", endpoint.url, content=body, headers=headers, timeout=endpoint.timeout_s
            ) as answer:
                if answer.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
                    raise endpoint.failed("its answer is compressed, which it was asked not to be")
                lines = _Lines()
                chunks = answer.aiter_bytes()  # as they come
                try:
                    async for chunk in chunks:
                        for line in lines.add(chunk):
                            delta = _delta(line) if answer.status_code == 200 else None
                            if delta is not None:
                                yield delta
                        if answer.status_code != 200 and lines.size >= _SHOWN_BODY_CHARS:
                            break
                    if answer.status_code != 200:
                        raise ChatFailed(f"status {answer.status_code}: {lines.beginning}")
                    delta = _delta(lines.rest())
                    if delta is not None:
                        yield delta
                except ChatFailed as failure:
                    raise endpoint.failed(str(failure)) from failure.__cause__
                finally:
                    # A caller that stops early leaves generators of httpx behind, one in another; a cancellation ends
                    # each of them.
                    await answer.aclose()
                    with trio.CancelScope() as closed, suppress(httpx.HTTPError, httpx.StreamError):
                        closed.cancel()
                        async for _ in chunks:
                            pass
        except httpx.HTTPError as error:
            raise endpoint.failed(str(error) or type(error).__name__) from error
        finally:
            if self._client is None:
                await client.aclose()


@attrs.define
class _Lines:
    """Makes lines of chunks."""

    beginning: str = attrs.field(default="", init=False)
    """The first characters of all, for an error."""

    size: int = attrs.field(default=0, init=False)
    _waiting: bytearray = attrs.field(factory=bytearray, init=False)

    def add(self, chunk: bytes) -> list[str]:
        """Return the lines that `chunk` completes. Raises `ChatFailed` for one that is too long."""
        if self.size < _SHOWN_BODY_CHARS:
            self.beginning = f"{self.beginning}{chunk.decode(errors='replace')}"[:_SHOWN_BODY_CHARS]
        self.size += len(chunk)
        first, *others = chunk.split(b"\n")
        self._waiting += first
        done: list[str] = []
        for each in others:
            done.append(self.rest())
            self._waiting += each
        if len(self._waiting) > _LONGEST_LINE:
            raise ChatFailed(f"a line of more than {_LONGEST_LINE} bytes")
        return done

    def rest(self) -> str:
        """Return the line that has no end yet."""
        line = self._waiting.decode(errors="replace")
        self._waiting.clear()
        return line


@attrs.define
class _Call:
    name: str = ""
    arguments: str = ""

    def add(self, piece: Mapping[str, Any]) -> None:
        self.name += piece.get("name") or ""
        self.arguments += piece.get("arguments") or ""


class _Sentences:
    """Collects words until there is a sentence to speak."""

    def __init__(self) -> None:
        self._waiting = ""

    def add(self, words: str) -> list[str]:
        """Add `words`, and return the sentences that they complete."""
        waiting = self._waiting + words
        done: list[str] = []
        start = 0
        for match in _STOP.finditer(waiting):
            if match.end() - start >= _SHORTEST:
                done += _cut(waiting[start : match.end()])
                start = match.end()
        *long, self._waiting = _cut(waiting[start:])
        return done + long

    def rest(self) -> str:
        """Return the rest at the end."""
        rest, self._waiting = self._waiting, ""
        return rest


def _cut(text: str) -> list[str]:
    """`text` in pieces of at most 400 characters, between words where that is possible; the last may be empty."""
    pieces: list[str] = []
    start = 0
    while len(text) - start > _LONGEST:
        end = text.rfind(" ", start, start + _LONGEST) + 1
        end = end if end > start else start + _LONGEST
        pieces.append(text[start:end])
        start = end
    return [*pieces, text[start:]]


def _delta(line: str) -> Mapping[str, Any] | None:
    """Read one line of a server-sent event stream; None for lines that add nothing to the answer."""
    data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
    if not data or data == "[DONE]":
        return None
    try:
        event = msgspec.json.decode(data)
        if "error" in event:
            raise ChatFailed(f"the chat server broke off: {event['error']}")
        choices = event.get("choices") or [{}]
        delta: Mapping[str, Any] = choices[0].get("delta") or {}
    except (msgspec.MsgspecError, AttributeError, TypeError, KeyError, IndexError):
        raise ChatFailed(f"the chat server sent what is no chat completion: {data[:_SHOWN_BODY_CHARS]}") from None
    return delta


# ---- a conversation as a chat ---------------------------------------------------------------------------------------


def _chat(request: BrainRequest, *, model: str) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "stream": True, "messages": _messages(request)}
    tools = [
        {
            "type": "function",
            "function": {key: tool[key] for key in _FUNCTION_KEYS if key in tool},
        }
        for tool in request.tools
        if tool.get("type", "function") == "function"
    ]
    if tools:
        body["tools"] = tools
        body["tool_choice"] = _tool_choice(request.tool_choice)
        if not request.parallel_tool_calls:
            body["parallel_tool_calls"] = False
    return body


def _tool_choice(choice: str | Mapping[str, Any]) -> str | dict[str, Any]:
    if isinstance(choice, str):
        return choice
    # Without a name it is some tool of an MCP server.
    return {"type": "function", "function": {"name": choice["name"]}} if choice.get("name") else "required"


def _messages(request: BrainRequest) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if request.instructions:
        messages.append({"role": "system", "content": request.instructions})
    for item in request.items:
        match item.get("type"):
            case "message":
                messages.append({"role": item.get("role"), "content": _content(item.get("content") or ())})
            case "function_call":
                call = _call(item, item.get("call_id"))
                if messages and messages[-1].get("tool_calls"):
                    messages[-1]["tool_calls"].append(call)  # calls of one answer stand together
                else:
                    messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
            case "mcp_call":
                # A call with its output: the server has made it.
                output = item.get("output") if item.get("error") is None else item["error"]["message"]
                messages.append({"role": "assistant", "content": None, "tool_calls": [_call(item, item.get("id"))]})
                messages.append({"role": "tool", "tool_call_id": item.get("id"), "content": str(output)})
            case "mcp_approval_response" if not item.get("approve"):
                messages.append({"role": "system", "content": "The user has not allowed that call."})
            case "function_call_output":
                content = str(item.get("output"))
                messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": content})
            case _:
                pass  # a chat has no such message
    return messages


def _call(item: Mapping[str, Any], call_id: object) -> dict[str, Any]:
    function = {"name": item.get("name"), "arguments": item.get("arguments") or "{}"}
    return {"id": call_id, "type": "function", "function": function}


def _content(parts: Sequence[Mapping[str, Any]]) -> str | list[dict[str, Any]]:
    words = [part.get("text") or part.get("transcript") or "" for part in parts]
    images = [part["image_url"] for part in parts if part.get("type") == "input_image" and part.get("image_url")]
    text = " ".join(filter(None, words))
    if not images:
        return text
    shown = [{"type": "image_url", "image_url": {"url": url}} for url in images]
    return [{"type": "text", "text": text}, *shown] if text else shown
