"""A call, as values: everything that a drawing shows, in seconds since the recording began."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs

__all__ = [
    "SLOT_S",
    "Approval",
    "Call",
    "Connection",
    "HeardSpan",
    "Interrupt",
    "Mark",
    "Reign",
    "Response",
    "Sound",
    "Speech",
    "ToolCall",
    "Turn",
    "Utterance",
    "WireNote",
]

SLOT_S: Final = 0.02
"""The length of audio that has one level in a waveform."""


@attrs.frozen(kw_only=True)
class Utterance:
    """What the user said, or wrote (`written`): the `words` are empty where they were not transcribed."""

    item_id: str
    start_s: float
    end_s: float
    words: str = ""
    written: bool = False


@attrs.frozen
class HeardSpan:
    """From `start_s` to `end_s` the user heard the audio of a part from `from_ms` to `to_ms`."""

    start_s: float
    end_s: float
    from_ms: float
    to_ms: float


@attrs.frozen(kw_only=True)
class Interrupt:
    """An interrupt of a part: the session stopped it at `at_s`, when `heard_ms` of it had been heard."""

    at_s: float
    heard_ms: float
    cause: str


@attrs.frozen(kw_only=True)
class Speech:
    """One content part of the agent's speech."""

    response_id: str
    item_id: str
    content_index: int
    agent: str
    received_s: tuple[float, float]
    """When its audio came from the server: first and last."""

    received_ms: float
    """How much of it came."""

    levels: bytes
    """Its loudness, a byte for every `SLOT_S`."""

    heard: tuple[HeardSpan, ...] = ()
    interrupt: Interrupt | None = None
    words: str = ""

    @property
    def heard_ms(self) -> float:
        """How much of it the user heard."""
        return max((span.to_ms for span in self.heard), default=0.0)

    @property
    def purged_ms(self) -> float:
        """How much had come and was never heard, because an interrupt threw it away."""
        return max(0.0, self.received_ms - self.heard_ms) if self.interrupt is not None else 0.0


@attrs.frozen(kw_only=True)
class Response:
    """A response, from the request for it (None: the server made it by itself) to its end (None: it has none)."""

    response_id: str
    agent: str
    requested_s: float | None
    created_s: float
    done_s: float | None = None
    status: str = ""
    reason: str = ""


@attrs.frozen(kw_only=True)
class ToolCall:
    """A call of a tool: the model had written it at `called_s`, it ran from `started_s` and had its output at
    `ended_s`. `status` is ``"completed"`` or the reason why it failed; empty while it runs."""

    call_id: str
    name: str
    agent: str
    called_s: float
    started_s: float | None = None
    ended_s: float | None = None
    status: str = ""
    arguments: str = ""
    output: str = ""


@attrs.frozen(kw_only=True)
class Approval:
    """A call that waited for a yes or a no; `outcome` is ``"approved"``, ``"rejected"`` or why it needed none."""

    call_id: str
    name: str
    asked_s: float
    decided_s: float | None = None
    outcome: str = ""


@attrs.frozen
class Mark:
    """Something that happened at one moment: `kind` is ``"guardrail"``, ``"handoff"``, ``"error"`` or ``"note"``."""

    at_s: float
    kind: Literal["guardrail", "handoff", "error", "note"]
    title: str
    detail: str = ""


@attrs.frozen
class Reign:
    """The time in which an agent was in charge."""

    agent: str
    start_s: float
    end_s: float


@attrs.frozen(kw_only=True)
class Connection:
    """A connection; `end` says how it ended, and is empty while it is open. `clean`: no harm was done."""

    number: int
    start_s: float
    end_s: float
    end: str = ""
    clean: bool = True


@attrs.frozen
class WireNote:
    """`count` messages of one `type` in a row, the first at `at_s`."""

    at_s: float
    sent_by: Literal["client", "server"]
    type: str
    detail: str = ""
    count: int = 1


@attrs.frozen(kw_only=True)
class Turn:
    """One turn, with the figures of its `trealtime.metrics.TurnMetrics`, if the recording has them (`measured`)."""

    number: int
    source: str
    agent: str
    status: str
    start_s: float
    end_s: float
    reason: str = ""
    said: str = ""
    answered: str = ""
    speech_started_s: float | None = None
    speech_ended_s: float | None = None
    requested_s: float | None = None
    created_s: float | None = None
    first_audio_s: float | None = None
    first_heard_s: float | None = None
    done_s: float | None = None
    heard_until_s: float | None = None
    onset_s: float | None = None
    silent_s: float | None = None
    interrupted_by: str = ""
    tools: tuple[str, ...] = ()
    tools_s: float = 0.0
    """The sum of the times of its calls."""

    tokens: int | None = None
    cost: str | None = None
    retries: int = 0
    response_ids: tuple[str, ...] = ()
    measured: bool = True

    @property
    def answer_from_s(self) -> float | None:
        """Where the wait for the answer began: the end of speech, or the request."""
        return self.speech_ended_s if self.speech_ended_s is not None else self.requested_s

    @property
    def response_latency_s(self) -> float | None:
        """`TurnMetrics.response_latency_s`."""
        begun = self.answer_from_s
        return None if begun is None or self.first_heard_s is None else self.first_heard_s - begun

    @property
    def silence_latency_s(self) -> float | None:
        """`TurnMetrics.silence_latency_s`."""
        return None if self.onset_s is None or self.silent_s is None else self.silent_s - self.onset_s

    def is_slow(self, *, slow_s: float, slow_silence_s: float) -> bool:
        """Whether the answer was heard more than `slow_s` after the user's turn, or the agent talked on for more than
        `slow_silence_s` after the user began to speak."""
        answer, silence = self.response_latency_s, self.silence_latency_s
        return (answer is not None and answer > slow_s) or (
            self.interrupted_by == "speech" and silence is not None and silence > slow_silence_s
        )


@attrs.frozen
class Sound:
    """A stretch of sound to listen to: G.711 mu-law at 8 kHz, from `start_s` on, of the ``"user"`` or the
    ``"agent"``, as it was heard."""

    start_s: float
    who: Literal["user", "agent"]
    data: bytes


@attrs.frozen(kw_only=True)
class Call:
    """A recorded call. `levels` is the loudness of the user, a byte for every `SLOT_S` from the beginning."""

    session_id: str
    began_unix_s: float | None
    duration_s: float
    header: Mapping[str, Any]
    levels: bytes
    utterances: tuple[Utterance, ...]
    speeches: tuple[Speech, ...]
    responses: tuple[Response, ...]
    tools: tuple[ToolCall, ...]
    approvals: tuple[Approval, ...]
    marks: tuple[Mark, ...]
    reigns: tuple[Reign, ...]
    connections: tuple[Connection, ...]
    turns: tuple[Turn, ...]
    wire: tuple[WireNote, ...]
    sounds: tuple[Sound, ...]
    sound_left_out: bool
    """There was more sound than the bound, or the recording has none."""

    problems: tuple[str, ...]
    """What keeps this from being the whole call: lines that were lost, the end of the file that was cut."""
