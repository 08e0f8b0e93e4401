"""The machine of `test_machine` with an endpoint that plays and reports, with an app that uses every other input, and
with audio on the hot path: what must hold whatever happens."""

from __future__ import annotations

from itertools import count
from typing import Any

import attrs
import pybase64
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from trealtime._core import effects as fx
from trealtime.events import RealtimeAudio
from trealtime.protocol.codec import read_server_event
from trealtime.protocol.server_events import ResponseOutputAudioDelta

from .machine import Machine, times
from .model_server import BYTES_PER_MS, POLICIES

pytestmark = pytest.mark.usefixtures("same_examples_everywhere")

Key = tuple[str, int]


@attrs.define
class Stretch:
    """Audio of one part that is still to be played."""

    response_id: str
    key: Key
    start_ms: float
    end_ms: float


@attrs.define
class Loudspeaker:
    """An endpoint: it plays one response after another in real time, and knows what was heard."""

    at: float
    held: bool = False
    lines: dict[str, list[Stretch]] = attrs.Factory(dict)
    """By response; the first one plays."""

    over: set[str] = attrs.Factory(set)
    """Responses of which no more audio will come."""

    heard_ms: dict[Key, float] = attrs.Factory(dict)
    reported_ms: dict[Key, float] = attrs.Factory(dict)
    last: Key | None = None
    """The part that plays, or that has played last."""

    def add(self, stretch: Stretch) -> None:
        self.lines.setdefault(stretch.response_id, []).append(stretch)

    @property
    def queue(self) -> list[Stretch]:
        """What it has been given to play."""
        return next(iter(self.lines.values()), [])

    def play(self, now: float) -> None:
        """Time has passed."""
        left_ms = 0.0 if self.held else (now - self.at) * 1000
        self.at = now
        while left_ms > 0 and self.queue:
            stretch = self.queue[0]
            ms = min(left_ms, stretch.end_ms - stretch.start_ms)
            stretch.start_ms += ms
            left_ms -= ms
            self.last = stretch.key
            self.heard_ms[stretch.key] = stretch.start_ms
            if stretch.end_ms - stretch.start_ms < 1e-9:
                self.queue.pop(0)

    def next_line(self) -> None:
        """Go on with the next response, where the first is over."""
        while self.lines and not self.queue and next(iter(self.lines)) in self.over:
            del self.lines[next(iter(self.lines))]

    def purge(self, response_id: str) -> None:
        self.lines.pop(response_id, None)

    @property
    def plays_to_ms(self) -> float | None:
        """How far it plays on from where it is in the part that plays."""
        if self.last is None or self.held:
            return None
        end_ms = self.heard_ms[self.last]
        for stretch in self.queue:
            if stretch.key != self.last:
                break
            end_ms = stretch.end_ms
        return end_ms


