"""One response: the options it is asked for with, the scope that it belongs to, and the turn that it becomes."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict, TypeVar

import attrs
import trio

from trealtime._core.effects import ResponseResult
from trealtime._core.history import read_items
from trealtime._core.usage import add_usage
from trealtime._session.driver import Driver
from trealtime._session.lifetime import Lifetime
from trealtime._session.outgoing import check_sendable
from trealtime._session.pending_reply import PendingReply
from trealtime._session.subscription import Subscription
from trealtime._value import Value
from trealtime.agents.agent import RealtimeAgent
from trealtime.audio.formats import PCM16_24K, AudioFormat, audio_shown
from trealtime.events import AudioChunk, RealtimeAudio, RealtimeSessionEvent, ResponseStatus, ServerErrorInfo
from trealtime.items import AssistantMessageItem, RealtimeItem
from trealtime.protocol.lenient import as_text, within
from trealtime.protocol.session_payload import response_payload
from trealtime.protocol.settings import CustomVoice, Modality, PromptSettings, ReasoningSettings, ResponseSettings
from trealtime.protocol.user_input import UserInput, input_items
from trealtime.protocol.validation import structure
from trealtime.terminal import one_line
from trealtime.tools.context import RunContext
from trealtime.tools.enabling import enabled
from trealtime.tools.function_tool import FunctionTool, to_wire
from trealtime.usage import Usage

__all__ = [
    "ResponseAudio",
    "ResponseOptions",
    "ResponseText",
    "SessionResponse",
    "Turn",
    "collect",
    "response_params",
    "shows_options",
]


class ResponseOptions(TypedDict, total=False):
    """Keyword arguments of `RealtimeSession.respond`, `RealtimeSession.ask` and `RealtimeSession.create_response`.

    They hold for the one response. Where one is not given, or None, the session's setting holds.
    """

    instructions: str | None
    """Instructions in place of the agent's."""

    output_modalities: Sequence[Modality] | None
    """``["audio"]``, which brings its transcript along, or ``["text"]``."""

    metadata: Mapping[str, str] | None
    """Up to 15 pairs of text of your own, which come back with the response."""

    tools: Sequence[FunctionTool | Mapping[str, Any]] | None
    """Tools in place of the agent's. A mapping is a tool in the form of the wire."""

    tool_choice: str | Mapping[str, Any] | None
    """``"auto"``, ``"none"``, ``"required"``, or the one function that it must call."""

    max_output_tokens: int | Literal["inf"] | None
    """How long it may become; past it the response is ``"incomplete"``."""

    parallel_tool_calls: bool | None
    """Whether it may call several tools at once (reasoning models)."""

    voice: str | CustomVoice | Mapping[str, Any] | None
    """The voice of its audio. The service refuses another one once it has spoken in the session."""

    output_audio_format: AudioFormat | str | Mapping[str, Any] | None
    """The format of its audio, in any spelling that the session's setting takes."""

    prompt: PromptSettings | Mapping[str, Any] | None
    """A prompt that is stored at the service, with its variables."""

    reasoning: ReasoningSettings | Mapping[str, Any] | None
    """The effort of a reasoning model before it speaks."""

    extra: Mapping[str, Any] | None
    """Fields that are newer than this library: they go into the request last and unchecked."""

    out_of_band: bool
    """Keep question and answer out of the conversation: the model sees only `input_items`, if given, and the input
    that is given with it."""

    input_items: Sequence[UserInput] | None
    """The input of the model, in place of the conversation. ``{"type": "item_reference", "id": ...}`` stands for an
    item of it."""


_F = TypeVar("_F", bound=Callable[..., Any])


def shows_options(function: _F) -> _F:
    """Let `inspect`, and with it ``help()`` and notebooks, show each option where the signature says ``**options``."""
    signature = inspect.signature(function)
    named = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            # As it is written: a TypedDict keeps an object that stands for it.
            annotation=getattr(annotation, "__forward_arg__", annotation),
        )
        for name, annotation in ResponseOptions.__annotations__.items()
    ]
    function.__signature__ = signature.replace(parameters=[*named, *options])  # type: ignore[attr-defined]
    return function


