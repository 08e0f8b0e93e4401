"""The conversation of ``trealtime talk``: a session, an endpoint, and who types, shown on a screen."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import attrs
import trio

from trealtime._session.runner import RealtimeRunner
from trealtime._session.session import RealtimeSession
from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.guardrails import InputGuardrailTripwireTriggered
from trealtime.cli.speech import speech_engines
from trealtime.cli.talk_narrator import EVENTS, Narrator
from trealtime.cli.talk_screen import Screen, meter
from trealtime.cli.talk_typing import Typist
from trealtime.endpoints.console import ConsoleEndpoint
from trealtime.endpoints.endpoint import Endpoint
from trealtime.errors import ServerRefused, TrealtimeError
from trealtime.events import RealtimeToolApprovalRequired
from trealtime.transport.background import background_nursery

__all__ = ["Talk"]

_ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_REDRAW_S: Final = 0.1
_QUIET_S: Final = 2.0
"""How long after a file nothing may happen before the conversation is over."""
_PATIENCE_S: Final = 20.0
"""The same while the agent thinks, or the server waits for more: semantic voice detection may do so for 8 s."""


@attrs.define(eq=False, kw_only=True)
class Talk:
    """One conversation. `endpoint` None: nobody hears. `typed`: turns are lines of standard input. `speech_s`: how long
    the file is that is said, None where there is none. `speech`: how an emulator hears and speaks. `may_ask`: somebody
    can answer a question on standard input."""

    agent: RealtimeAgent[Any]
    endpoint: Endpoint | None
    screen: Screen
    typed: bool
    speech_s: float | None
    speech: str
    url: str | None
    model_name: str | None
    has_key: bool
    may_ask: bool
    _narrator: Narrator = attrs.field(init=False)
    _typist: Typist = attrs.field(init=False, factory=Typist)
    _news: trio.Event = attrs.field(init=False, factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self._narrator = Narrator(plays=self.endpoint is not None)

    async def run(self) -> None:
        """Talk until the user ends it: by Ctrl-C, or at the end of the file or of the typed lines."""
        with trio.open_signal_receiver(*_ENDING_SIGNALS) as signals:
            async with background_nursery() as nursery:
                with trio.CancelScope() as scope:
                    nursery.start_soon(_cancel_at_signal, signals, scope)
                    await self._converse()
        self.screen.status("")
        self.screen.line("Goodbye.")

    async def _converse(self) -> None:
        settings: dict[str, object] = {}
        if self.model_name is not None:
            settings["model_name"] = self.model_name
        if self.endpoint is None:
            settings["output_modalities"] = ["text"]
        runner = RealtimeRunner(self.agent, config={"model_settings": settings})
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(self._server())
            session = await stack.enter_async_context(runner.session(model_config=connection))
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

    @asynccontextmanager
    async def _server(self) -> AsyncIterator[Mapping[str, object]]:
        """How to connect."""
        if self.url is not None:
            self.screen.line(f"Talking to {self.url}.")
            yield {"url": self.url} if self.has_key else {"url": self.url, "headers": {}}
        elif self.has_key:
            self.screen.line("Talking to OpenAI's service.")
            yield {}
        else:
            from trealtime.emulator import open_emulator
            from trealtime.emulator.talking import TalkingBrain

            speech = await speech_engines(self.speech)
            self.screen.line(f"No OPENAI_API_KEY: talking to an emulator in this process. {speech.description}")
            async with open_emulator(speech=speech, brain=TalkingBrain()) as emulator:
                yield {"url": emulator.url, "headers": {}}

    def _greeting(self) -> str:
        if self.typed:
            return "Type a line for each turn; the end of the input, or Ctrl-C, ends it."
        if self.speech_s is not None:
            return f"Saying {self.speech_s:.2f} s of speech."
        return "Speak; Ctrl-C ends it."

    def _heard_all(self) -> None:
        self._change_state(lambda: self._narrator.heard_all(trio.current_time()))

    def _change_state(self, change: Callable[[], None]) -> None:
        before = self._narrator.state
        change()
        self._show_state(before)

    def _show_state(self, before: str) -> None:
        """Without a status line, a change of state is a line of its own."""
        if not self.screen.live and self._narrator.state != before:
            self.screen.line(f"[{self._narrator.state}]")

    # ---- beside the events ---------------------------------------------------------------------------------------

    async def _follow_playback(self, session: RealtimeSession[Any]) -> None:
        """Notice when the agent has been heard."""
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
        """Say what there is to say, then end the session. A microphone never ends."""
        if self.typed:
            while (line := await self._typist.line()) is not None:
                self._change_state(lambda: self._narrator.asked(trio.current_time()))
                try:
                    await session.ask(line)
                except (ServerRefused, InputGuardrailTripwireTriggered) as error:
                    self.screen.line(f"no answer: {error}")
                await session.wait_for_playback()
                self._heard_all()
        elif self.speech_s is not None:
            await trio.sleep(self.speech_s)
            await self._quiet()
        else:
            return
        await session.close()

    async def _quiet(self) -> None:
        """Wait until nothing more is to be expected."""
        began = trio.current_time()
        while True:
            if self._narrator.state == "speaking":
                left_s = _QUIET_S
            else:
                expected = self._narrator.state == "thinking" or self._narrator.hears_user
                patience_s = _PATIENCE_S if expected else _QUIET_S
                left_s = max(began, self._narrator.busy_since) + patience_s - trio.current_time()
            if left_s <= 0:
                return
            await trio.sleep(left_s)

    async def _ask_approval(self, session: RealtimeSession[Any], request: RealtimeToolApprovalRequired) -> None:
        """Ask whoever is at the terminal."""
        answer = None
        if self.may_ask:
            self.screen.line("  allow it? y(es), n(o), a(lways):")
            answer = await self._typist.line()
        if answer is not None and answer[:1].lower() in ("y", "a"):
            await session.approve_tool_call(request.call_id, always=answer[:1].lower() == "a")
        else:
            message = None if self.may_ask else "Nobody was there to approve it."
            await session.reject_tool_call(request.call_id, rejection_message=message)


async def _cancel_at_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


async def _quietly(task: Any, *arguments: Any) -> None:
    """A task that ends with the session: what ended that comes out of the loop over its events."""
    try:
        await task(*arguments)
    except TrealtimeError:
        pass
