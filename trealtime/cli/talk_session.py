"""The conversation of ``trealtime talk``: a session, an endpoint, typed lines, and a screen that shows them."""

from __future__ import annotations

import datetime as dt
import math
import os
import shutil
import signal
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal, TextIO, cast

import attrs
import trio

from trealtime._session.config_dicts import ModelConfigDict
from trealtime._session.runner import RealtimeRunner
from trealtime._session.session import RealtimeSession
from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.guardrails import InputGuardrailTripwireTriggered
from trealtime.emulator.options import SpeechChoice
from trealtime.endpoints.console import ConsoleEndpoint
from trealtime.endpoints.endpoint import Endpoint
from trealtime.endpoints.wav import WavEndpoint
from trealtime.errors import ServerRefused, TrealtimeError
from trealtime.events import RealtimeSessionEvent, RealtimeToolApprovalRequired
from trealtime.items import AssistantMessageItem, RealtimeItem, UserMessageItem
from trealtime.protocol.settings_dicts import SessionSettingsDict
from trealtime.terminal import printable
from trealtime.tools.function_tool import function_tool
from trealtime.transport.background import background_nursery

__all__ = ["EVENTS", "Narrator", "Screen", "Talk", "Typist", "built_in_agent", "meter"]


@function_tool
def current_time() -> str:
    """Tell the date and the time of day."""
    return dt.datetime.now().astimezone().strftime("%A, %d %B %Y, %H:%M")


def built_in_agent() -> RealtimeAgent[Any]:
    """Return a small agent that knows what time it is."""
    return RealtimeAgent(
        name="Assistant",
        instructions="You are a friendly voice assistant. Answer in one or two short sentences.",
        tools=[current_time],
    )


# ---- lines and state -------------------------------------------------------------------------------------------------

State = Literal["listening", "thinking", "speaking"]

EVENTS = (
    "speech_started",
    "speech_stopped",
    "history_added",
    "history_updated",
    "agent_start",
    "agent_end",
    "audio",
    "audio_interrupted",
    "transcript_delta",
    "text_delta",
    "tool_start",
    "tool_end",
    "tool_approval_required",
    "tool_approval_dropped",
    "handoff",
    "guardrail_tripped",
    "error",
)
"""The events that a narrator takes."""

_MOST_OUTPUT = 200

_PACKAGE = str(Path(__file__).parents[1])