class PlayingMachine(Machine):
    """More of what an app may do."""

    def __init__(self) -> None:
        super().__init__()
        self.speaker: Loudspeaker | None = None
        self.begun: set[Key] = set()
        """Parts that the endpoint has from their beginning."""

        self.user_speaks = 0
        self.attached = False
        self.numbers = count()

    @initialize(attached=st.booleans())
    def begin(self, attached: bool) -> None:
        self.attached = attached

    # ---- an endpoint -------------------------------------------------------------------------------------------------

    @rule()
    def an_endpoint_comes_or_leaves(self) -> None:
        if self.speaker is None:
            self.speaker = Loudspeaker(self.now, held=self.playback == "hold")
            self.app.use_reports(reporting=True)
            assert self.speaker.held == (self.playback == "hold")
        else:
            self.catch_up()
            speaker = self.speaker
            for response_id in [each for each, line in speaker.lines.items() if line or each not in speaker.over]:
                self.app.interrupt(response_id=response_id)
            self.speaker = None
            self.begun.clear()
            self.app.use_reports(reporting=False)

    def catch_up(self) -> None:
        if self.speaker is not None:
            self.speaker.play(self.now)
            self.speaker.next_line()
            self.give()

    def give(self) -> None:
        """The endpoint is given what may play."""
        for stretch in self.speaker.queue:
            self.core.begin_part(*stretch.key)

    def report(self) -> None:
        speaker = self.speaker
        self.catch_up()
        if speaker.last is not None:
            heard_ms = speaker.heard_ms[speaker.last]
            speaker.reported_ms[speaker.last] = heard_ms
            self.app.report_heard(*speaker.last, heard_ms, playing_to_ms=speaker.plays_to_ms)

    @precondition(lambda self: self.speaker is not None)
    @rule()
    def the_endpoint_reports(self) -> None:
        self.report()

    @precondition(lambda self: self.speaker is not None)
    @rule()
    def playback_is_over_when_the_core_says_so(self) -> None:
        self.catch_up()
        if self.core.playback_remaining(self.now) == 0:
            left = [each for line in self.speaker.lines.values() for each in line if each.end_ms - each.start_ms > 1]
            assert not left

    def take_audio(self, event: RealtimeAudio) -> None:
        super().take_audio(event)
        key = (event.item_id, event.content_index)
        if self.speaker is not None:
            if event.audio.start_ms == 0:
                self.begun.add(key)
            end_ms = event.audio.start_ms + len(event.audio.data) / BYTES_PER_MS
            self.speaker.add(Stretch(event.response_id, key, event.audio.start_ms, end_ms))

    def apply(self, effects: list[fx.Effect]) -> None:
        self.catch_up()
        super().apply(effects)
        self.catch_up()

    def carry_out(self, effect: fx.Effect) -> None:
        super().carry_out(effect)
        if self.speaker is None:
            return
        match effect:
            case fx.PurgeAudio(response_id):
                self.speaker.purge(response_id)
            case fx.ChangePlayback(change):
                self.speaker.held = change.how == "hold"
            case fx.Emit(event) if event.type == "agent_end":
                self.speaker.over.add(event.response_id)

    def check_heard(self, key: Key, heard_ms: int) -> None:
        """No more than what was really heard, and no less than what was reported."""
        if self.speaker is None:
            return
        if key in self.begun:
            assert heard_ms <= self.speaker.heard_ms.get(key, 0.0) + 1e-3
            assert heard_ms >= int(self.speaker.reported_ms.get(key, 0.0) - 1e-3)

    # ---- the hot path ------------------------------------------------------------------------------------------------

    def receive(self, frame: dict[str, Any]) -> None:
        """As the driver does it."""
        if self.attached and frame["type"] == "session.created":
            self.an_endpoint_comes_or_leaves()
        event = read_server_event(frame)
        audio = self.core.receive_audio(self.now, event) if isinstance(event, ResponseOutputAudioDelta) else None
        if audio is None:
            super().receive(frame)
        else:
            self.catch_up()
            self.see(audio)
            self.catch_up()

    # ---- what else an app does ---------------------------------------------------------------------------------------

    @rule(begin=st.booleans())
    def the_app_says_whether_the_user_speaks(self, begin: bool) -> None:
        if begin:
            self.user_speaks += 1
            self.app.begin_user_speaking()
        elif self.user_speaks:
            self.user_speaks -= 1
            self.app.end_user_speaking()

    def check_outgoing(self, event: dict[str, Any]) -> None:
        super().check_outgoing(event)
        if event["type"] == "response.create" and self.user_speaks:
            sent = self.core._state.response_queue._sent
            assert sent is None or sent.event_id != event["event_id"] or not sent.automatic, "the user speaks"

    @rule(policy=st.sampled_from((None, "immediate", "off", *POLICIES)))
    def another_barge_in_policy(self, policy: Any) -> None:
        self.app.use_barge_in(policy)

    @rule(ms=st.sampled_from((20, 400)))
    def the_microphone_sends(self, ms: int) -> None:
        self.send_microphone(bytes(ms * BYTES_PER_MS))

    def send_microphone(self, audio: bytes) -> None:
        if self.core.audio_sent(self.now, audio):
            self.send_queue.append({"type": "input_audio_buffer.append", "audio": ""})

    @rule(
        kind=st.sampled_from(("message", "without an id", "update", "commit", "clear", "append", "output", "nonsense")),
    )
    def send_raw(self, kind: str) -> None:
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "raw"}]}
        item_id = f"raw_{next(self.numbers)}"
        event: dict[str, Any] | None = {
            "message": {"type": "conversation.item.create", "item": {"id": item_id, **item}},
            "without an id": {"type": "conversation.item.create", "item": item},
            "update": {"type": "session.update", "session": {"instructions": "Be brief."}},
            "commit": {"type": "input_audio_buffer.commit"},
            "clear": {"type": "input_audio_buffer.clear"},
            "append": {
                "type": "input_audio_buffer.append",
                "audio": pybase64.b64encode_as_string(bytes(20 * BYTES_PER_MS)),
            },
            "output": None,
            "nonsense": {"type": "session.update", "session": None},
        }[kind]
        if kind == "output" and self.pending:
            output = {"type": "function_call_output", "call_id": self.pending[0], "output": "mine"}
            event = {"type": "conversation.item.create", "item": output}
        if kind == "clear":
            self.spoken_since_clear = False
        if event is not None:
            self.app.send_raw(event)

    @rule(how=st.sampled_from(("off", "on", "no answers", "no interrupts")))
    def voice_detection_is_switched(self, how: str) -> None:
        detection = {
            "off": None,
            "on": {"type": "server_vad"},
            "no answers": {"type": "server_vad", "create_response": False},
            "no interrupts": {"type": "server_vad", "interrupt_response": False},
        }[how]
        session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
        self.app.update_session(session, reply_id=self.reply_id("update"))

    # ---- rest --------------------------------------------------------------------------------------------------------

    @rule()
    def everything_comes_to_rest(self) -> None:
        while self.user_speaks:
            self.the_app_says_whether_the_user_speaks(False)
        super().everything_comes_to_rest()

    def time_passes(self, seconds: float) -> None:
        super().time_passes(seconds)
        if self.speaker is not None:
            self.report()

    def compare(self) -> None:
        while self.speaker is not None and any(self.speaker.lines.values()):
            self.time_passes(1.1)
        super().compare()


TestPlayingMachine = PlayingMachine.TestCase
TestPlayingMachine.settings = times(60)
