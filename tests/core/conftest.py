"""A conversation to talk with: wire events in as JSON, wishes of the app as calls, and all that came of it kept."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pybase64
import pytest
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

from trealtime._core import effects as fx
from trealtime._core.conversation import Conversation
from trealtime._core.ids import IdSource
from trealtime.agents.agent import RealtimeAgent
from trealtime.errors import StuckDeadline
from trealtime.events import EventInfo
from trealtime.metrics import TurnMetrics
from trealtime.protocol.codec import read_server_event
from trealtime.tools.context import RunContext

BYTES_PER_MS = 48
"""PCM16 mono at 24 kHz."""


class Effects(list[fx.Effect]):
    """The effects of one input, in order, and those of each kind."""

    def _of(self, kind: type) -> list[Any]:
        return [effect for effect in self if isinstance(effect, kind)]

    @property
    def emit(self) -> list[Any]:
        return [effect.event for effect in self._of(fx.Emit)]

    @property
    def send(self) -> list[fx.Send]:
        return self._of(fx.Send)

    @property
    def purge(self) -> list[str]:
        return [effect.response_id for effect in self._of(fx.PurgeAudio)]

    @property
    def settled(self) -> list[fx.Settle]:
        return self._of(fx.Settle)

    @property
    def started(self) -> list[tuple[str, str]]:
        return [(effect.reply_id, effect.response_id) for effect in self._of(fx.FollowResponse)]

    @property
    def calls(self) -> list[fx.FunctionCall]:
        return [effect.call for effect in self._of(fx.StartTool)]

    @property
    def cancel_calls(self) -> list[str]:
        return [effect.call_id for effect in self._of(fx.CancelTool)]

    @property
    def checks(self) -> list[fx.GuardrailCheck]:
        return [effect.check for effect in self._of(fx.StartCheck)]

    @property
    def cancel_checks(self) -> list[str]:
        return [effect.subject for effect in self._of(fx.CancelChecks)]

    @property
    def asks(self) -> list[fx.ApprovalRequest]:
        return [effect.request for effect in self._of(fx.AskApproval)]

    @property
    def withdrawn(self) -> list[str]:
        return [effect.call_id for effect in self._of(fx.WithdrawApproval)]

    @property
    def switched(self) -> list[Any]:
        return [effect.switch for effect in self._of(fx.SwitchAgent)]

    @property
    def playback(self) -> Any:
        changes = self._of(fx.ChangePlayback)
        assert len(changes) < 2, "the last change alone matters"
        return changes[0].change if changes else None

    @property
    def playback_reset(self) -> bool:
        return bool(self._of(fx.ResetPlayback))

    @property
    def limit(self) -> Any:
        limits = self._of(fx.EndAtLimit)
        return limits[0].limit if limits else None


class App:
    """The inputs of the core that are no event of the server, at the time of the talk: `talk.app.interrupt()`."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk

    def __getattr__(self, name: str) -> Callable[..., Effects]:
        talk = self._talk
        method = getattr(talk.core, name)
        return lambda *args, **kwargs: talk._keep(method(talk.now, *args, **kwargs))