@attrs.define
class Narrator:
    """Make lines to print of a session's events, and keep the state between them. No Trio, no terminal.

    `plays` says whether a user hears the agent; speaking then lasts until `heard_all`.
    """

    plays: bool
    state: State = "listening"
    partial: str = ""
    """The words of the current answer so far."""

    busy_since: float = -math.inf
    """The time of the last event."""

    hears_user: bool = False
    """The user has begun to speak, and the server has not noticed the end yet."""

    turns: int = 0
    """The user's turns so far."""

    owes_answer: bool = False
    """The last turn of the user has no whole answer yet."""

    _asked_at: float | None = None
    _first_after_s: float | None = None
    _spoke: bool = False
    _items: dict[str, RealtimeItem] = attrs.Factory(dict)
    _told: set[str] = attrs.Factory(set)

    def asked(self, now: float) -> None:
        """The user has typed a turn."""
        self._begin_turn(now)

    def heard_all(self, now: float) -> None:
        """The agent has been heard to the end."""
        if self.state == "speaking":
            self.state = "listening"
            self.busy_since = now

    def tell(self, event: RealtimeSessionEvent, now: float) -> list[str]:
        """Return the lines for `event`, which came at `now`."""
        self.busy_since = now
        return list(self._lines(event, now))

    def _lines(self, event: RealtimeSessionEvent, now: float) -> Iterator[str]:
        match event.type:
            case "speech_started":
                self.state = "listening"
                self.hears_user = True
            case "speech_stopped":
                self.hears_user = False
                self._begin_turn(now)
            case "history_added":
                self._items[event.item.item_id] = event.item
                yield from self._user_lines()
            case "history_updated":
                self._items = {item.item_id: item for item in event.history}
                yield from self._user_lines()
            case "agent_start":
                self.partial = ""
                self._spoke = False
                if self._asked_at is None:
                    self._begin_to_think(now)
            case "audio":
                self._speak(now)
            case "transcript_delta" if event.role == "assistant":
                self.partial += event.delta
            case "text_delta":
                self.partial += event.delta
                self._speak(now)
            case "agent_end":
                yield from self._answer_lines(event.item_ids, event.status)
            case "audio_interrupted":
                self.state = "listening"
                yield f"  [interrupted: {event.heard_ms / 1000:.2f} s were heard]"
            case "tool_start":
                yield f"tool: {event.tool.name}({event.arguments})"
            case "tool_end":
                yield f"tool: {event.tool.name} -> {_short(str(event.output))}"
            case "tool_approval_required":
                yield f"approval needed: {event.tool.name}({event.arguments})"
            case "tool_approval_dropped":
                yield f"approval of {event.tool.name} no longer needed: {event.reason}"
            case "handoff":
                yield f"handoff: {event.from_agent.name} -> {event.to_agent.name}"
            case "guardrail_tripped":
                yield f"guardrail: stopped {event.message!r}"
            case "error":
                yield f"error: {getattr(event.error, 'message', event.error)}"
                if isinstance(event.error, BaseException) and event.error.__cause__ is not None:
                    yield f"  {_where(event.error.__cause__)}"
            case _:
                pass

    def _begin_turn(self, now: float) -> None:
        self.turns += 1
        self.owes_answer = True
        self._begin_to_think(now)

    def _begin_to_think(self, now: float) -> None:
        self.state = "thinking"
        self._asked_at = now
        self._first_after_s = None

    def _speak(self, now: float) -> None:
        if not self._spoke:
            self._spoke = True
            self.state = "speaking"
            if self._asked_at is not None:
                self._first_after_s = now - self._asked_at
                self._asked_at = None

    def _user_lines(self) -> Iterator[str]:
        for item in self._items.values():
            if isinstance(item, UserMessageItem) and item.text and item.item_id not in self._told:
                self._told.add(item.item_id)
                yield f"you: {item.text}"

    def _answer_lines(self, item_ids: tuple[str, ...], status: str) -> Iterator[str]:
        notes = [] if status == "completed" else [status]
        if self._first_after_s is not None:
            notes.append(f"first {'audio' if self.plays else 'word'} after {self._first_after_s:.2f} s")
            self._first_after_s = None
        said = [item for item_id in item_ids if isinstance(item := self._items.get(item_id), AssistantMessageItem)]
        words = " ".join(item.text for item in said if item.text)
        if said or status != "completed":
            noted = f"  ({', '.join(notes)})" if notes else ""
            yield f"agent: {words or '...'}{noted}"
        self.partial = ""
        calls = any(getattr(self._items.get(item_id), "type", None) == "function_call" for item_id in item_ids)
        if status != "cancelled" and not calls:
            self.owes_answer = False
        read = self.state == "speaking" and not self.plays
        given_up = self.state == "thinking" and status != "completed"
        if read or given_up:
            self.state = "listening"


def _short(text: str) -> str:
    return text if len(text) <= _MOST_OUTPUT else f"{text[: _MOST_OUTPUT - 3]}..."


def _where(error: BaseException) -> str:
    """Return the error of a user's callable with the place in their code where it was raised."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_PACKAGE)]
    place = f" ({frames[-1].filename}:{frames[-1].lineno}, in {frames[-1].name})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


# ---- the terminal ----------------------------------------------------------------------------------------------------

_CLEAR = "\r\x1b[K"
_QUIETEST_DBFS = -60.0


class Screen:
    """Print to `out`. With `live` the last line of the terminal is the status; else there are only lines.

    Text is printed without control characters: much of it comes from a server.
    """

    def __init__(self, out: TextIO, *, live: bool) -> None:
        self._out = out
        self.live = live
        self._status = ""

    def line(self, text: str) -> None:
        """Print a line for good. Line breaks in it are followed by two spaces."""
        shown = printable(text, newlines=True).replace("\n", "\n  ")
        self._out.write(f"{_CLEAR if self._status else ''}{shown}\n{self._status}")
        self._out.flush()

    def status(self, text: str) -> None:
        """Show `text` as the last line until it changes. Without `live`, do nothing."""
        if not self.live:
            return
        shown = printable(text)[: max(1, shutil.get_terminal_size().columns - 1)]
        if shown != self._status:
            self._out.write(f"{_CLEAR}{shown}")
            self._out.flush()
            self._status = shown


def meter(dbfs: float, *, width: int = 10) -> str:
    """Return a level from -60 to 0 dBFS as a bar."""
    share = 0.0 if math.isinf(dbfs) else min(max(1 - dbfs / _QUIETEST_DBFS, 0.0), 1.0)
    filled = round(share * width)
    return "#" * filled + "-" * (width - filled)


_STDIN = 0
_CHUNK = 65_536


class Typist:
    """Read the lines of standard input, one at a time.

    A thread reads them from the file descriptor itself: if it still waits when the program ends, it holds no lock that
    Python needs to finish.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._ended = False

    async def line(self) -> str | None:
        """Wait for the next line that is not blank, and return it stripped; None at the end of the input.

        If cancelled, the next typed line may be lost: cancel it only when no more lines are wanted.
        """
        while True:
            line, found, rest = self._buffer.partition(b"\n")
            if found or self._ended:
                self._buffer = rest
                text = line.decode(errors="replace").strip()
                if text:
                    return text
                if not found:
                    return None
            else:
                data = await trio.to_thread.run_sync(os.read, _STDIN, _CHUNK, abandon_on_cancel=True)
                self._buffer += data
                self._ended = not data


