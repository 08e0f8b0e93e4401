"""The conversation of ``trealtime talk``: a session, an endpoint, typed lines, and a screen that shows them."""

from __future__ import annotations

import datetime as dt
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import attrs
import trio

from trealtime._session.config_dicts import ModelConfigDict, RunConfigDict
from trealtime._session.runner import RealtimeRunner
from trealtime._session.session import RealtimeSession
from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.guardrails import InputGuardrailTripwireTriggered
from trealtime.cli.talk_narrator import EVENTS, Narrator
from trealtime.cli.talk_screen import Screen, Typist, meter
from trealtime.emulator.options import SpeechChoice
from trealtime.endpoints.console import ConsoleEndpoint
from trealtime.endpoints.endpoint import Endpoint
from trealtime.endpoints.wav import WavEndpoint
from trealtime.errors import ServerRefused, TrealtimeError
from trealtime.events import RealtimeToolApprovalRequired
from trealtime.protocol.settings_dicts import SessionSettingsDict
from trealtime.tools.function_tool import function_tool
from trealtime.transport.background import background_nursery

__all__ = ["Talk", "built_in_agent"]


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


# ---- the conversation ------------------------------------------------------------------------------------------------

_ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_REDRAW_S: Final = 0.1
_LOOK_S: Final = 0.5
_QUIET_S: Final = 3.0
"""How long after a file the server may take to notice that it held speech."""

_PATIENCE_S: Final = 20.0
"""How long an answer may take to begin: semantic voice detection alone waits for up to 8 s."""


