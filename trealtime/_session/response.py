"""One response, as long as somebody is interested in it: what `RealtimeSession.respond` gives."""

from __future__ import annotations

from collections.abc import AsyncIterator

import trio

from trealtime._core.commands import CollectAudio, Interrupt
from trealtime._core.effects import ResponseResult
from trealtime._core.usage import add_usage
from trealtime._session.driver import Driver
from trealtime._session.lifetime import Lifetime
from trealtime._session.pending_reply import PendingReply
from trealtime._session.subscription import Subscription
from trealtime.events import AudioChunk, RealtimeAudio, RealtimeSessionEvent
from trealtime.usage import Usage

__all__ = ["ResponseAudio", "ResponseText", "SessionResponse"]


class SessionResponse:
    """A response that belongs to the scope that asked for it.

    Iterate `audio` for its chunks, `text` for what it says as it says it, or the response itself for all its events;
    one of the three at a time, they share one subscription. When it called tools, the answer that follows belongs to it as
    well. The subscription ends with the response.
    """

    def __init__(self, driver: Driver, lifetime: Lifetime, reply: PendingReply, subscription: Subscription) -> None:
        self._driver = driver
        self._lifetime = lifetime
        self._reply = reply
        self._subscription = subscription
        self._plays = False
        self._text: list[str] = []
        self._items: dict[str, None] = {}
        self._usage: Usage | None = None
        subscription.on_put = self._note

    @property
    def response_id(self) -> str | None:
        """The id that the server gave the response; None until it has begun. The latest, if tools were called."""
        ids = self._subscription.responses
        return ids[-1] if ids else None

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The items of the conversation that have come of it so far, in order."""
        return tuple(self._items)

    @property
    def usage(self) -> Usage | None:
        """What it has taken so far, with an entry for each response where tools were called; None while nothing is
        known."""
        return self._usage

    # ---- as it comes ---------------------------------------------------------------------------------------------

    @property
    def audio(self) -> ResponseAudio:
        """The audio as it comes: ``async for chunk in response.audio`` gives `AudioChunk` (``chunk.data`` is bytes in
        the session's output format). What is taken counts as being played from then on."""
        return ResponseAudio(self)

    @property
    def text(self) -> ResponseText:
        """The text as it comes, str by str: what is written, or the transcript of what is said. Audio is passed
        over."""
        return ResponseText(self)

    def __aiter__(self) -> AsyncIterator[RealtimeSessionEvent]:
        """Every event that carries this response's id: ``agent_start``, ``audio``, ``transcript_delta``, ...,
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
        """The next event without claiming that its audio is played; None at the end of the response.

        If cancelled, no event is lost. Raises `ConnectionLost` if the connection is lost and nobody knows, and
        `SlowConsumer` if what nobody took went past the bound.
        """
        try:
            return await self._subscription.receive()
        except trio.EndOfChannel:
            return None

    def collect(self) -> None:
        """What is taken here goes to nobody's ear before the whole turn is over."""
        self._driver.command(CollectAudio(self._reply.id))

    def take_as_played(self, event: RealtimeAudio) -> None:
        """This audio goes to the user's ear now."""
        self._plays = True
        self._driver.handed_out(event)

    # ---- when it is over -----------------------------------------------------------------------------------------

    async def result(self) -> ResponseResult:
        """How the response ended, once it has.

        If cancelled, the response goes on (leaving the ``async with`` is what ends it). Raises `ServerRefused` when the
        server made no response at all, `ConnectionLost` or `SessionClosed` when the session ended before it did.
        """
        try:
            result: ResponseResult = await self._reply.wait()
        except Exception as error:  # noqa: BLE001  (whatever the core settled it with)
            raise self._lifetime.own(error) from None
        if result.error is not None:
            raise self._lifetime.own(result.error)
        return result

    async def transcript(self) -> str:
        """All that the agent said or wrote in this response, once it is over.

        Of an interrupted one, what had been made until then: `RealtimeSession.history` has what the user can have
        heard. Cancellation and errors as with `result`.
        """
        await self.result()
        return "".join(self._text)

    def leave(self, *, failed: bool) -> None:
        """The scope ends: unless the response has come to its end there, interrupt it."""
        complete = self._reply.answer is not None and not (self._plays and self._subscription.has_audio)
        self._subscription.close()
        if (failed or not complete) and self._lifetime.state == "open":
            self._driver.command(Interrupt("app", response_id=self.response_id, reply_id=self._reply.id))

    def _note(self, event: RealtimeSessionEvent) -> None:
        """Keep the text as it arrives, whichever way the response is read."""
        if event.type == "text_delta" or event.type == "transcript_delta":
            self._text.append(event.delta)
        if event.type == "agent_end":
            self._items.update(dict.fromkeys(event.item_ids))
            if event.usage is not None:
                self._usage = add_usage(self._usage or Usage(), event.usage)
        elif (item_id := getattr(event, "item_id", None)) is not None:
            self._items[item_id] = None


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

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        while (event := await self._response.next_event()) is not None:
            if event.type == "text_delta" or event.type == "transcript_delta":
                return event.delta
        raise StopAsyncIteration