# ---- the conversation ------------------------------------------------------------------------------------------------

_ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_REDRAW_S: Final = 0.1
_QUIET_S: Final = 3.0
"""How long after a file the server may take to notice that it held speech."""

_PATIENCE_S: Final = 20.0
"""How long an answer may take to begin: semantic voice detection alone waits for up to 8 s."""


@attrs.define(eq=False, kw_only=True)
class Talk:
    """One conversation.

    Without an `endpoint` there is no sound. With `typed`, turns are lines of standard input. `says` is the file that a
    `WavEndpoint` says, if one does. `speech` is the value of ``--speech``. With `may_ask`, questions on the terminal
    are answered on standard input.
    """

    agent: RealtimeAgent[Any]
    endpoint: Endpoint | None
    screen: Screen
    typed: bool
    says: Path | None
    speech: str
    url: str | None
    model_name: str | None
    has_key: bool
    may_ask: bool
    _narrator: Narrator = attrs.field(init=False)
    _typist: Typist = attrs.field(init=False, factory=Typist)
    _news: trio.Event = attrs.field(init=False, factory=trio.Event)
    _failed: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self._narrator = Narrator(plays=self.endpoint is not None)

    async def run(self) -> bool:
        """Talk until the user ends it: by Ctrl-C, or at the end of the file or of the typed lines.

        Return False if the server ended the conversation, or a file got no answer.
        """
        with trio.open_signal_receiver(*_ENDING_SIGNALS) as signals:
            async with background_nursery() as nursery:
                with trio.CancelScope() as scope:
                    nursery.start_soon(_cancel_at_signal, signals, scope)
                    await self._converse()
        self.screen.status("")
        if not self._failed:
            self.screen.line("Goodbye.")
        return not self._failed

    async def _converse(self) -> None:
        settings: SessionSettingsDict = {}
        if self.model_name is not None:
            settings["model_name"] = self.model_name
        if self.endpoint is None:
            settings["output_modalities"] = ["text"]
        runner = RealtimeRunner(self.agent, config={"model_settings": settings})
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(self._server())
            session = await stack.enter_async_context(runner.session(model_config=cast("ModelConfigDict", connection)))
            subscription = await stack.enter_async_context(session.subscribe(*EVENTS, playback=False))
            if self.endpoint is not None:
                await stack.enter_async_context(session.attach(self.endpoint))
            nursery = await stack.enter_async_context(background_nursery())
            self.screen.line(self._greeting())
            self._show_state("")
            for task in (self._follow_playback, self._redraw, self._say):
                nursery.start_soon(_quietly, task, session)
            async for event in subscription:
                before = self._narrator.state
                for line in self._narrator.tell(event, trio.current_time()):
                    self.screen.line(line)
                if event.type == "tool_approval_required":
                    nursery.start_soon(_quietly, self._ask_approval, session, event)
                self._show_state(before)
                news, self._news = self._news, trio.Event()
                news.set()
            outcome = await session.wait_closed()
            if outcome.closed_by != "client":
                self._fail(f"The {outcome.closed_by} has ended the session: {outcome.reason or outcome.code}.")

    def _fail(self, why: str) -> None:
        self._failed = True
        self.screen.line(why)

    @asynccontextmanager
    async def _server(self) -> AsyncIterator[Mapping[str, object]]:
        """Yield the `model_config` of the session."""
        if self.url is not None:
            self.screen.line(f"Talking to {self.url}.")
            yield {"url": self.url} if self.has_key else {"url": self.url, "headers": {}}
        elif self.has_key:
            self.screen.line("Talking to OpenAI's service.")
            yield {}
        else:
            from trealtime.emulator import open_emulator
            from trealtime.emulator.dialogue import DialogueBrain
            from trealtime.emulator.local import speech_engines

            speech = await speech_engines(cast("SpeechChoice", self.speech))
            self.screen.line(f"No OPENAI_API_KEY: talking to an emulator in this process. {speech.description}")
            async with open_emulator(speech=speech, brain=DialogueBrain()) as emulator:
                yield {"url": emulator.url, "headers": {}}

    def _greeting(self) -> str:
        if self.typed:
            return "Type a line for each turn; the end of the input, or Ctrl-C, ends it."
        if self.says is not None and isinstance(self.endpoint, WavEndpoint):
            return f"Saying {self.endpoint.speech_s:.2f} s of speech."
        return "Speak; Ctrl-C ends it."

    def _heard_all(self) -> None:
        self._change_state(lambda: self._narrator.heard_all(trio.current_time()))

    def _change_state(self, change: Callable[[], None]) -> None:
        before = self._narrator.state
        change()
        self._show_state(before)

    def _show_state(self, before: str) -> None:
        """Print a change of state, unless a status line shows it."""
        if not self.screen.live and self._narrator.state != before:
            self.screen.line(f"[{self._narrator.state}]")

    # ---- beside the events ---------------------------------------------------------------------------------------

    async def _follow_playback(self, session: RealtimeSession[Any]) -> None:
        """Notice when the agent has been heard to the end."""
        while self.endpoint is not None:
            while self._narrator.state != "speaking":
                await self._news.wait()
            await session.wait_for_playback()
            self._heard_all()

    async def _redraw(self, session: RealtimeSession[Any]) -> None:
        """Keep the status line up to date."""
        while self.screen.live:
            parts = [f"{self._narrator.state:9}"]
            if isinstance(self.endpoint, ConsoleEndpoint):
                levels = self.endpoint.levels
                parts += [f"you {meter(levels.heard_rms_dbfs)}", f"agent {meter(levels.played_rms_dbfs)}"]
            self.screen.status("  ".join([*parts, self._narrator.partial[-60:].replace("\n", " ")]))
            await trio.sleep(_REDRAW_S)

    async def _say(self, session: RealtimeSession[Any]) -> None:
        """Take the typed lines, or wait until the file is said and answered; then end the session."""
        if self.typed:
            while (line := await self._typist.line()) is not None:
                self._change_state(lambda: self._narrator.asked(trio.current_time()))
                try:
                    await session.ask(line)
                except (ServerRefused, InputGuardrailTripwireTriggered) as error:
                    self.screen.line(f"no answer: {error}")
                await session.wait_for_playback()
                self._heard_all()
        elif self.says is not None and isinstance(self.endpoint, WavEndpoint):
            await trio.sleep(self.endpoint.speech_s)
            await self._hear_answer(session, self.says)
        else:
            return
        await session.close()

    async def _hear_answer(self, session: RealtimeSession[Any], file: Path) -> None:
        """Wait until the file, which has been said, is answered and the answer has been heard."""
        narrator, said_at = self._narrator, trio.current_time()
        while True:
            await session.wait_for_playback()  # while an answer is made or heard, there is no hurry
            waits = narrator.hears_user or narrator.owes_answer
            if narrator.turns and not waits:
                break
            news, patience_s = self._news, _PATIENCE_S if waits else _QUIET_S
            with trio.move_on_at(max(said_at, narrator.busy_since) + patience_s):
                await news.wait()
            if not news.is_set():
                self._fail("No answer came." if waits else f"No speech was heard in {file}.")
                return
        self._heard_all()

    async def _ask_approval(self, session: RealtimeSession[Any], request: RealtimeToolApprovalRequired) -> None:
        """Ask on the terminal, and pass the decision on."""
        answer = None
        if self.may_ask:
            self.screen.line("  allow it? y(es), n(o), a(lways):")
            answer = await self._typist.line()
        if answer is not None and answer[:1].lower() in ("y", "a"):
            await session.approve_tool_call(request.call_id, always=answer[:1].lower() == "a")
        else:
            message = None if self.may_ask else "There was no one to approve it."
            await session.reject_tool_call(request.call_id, rejection_message=message)


async def _cancel_at_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


async def _quietly(task: Any, *arguments: Any) -> None:
    """Run a task that ends with the session. The loop over its events raises the reason for the end."""
    try:
        await task(*arguments)
    except TrealtimeError:
        pass