@attrs.define(eq=False, kw_only=True)
class Talk:
    """One conversation.

    Without an `endpoint` there is no sound. With `typed`, turns are lines of standard input. `says` is the file that a
    `WavEndpoint` says, if one does. `speech` is the value of ``--speech``. With `may_ask`, questions on the terminal
    are answered on standard input. `interactive`: a line that is typed while the agent answers interrupts it. `record`
    is the file of a recording. When one of the files `watched` changes, the conversation ends, and `reloads` says so.
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
    interactive: bool = False
    record: Path | None = None
    watched: Sequence[Path] = ()
    reloads: bool = attrs.field(init=False, default=False)
    _questions: deque[trio.MemorySendChannel[str | None]] = attrs.field(init=False, factory=deque)
    """The open questions to the user that the next typed line answers."""

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
        if not self._failed and not self.reloads:
            self.screen.line("Goodbye.")
        return not self._failed

    async def _converse(self) -> None:
        settings: SessionSettingsDict = {}
        if self.model_name is not None:
            settings["model_name"] = self.model_name
        if self.endpoint is None:
            settings["output_modalities"] = ["text"]
        # The person who talks here wrote the agent, so the log may quote them.
        config: RunConfigDict = {"model_settings": settings, "log_content": True}
        if self.record is not None:
            config["record"] = self.record
        runner = RealtimeRunner(self.agent, config=config)
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(self._server())
            session = await stack.enter_async_context(runner.session(model_config=cast("ModelConfigDict", connection)))
            subscription = await stack.enter_async_context(session.subscribe(*EVENTS, playback=False))
            if self.endpoint is not None:
                await stack.enter_async_context(session.attach(self.endpoint))
            nursery = await stack.enter_async_context(background_nursery())
            self.screen.line(self._greeting(), "quiet")
            self._show_state("")
            stack.callback(self._sum_up, session)
            for task in (self._follow_playback, self._redraw, self._say, self._watch):
                nursery.start_soon(_quietly, task, session)
            async for event in subscription:
                before = self._narrator.state
                shown = self._narrator.tell(event, trio.current_time())
                if self._narrator.state == "speaking":  # it speaks the words that follow
                    self._show_state(before)
                    before = "speaking"
                for each in shown:
                    self.screen.show(each)
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
        self.screen.line(why, "bad")

    def _sum_up(self, session: RealtimeSession[Any]) -> None:
        """Print the whole conversation in a line, if there was one."""
        if self._narrator.turns:
            self.screen.line(self._narrator.summary(session.usage, session.cost), "quiet")
        recording = session.statistics().recording
        if recording is not None:  # a file that was there stays, so it may have another name than was asked for
            name = recording.name
            self.screen.line(f"The recording is {name}; `trealtime timeline {name}` draws it.", "quiet")

    @asynccontextmanager
    async def _server(self) -> AsyncIterator[Mapping[str, object]]:
        """Yield the `model_config` of the session."""
        if self.url is not None:
            self.screen.line(f"Talking to {self.url}.", "quiet")
            yield {"url": self.url} if self.has_key else {"url": self.url, "headers": {}}
        elif self.has_key:
            self.screen.line("Talking to OpenAI's service.", "quiet")
            yield {}
        else:
            from trealtime.emulator import open_emulator
            from trealtime.emulator.dialogue import DialogueBrain
            from trealtime.emulator.local import missing_packages

            if self.speech != "tones" and not missing_packages():
                self.screen.line("Loading the engines that hear and speak ...", "quiet")
            async with open_emulator(speech=cast("SpeechChoice", self.speech), brain=DialogueBrain()) as emulator:
                what = emulator.speech.description
                self.screen.line(f"No OPENAI_API_KEY: talking to an emulator in this process. {what}", "quiet")
                yield {"url": emulator.url, "headers": {}}

    def _greeting(self) -> str:
        if self.typed:
            how = " A line that you type while the agent answers interrupts it." if self.interactive else ""
            return f"Type a line for each turn; the end of the input, or Ctrl-C, ends it.{how}"
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
        """Print a change of state, unless a status line shows it, or the user who types sees it by the words."""
        seen = self.screen.live or (self.typed and self.interactive)
        if not seen and self._narrator.state != before:
            self.screen.line(f"[{self._narrator.state}]", "quiet")

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
            line = await self._typist.line()
            while line is not None:
                line = await self._take_turn(session, line)
        elif self.says is not None and isinstance(self.endpoint, WavEndpoint):
            await trio.sleep(self.endpoint.speech_s)
            await self._hear_answer(session, self.says)
        else:
            return
        await session.close()

    async def _take_turn(self, session: RealtimeSession[Any], line: str) -> str | None:
        """Say a line and wait for the answer; return the next line, which may have cut it."""
        if not self.interactive:
            await self._ask(session, line)
            return await self._typist.line()
        async with background_nursery() as nursery:
            answered = trio.Event()

            async def ask() -> None:
                with asking:
                    await self._ask(session, line)
                answered.set()

            asking = trio.CancelScope()
            nursery.start_soon(ask)
            typed = await self._typist.line()
            while typed is not None and self._questions:
                self._questions.popleft().send_nowait(typed)
                typed = await self._typist.line()
            if typed is None:
                for question in self._questions:
                    question.send_nowait(None)
            else:
                asking.cancel()  # which interrupts the answer
            await answered.wait()
        return typed

    async def _ask(self, session: RealtimeSession[Any], line: str) -> None:
        self._change_state(lambda: self._narrator.asked(trio.current_time()))
        try:
            await session.ask(line)
        except (ServerRefused, InputGuardrailTripwireTriggered) as error:
            self.screen.line(f"no answer: {error}", "bad")
        await session.wait_for_playback()
        self._heard_all()

    async def _watch(self, session: RealtimeSession[Any]) -> None:
        """End the conversation when one of the watched files changes."""
        before = _changed_at(self.watched)
        while self.watched:
            await trio.sleep(_LOOK_S)
            if _changed_at(self.watched) != before:
                self.reloads = True
                self.screen.line("The agent's files have changed: beginning anew.", "quiet")
                await session.close()
                return

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
            self.screen.line("  allow it? y(es), n(o), a(lways):", "user")
            answer = await self._answer_of_user()
        if answer is not None and answer[:1].lower() in ("y", "a"):
            await session.approve_tool_call(request.call_id, always=answer[:1].lower() == "a")
        else:
            message = None if self.may_ask else "There was no one to approve it."
            await session.reject_tool_call(request.call_id, rejection_message=message)

    async def _answer_of_user(self) -> str | None:
        """The next typed line; None at the end of the input."""
        if not (self.typed and self.interactive):
            return await self._typist.line()
        asks, answers = trio.open_memory_channel[str | None](1)
        self._questions.append(asks)  # `_take_turn` reads the lines
        return await answers.receive()


def _changed_at(paths: Sequence[Path]) -> list[float]:
    """When each was changed; 0 for one that is not there, as while an editor writes it."""
    return [path.stat().st_mtime if path.exists() else 0.0 for path in paths]


async def _cancel_at_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


async def _quietly(task: Any, *arguments: Any) -> None:
    """Run a task that ends with the session. The loop over its events raises the reason for the end."""
    try:
        await task(*arguments)
    except TrealtimeError:
        pass