class Talk:
    """One core and the two sides of it: `server(...)` for what the server sends, `app` for what the app wants."""

    def __init__(self, **options: Any) -> None:
        self.agent = RealtimeAgent(name="agent")
        self.info = EventInfo(RunContext({}))
        self.core = Conversation(
            agent=self.agent, info=self.info, **{"ids": IdSource(random.Random(7)), "raw_events": False, **options}
        )
        self.state = self.core._state
        self.now = 100.0
        self.effects: list[Effects] = []
        self.turns: list[TurnMetrics] = []
        """The figures of turns that are over. Their events are not among the effects."""

        self.app = App(self)

    # ---- in --------------------------------------------------------------------------------------------------------

    def _keep(self, effects: list[fx.Effect]) -> Effects:
        ended = [each for each in effects if isinstance(each, fx.Emit) and each.event.type == "turn_ended"]
        self.turns += [each.event.metrics for each in ended]
        kept = Effects(each for each in effects if each not in ended)
        self.effects.append(kept)
        return kept

    def server(self, type: str, **fields: Any) -> Effects:
        """The server sends one event."""
        data = {"type": type, "event_id": "event_x", **fields}
        return self._keep(self.core.receive(self.now, read_server_event(data), data))

    def do(self, wish: Callable[[App], Effects]) -> Effects:
        """The app wants what `wish` asks of it."""
        return wish(self.app)

    def wait(self, seconds: float) -> Effects:
        """Time passes, and the core is told. That ends every deadline up to now."""
        self.now += seconds
        effects = self.core.tick(self.now)
        assert self.core.next_deadline is None or self.core.next_deadline > self.now
        stuck = [each.event.error for each in effects if isinstance(each, fx.Emit) and each.event.type == "error"]
        assert not [error for error in stuck if isinstance(error, StuckDeadline)]
        return self._keep(effects)

    def open(self, **turn_detection: Any) -> None:
        """The session is there; `turn_detection` as acknowledged (none: it is off)."""
        detection = {"type": "server_vad", **turn_detection} if turn_detection else None
        session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
        self.app.open_session(None, reply_id="open")
        self.server("session.created", session=session)
        self.forget()

    def created(self, response_id: str, answers: Mapping[str, Any] | None = None, **fields: Any) -> Effects:
        """``response.created``, with the metadata of the request that it answers."""
        if answers is not None:
            fields["metadata"] = answers["response"]["metadata"]
        return self.server("response.created", response={"id": response_id, "status": "in_progress", **fields})

    def done(self, response_id: str, status: str = "completed", **fields: Any) -> Effects:
        return self.server("response.done", response={"id": response_id, "status": status, **fields})

    def output_item(self, response_id: str, item_id: str, done: bool = False, **fields: Any) -> Effects:
        kind = "done" if done else "added"
        item = {"id": item_id, "type": "message", "role": "assistant", "content": [], **fields}
        return self.server(f"response.output_item.{kind}", response_id=response_id, output_index=0, item=item)

    def call(self, response_id: str, call_id: str, /, name: str = "look", **fields: Any) -> Effects:
        """The model has written a function call."""
        item = {"id": f"item_{call_id}", "type": "function_call", "call_id": call_id, "name": name}
        return self.server(
            "response.output_item.done",
            response_id=response_id,
            output_index=0,
            item={**item, "arguments": "{}", "status": "completed", **fields},
        )

    def audio(self, response_id: str, item_id: str, ms: float = 100, index: int = 0) -> Effects:
        """Some speech of the agent."""
        delta = pybase64.b64encode_as_string(bytes(int(ms * BYTES_PER_MS)))
        return self.server(
            "response.output_audio.delta",
            response_id=response_id,
            item_id=item_id,
            output_index=0,
            content_index=index,
            delta=delta,
        )

    def transcript(self, response_id: str, item_id: str, delta: str, index: int = 0) -> Effects:
        return self.server(
            "response.output_audio_transcript.delta",
            response_id=response_id,
            item_id=item_id,
            output_index=0,
            content_index=index,
            delta=delta,
        )

    def item(self, item_id: str, previous: str | None = None, kind: str = "added", **fields: Any) -> Effects:
        """``conversation.item.added`` and its kin."""
        item = {"id": item_id, "type": "message", "role": "user", "content": [], **fields}
        return self.server(f"conversation.item.{kind}", item=item, previous_item_id=previous)

    def error(self, code: str | None, event_id: str | None = None, **fields: Any) -> Effects:
        error = {"type": "invalid_request_error", "code": code, "message": "no", "event_id": event_id, **fields}
        return self.server("error", error=error)

    def turn(self, item_id: str) -> None:
        """The user speaks a turn that the server's voice detection takes."""
        self.server("input_audio_buffer.speech_started", item_id=item_id, audio_start_ms=0)
        self.server("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=900)
        self.server("input_audio_buffer.committed", item_id=item_id, previous_item_id=None)

    def silence(self, item_id: str) -> None:
        """The user has been silent for the idle timeout, which the server takes for a turn."""
        self.server("input_audio_buffer.timeout_triggered", item_id=item_id, audio_start_ms=0, audio_end_ms=900)
        self.server("input_audio_buffer.committed", item_id=item_id, previous_item_id=None)

    def hand_out(self, item_id: str, start_ms: float, end_ms: float, index: int = 0) -> None:
        self.core.hand_out(self.now, item_id, index, start_ms, end_ms)

    def speak(self, response_id: str, item_id: str, ms: float = 1000, *, hand_out: bool = True) -> None:
        """A response that has begun, with an item and audio that the app has taken."""
        if response_id not in self.state.responses:
            self.created(response_id)
        self.output_item(response_id, item_id)
        self.audio(response_id, item_id, ms)
        if hand_out:
            self.hand_out(item_id, 0, ms)

    # ---- out -------------------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Look only at what comes from here on."""
        self.effects.clear()

    @property
    def sent(self) -> list[dict[str, Any]]:
        return [dict(outgoing.event) for each in self.effects for outgoing in each.send]

    def sent_of(self, type: str) -> list[dict[str, Any]]:
        return [event for event in self.sent if event["type"] == type]

    @property
    def creates(self) -> list[dict[str, Any]]:
        return self.sent_of("response.create")

    @property
    def truncations(self) -> list[tuple[str, int, int]]:
        return [
            (event["item_id"], event["content_index"], event["audio_end_ms"])
            for event in self.sent_of("conversation.item.truncate")
        ]

    @property
    def events(self) -> list[Any]:
        return [event for each in self.effects for event in each.emit]

    def events_of(self, type: str) -> list[Any]:
        return [event for event in self.events if event.type == type]

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]

    @property
    def settled(self) -> dict[str, fx.Settle]:
        """Answers by reply_id; a reply_id that was answered twice fails here."""
        answers = [answer for each in self.effects for answer in each.settled]
        reply_ids = [each.reply_id for each in answers]
        assert len(reply_ids) == len(set(reply_ids)), reply_ids
        return {each.reply_id: each for each in answers}

    @property
    def calls(self) -> list[fx.FunctionCall]:
        return [call for each in self.effects for call in each.calls]

    @property
    def purged(self) -> list[str]:
        return [response_id for each in self.effects for response_id in each.purge]

    @property
    def started(self) -> list[tuple[str, str]]:
        return [pair for each in self.effects for pair in each.started]

    @property
    def quiet(self) -> bool:
        """Whether nothing at all came of what happened."""
        return not any(self.effects)

    def texts(self) -> dict[str, list[str | None]]:
        """Transcripts and texts of all messages in history."""
        return {
            item.item_id: [part.text if hasattr(part, "text") else part.transcript for part in item.content]
            for item in self.core.history()
            if item.type == "message"
        }

    def order(self) -> list[str]:
        return [item.item_id for item in self.core.history()]


@pytest.fixture(scope="session")
def make_talk() -> Callable[..., Talk]:
    """Talks with options for the conversation."""
    return Talk


@pytest.fixture
def talk() -> Talk:
    """A talk over an open session without voice detection."""
    talk = Talk()
    talk.open()
    return talk


@pytest.fixture
def vad_talk() -> Talk:
    """A talk over an open session whose server takes turns, answers and interrupts by itself."""
    talk = Talk()
    talk.open(create_response=True, interrupt_response=True)
    return talk


@pytest.fixture
def same_examples_everywhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hypothesis draws some values from the constants of all modules that are loaded, which depends on the tests that
    ran before. It has no setting against that. Without those constants, a failure shows again when its test runs
    alone."""
    none = Constants()
    monkeypatch.setattr(providers, "_get_local_constants", lambda: none)
    providers.CONSTANTS_CACHE.cache.clear()  # it has theirs
    yield
    providers.CONSTANTS_CACHE.cache.clear()