async def response_params(
    options: ResponseOptions, context: RunContext[Any], agent: RealtimeAgent[Any]
) -> tuple[dict[str, Any], Sequence[FunctionTool | Mapping[str, Any]]]:
    """Return the ``response`` object of a ``response.create``, with what was given and nothing else, and its tools.

    Asks the tools whether they are enabled. Raises TypeError for an unknown option, and `SettingsError` that
    names every value that cannot be sent and what is allowed there.
    """
    unknown = [repr(name) for name in options if name not in ResponseOptions.__annotations__]
    if unknown:
        known = ", ".join(ResponseOptions.__annotations__)
        raise TypeError(f"a response has no option {', '.join(unknown)}; its options are {known}")
    settings = {
        name: value
        for name, value in options.items()
        if value is not None and name not in ("tools", "out_of_band", "input_items")
    }
    tools = options.get("tools")
    if tools is not None:
        tools = await enabled(tools, context, agent)
    params = response_payload(structure(ResponseSettings, settings, what="response"))
    if tools is not None:
        params["tools"] = [to_wire(tool) if isinstance(tool, FunctionTool) else tool for tool in tools]
    if options.get("out_of_band"):
        params["conversation"] = "none"
    items = options.get("input_items")
    if items is not None:
        params["input"] = input_items(items)
    check_sendable(params, "response")
    return params, tools or ()


class SessionResponse:
    """A response that belongs to the scope that asked for it.

    Iterate `audio` for its chunks, `text` for what it says as it says it, or the response itself for all its events;
    one of the three at a time, because they share one subscription. After a call of a tool, the answer to its output
    belongs to this response too. Iteration ends with the response.
    """

    def __init__(
        self,
        driver: Driver,
        lifetime: Lifetime,
        reply: PendingReply,
        subscription: Subscription,
        *,
        question: str | None = None,
    ) -> None:
        self._driver = driver
        self._question = question
        self._mark = driver.failures.mark()
        self._lifetime = lifetime
        self._reply = reply
        self._subscription = subscription
        self._plays = False
        self._text: dict[tuple[str, int], str] = {}
        """By content part, in the order in which they began."""
        self._items: dict[str, None] = {}
        self._errors: list[ServerErrorInfo | Exception] = []
        self._usage: Usage | None = None
        self._collected: list[RealtimeAudio] = []
        subscription.on_put = self._note
        reply.on_begin_anew = self._begin_anew

    def __repr__(self) -> str:
        answer = self._reply.answer
        if answer is None:
            state = "asked for" if self.response_id is None else "running"
        else:
            state = answer.value.status if answer.error is None else f"failed: {type(answer.error).__name__}"
        return f"<SessionResponse {self.response_id or 'without an id'}, {state}>"

    @property
    def response_id(self) -> str | None:
        """The id that the server gave the response; None until it has begun. The latest, if tools were called."""
        ids = self._subscription.responses
        return ids[-1] if ids else None

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The ids of the items that it has made so far, in order."""
        return tuple(self._items)

    @property
    def usage(self) -> Usage | None:
        """The tokens that it has taken so far, with an entry for each response where tools were called; None before
        the first has ended."""
        return self._usage

    @property
    def errors(self) -> tuple[ServerErrorInfo | Exception, ...]:
        """What has failed so far on the way to it: tools, approvals, guardrails, also those that checked its input; and
        endpoints, the playback tracker and hooks meanwhile."""
        failures = self._driver.failures
        about = () if self._question is None else failures.about([self._question])
        return (*about, *self._errors, *failures.since(self._mark))

    @property
    def audio_format(self) -> AudioFormat:
        """The format of its audio."""
        return self._driver.core.output_format

    # ---- as it comes ---------------------------------------------------------------------------------------------

    @property
    def audio(self) -> ResponseAudio:
        """The audio as it comes: ``async for chunk in response.audio`` gives `AudioChunk` (``chunk.data`` is bytes in
        the session's output format). A chunk counts as being played from the moment when it is taken."""
        return ResponseAudio(self)

    @property
    def text(self) -> ResponseText:
        """The text as it comes, str by str: written text, or the transcript of speech. Audio is passed over.

        Where the response has several items or content parts, a line break separates them.
        """
        return ResponseText(self)

    def __aiter__(self) -> AsyncIterator[RealtimeSessionEvent]:
        """Iterate every event with this response's id: ``agent_start``, ``audio``, ``transcript_delta``, ...,
        ``agent_end``."""
        return self

    async def __anext__(self) -> RealtimeSessionEvent:
        event = await self.next_event()
        if event is None:
            raise StopAsyncIteration
        if isinstance(event, RealtimeAudio):
            self.take_as_played(event)
        return event

    async def next_event(self) -> RealtimeSessionEvent | None:
        """Wait for the next event and return it, None at the end of the response. Its audio does not count as played.

        If cancelled, no event is lost. Raises `ConnectionLost` if the connection is lost and no call has raised that
        yet, and `SlowConsumer` if more was queued than the bound allows.
        """
        try:
            return await self._subscription.receive()
        except trio.EndOfChannel:
            return None

    async def _collect(self) -> list[RealtimeAudio]:
        """Wait until the whole turn is over and return its audio, which counts as played from then on. Call it before
        anything is taken."""
        self._driver.do(self._driver.core.collect_audio, self._reply.id)
        while (event := await self.next_event()) is not None:
            if isinstance(event, RealtimeAudio):
                self._collected.append(event)
        return self._collected

    def take_as_played(self, event: RealtimeAudio) -> None:
        """Count this audio as being played from now on."""
        self._plays = True
        self._driver.handed_out(event)

    # ---- when it is over -----------------------------------------------------------------------------------------

    async def result(self) -> ResponseResult:
        """Wait until the response has ended and say how.

        If cancelled, the response goes on; leaving the ``async with`` ends it. Raises `ServerRefused` when the server
        made no response at all, and `ConnectionLost` or `SessionClosed` when the session ended first.
        """
        try:
            result: ResponseResult = await self._reply.wait()
        except Exception as error:  # noqa: BLE001  (the core may settle it with any error)
            raise self._lifetime.own(error) from None
        if result.error is not None:
            raise self._lifetime.own(result.error)
        return result

    async def transcript(self) -> str:
        """Wait until the response is over and return all that the agent said or wrote in it, its parts on lines of
        their own.

        An interrupted one gives what the server had made until then; `RealtimeSession.history` has what the user can
        have heard. Cancellation and errors as with `result`.
        """
        result = await self.result()
        if result.status in ("completed", "incomplete"):
            for item in result.output:
                self._add_text_of(item)
        return _joined(self._text.values())

    def leave(self, *, failed: bool) -> None:
        """End the scope, and interrupt the response unless it has come to its end."""
        complete = self._reply.answer is not None and not (self._plays and self._subscription.has_audio)
        self._subscription.close()
        if (failed or not complete) and self._lifetime.state == "open":
            # "Let me check", before a call of a tool, may still be heard.
            for earlier in (self._subscription.responses or [])[:-1]:
                self._driver.do(self._driver.core.interrupt, response_id=earlier)
            core = self._driver.core
            self._driver.do(core.interrupt, response_id=self.response_id, reply_id=self._reply.id)

    def _begin_anew(self) -> None:
        """Forget what has come so far: the answer is asked for again."""
        self._text.clear()
        self._items.clear()
        self._collected.clear()
        self._usage = None

    def _note(self, event: RealtimeSessionEvent) -> None:
        """Keep the text as it arrives: the consumer may read audio alone, or nothing."""
        if event.type == "text_delta" or event.type == "transcript_delta":
            part = event.item_id, event.content_index
            self._text[part] = self._text.get(part, "") + event.delta
        if event.type == "error":
            self._errors.append(event.error)
        elif event.type == "agent_end":
            self._items.update(dict.fromkeys(event.item_ids))
            self._add_untold_text(event.item_ids)
            if event.usage is not None:
                self._usage = add_usage(self._usage or Usage(), event.usage)
        elif (item_id := getattr(event, "item_id", None)) is not None:
            self._items[item_id] = None

    def _add_untold_text(self, item_ids: Collection[str]) -> None:
        """Add the text of items whose deltas this has not seen: those of a response that was known for this one only
        when it was done."""
        untold = set(item_ids) - {item_id for item_id, _ in self._text}
        if untold:
            for item in self._driver.core.history():
                if item.item_id in untold and isinstance(item, AssistantMessageItem) and item.text:
                    self._text[item.item_id, 0] = item.text

    def _add_text_of(self, item: Mapping[str, Any]) -> None:
        """Take the text of an output item as it is in the end: some of its pieces may have come twice, or never."""
        item_id, content = item.get("id"), item.get("content")
        if item.get("type") != "message" or not isinstance(item_id, str) or not isinstance(content, list):
            return
        for index, part in enumerate(content):
            if text := as_text(within(part, "text")) or as_text(within(part, "transcript")):
                self._text[item_id, index] = text


def _joined(texts: Iterable[str]) -> str:
    """Join the texts of content parts: a line break ends each but the last, unless there is one."""
    joined = ""
    for text in texts:
        joined += _between(joined, text) + text
    return joined


def _between(before: str, text: str) -> str:
    return "\n" if before and not before[-1].isspace() and not text[:1].isspace() else ""


class ResponseAudio:
    """The audio chunks of one response; see `SessionResponse.audio`."""

    def __init__(self, response: SessionResponse) -> None:
        self._response = response

    def __aiter__(self) -> AsyncIterator[AudioChunk]:
        return self

    async def __anext__(self) -> AudioChunk:
        while (event := await self._response.next_event()) is not None:
            if isinstance(event, RealtimeAudio):
                self._response.take_as_played(event)
                return event.audio
        raise StopAsyncIteration


class ResponseText:
    """The text of one response, piece by piece; see `SessionResponse.text`."""

    def __init__(self, response: SessionResponse) -> None:
        self._response = response
        self._part: tuple[str, int] | None = None
        self._before = ""

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        while (event := await self._response.next_event()) is not None:
            if event.type == "text_delta" or event.type == "transcript_delta":
                part = event.item_id, event.content_index
                between = _between(self._before, event.delta) if part != self._part else ""
                self._part, self._before = part, event.delta or self._before
                return between + event.delta
        raise StopAsyncIteration


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Turn(Value):
    """One whole answer, calls of tools included."""

    text: str
    """The agent's text or words, with a line break between items."""

    audio: bytes
    """Its sound in the session's output format."""

    items: tuple[RealtimeItem, ...]
    """The items that it made; those of an out-of-band response are in no history, and its calls are not run."""

    usage: Usage | None
    """All tokens that it took, with an entry for each response."""

    status: ResponseStatus
    """How it ended: ``"cancelled"`` after a barge-in."""

    reason: str | None = None
    response_id: str | None = None
    """The id of its last response."""

    errors: tuple[ServerErrorInfo | Exception, ...] = ()
    """What failed on the way: tools, guardrails, approvals and responses; and endpoints, the playback tracker and hooks
    meanwhile. As ``error`` events tell it."""

    reconnected: bool = False
    """Whether the connection was lost while it was asked for or made: another one has brought the end of it."""

    audio_format: AudioFormat = PCM16_24K
    """The format of `audio`."""

    def __repr__(self) -> str:
        parts = [one_line(self.text), audio_shown(len(self.audio), self.audio_format), self.status]
        parts += [self.reason] if self.reason else []
        parts += [f"{self.usage.total_tokens} tokens"] if self.usage is not None else []
        parts += [f"errors={one_line(self.errors)}"] if self.errors else []
        return f"{type(self).__name__}({', '.join(parts)})"


async def collect(response: SessionResponse, items: Callable[[Collection[str]], tuple[RealtimeItem, ...]]) -> Turn:
    """Wait until `response` is complete and return it as a turn. `items` finds items of history by their ids.

    The audio counts as handed out when the turn is complete, because the caller gets it only then.
    """
    heard = await response._collect()
    result = await response.result()
    text = await response.transcript()
    for event in heard:
        response.take_as_played(event)
    output = [str(item.get("id")) for item in result.output]
    known = items({*response.item_ids, *output})
    known += read_items(item for item in result.output if str(item.get("id")) not in {each.item_id for each in known})
    return Turn(
        text=text,
        audio=b"".join(event.audio.data for event in heard),
        items=known,
        usage=response.usage,
        status=result.status,
        reason=result.reason,
        response_id=result.response_id,
        errors=response.errors,
        audio_format=response.audio_format,
        reconnected=result.reconnected,
    )
