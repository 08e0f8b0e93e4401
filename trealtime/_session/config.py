"""The settings of a runner and of a run: ``RealtimeRunner(config=...)`` and ``runner.run(model_config=...)``.

Both may be mappings or instances. One `SettingsError` reports every problem of one of them.
"""

# ruff: noqa: RUF009  # `setting` makes an attrs field, as `attrs.field` does
from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

import attrs

from trealtime._core.interruption import BargeInPolicy
from trealtime._core.reconnection import ReconnectPolicy
from trealtime._core.usage import ModelPrices, SessionLimits, find_prices
from trealtime._secrets import hidden, names_only, shown
from trealtime._session.approval_handler import ApprovalHandler
from trealtime._session.playback_tracker import RealtimePlaybackTracker
from trealtime._session.recording_settings import RecordingSettings, recording_settings
from trealtime._session.subscription import Overflow
from trealtime._value import Value
from trealtime.agents.guardrails import InputGuardrail, OutputGuardrail
from trealtime.agents.hooks import RealtimeRunHooks
from trealtime.errors import SettingsError, SettingsProblem
from trealtime.observability.settings import TelemetrySettings, default_telemetry, require_opentelemetry
from trealtime.protocol.settings import SessionSettings
from trealtime.protocol.validation import NotSet, WrongValue, setting, structure
from trealtime.tools.function_tool import AfterTool
from trealtime.tools.invocation import ToolErrorFormatter
from trealtime.transport.request import ApiKey

__all__ = [
    "GuardrailsSettings",
    "RealtimeModelConfig",
    "RealtimeRunConfig",
    "ToolExecution",
    "check_priced",
    "barge_in_policy",
    "model_config",
    "run_config",
    "with_telemetry",
]


_C = TypeVar("_C", bound=type)

_OLD_KEYS: Final[Mapping[str, str]] = {
    "feed_buffer_s": "subscription_buffer_s",
    "feed_buffer_events": "subscription_buffer_events",
    "feed_overflow": "subscription_overflow",
    "outbox_events": "send_queue_events",
}
"""Keys of `RealtimeRunConfig` as they were called before 0.2, and as they are called now."""


def _warn_old_key(old: str, new: str, *, stacklevel: int) -> None:
    message = f"the setting {old!r} is called {new!r} since trealtime 0.2; the old name goes with 1.0"
    warnings.warn(message, DeprecationWarning, stacklevel=stacklevel + 1)


def _with_new_keys(settings: Mapping[str, Any], *, stacklevel: int) -> dict[str, Any]:
    """Return `settings` under the names of today, with a warning for each old one.

    An old key beside its new one stays, to be refused as an unknown key.
    """
    renamed: dict[str, Any] = {}
    for key, value in settings.items():
        new = _OLD_KEYS.get(key)
        if new is None or new in settings:
            renamed[key] = value
        else:
            _warn_old_key(key, new, stacklevel=stacklevel + 1)
            renamed[new] = value
    return renamed


def _takes_old_keys(cls: _C) -> _C:
    """Let the constructor take old keys, and let them be read; both warn."""
    construct: Callable[..., None] = cls.__init__  # type: ignore[misc]

    @functools.wraps(construct)
    def init(self: object, **settings: Any) -> None:
        construct(self, **_with_new_keys(settings, stacklevel=2))

    cls.__init__ = init  # type: ignore[misc]
    for old, new in _OLD_KEYS.items():
        read = functools.partial(_read_old_key, old=old, new=new)
        setattr(cls, old, property(read, doc=f"The old name of `{new}`, which goes with 1.0."))
    return cls


def _read_old_key(config: object, *, old: str, new: str) -> Any:
    _warn_old_key(old, new, stacklevel=2)
    return getattr(config, new)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class GuardrailsSettings(Value):
    """Settings of guardrails: when they run, and the consequences of a trip."""

    debounce_text_length: int = setting(default=100, at_least=1)
    """Check an item again after so many characters of new text. The end of an item is always checked."""

    hold_back: bool = setting(default=False)
    """True: hold audio back from the app until the guardrails have passed its words."""

    hold_back_s: float = setting(default=120.0, at_least=1)
    """Seconds of audio of one answer that may be held back. An answer with more is stopped."""

    on_failure: Literal["skip", "block", "stop"] | None = setting(default=None)
    """The consequence when a guardrail raises or takes too long. ``"skip"``: the others decide. ``"stop"``: it counts
    as tripped. ``"block"``: it counts as tripped for the user's words, which then get no answer, and a turn without a
    transcript, which no guardrail can check, gets none either. None: ``"stop"`` for the agent's words with `hold_back`,
    else ``"skip"``; the agent's words go by that rule under ``"block"`` too."""

    recovery: Literal["system", "user"] | None = setting(default="system")
    """The role of the message that tells the model that its answer was stopped, before it is asked again. None: there
    is no such message, and the model is not asked again."""

    input_recovery: Literal["system", "user"] | None = setting(default=None)
    """The role of the message that tells the model that the user's words were withheld, before it is asked to answer.
    None: there is no such message, and the user gets no answer."""

    timeout_s: float = setting(default=10.0, at_least=0)
    """Seconds that one guardrail may take. Past them it has failed, with an ``error`` event."""

    concurrency: int = setting(default=8, at_least=1)
    """The number of synchronous guardrails of one session that run at a time, in threads."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolExecution(Value):
    """How tools are called."""

    pre_approval_tool_input_guardrails: bool = setting(default=False)
    """True: the input guardrails of a tool also check a call before it waits for approval."""


@_takes_old_keys
@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeRunConfig(Value):
    """How sessions of a runner behave. Times are seconds."""

    model_settings: SessionSettings | NotSet = setting(repr=shown)
    """Settings of the model and its audio. Those of the agent and of ``model_config`` take precedence."""

    tracing_disabled: bool = setting(default=False)
    """True: ask the service for no trace of the session. It says nothing of `telemetry`."""

    async_tool_calls: bool = setting(default=True)
    """False: run one tool at a time, in the order of the calls. Either way a tool never holds up the reader."""

    tool_concurrency: int = setting(default=8, at_least=1)
    """The number of tools of one session that run at a time."""

    max_open_calls: int = setting(default=128, at_least=1)
    """The number of calls of one session that may be open: running, or waiting for their turn or for approval. A call
    past that is not made, and its output tells the model so."""

    max_tool_rounds: int = setting(default=10, at_least=1)
    """The number of responses of one turn that may call tools. Calls past that are not made, with an output that says
    so, and `RealtimeSession.ask` raises `ToolRoundsExceeded`."""

    after_tool: AfterTool = setting(default="auto")
    """Whether to ask the model for an answer to the outputs of its calls; a tool may have a setting of its own.
    ``"auto"``: yes, unless the response has spoken already and the tools returned None."""

    tool_error_formatter: ToolErrorFormatter | None = setting(default=None)
    """Makes the output of a call that failed, from `ToolErrorFormatterArgs`; sync or async."""

    tool_execution: ToolExecution = setting(default=ToolExecution())

    approval_handler: ApprovalHandler | None = setting(default=None)
    """Decides about calls that need approval. None: the app calls `RealtimeSession.approve_tool_call` or
    `RealtimeSession.reject_tool_call`."""

    approval_timeout_s: float | None = setting(default=None, at_least=0)
    """How long a call waits for approval before it counts as rejected; None: until the session ends."""

    hooks: RealtimeRunHooks | None = setting(default=None)
    """Called for what happens to all agents of a session."""

    output_guardrails: Sequence[OutputGuardrail[Any]] = setting(default=())
    """Checks of the words of every agent, after the agent's own checks."""

    input_guardrails: Sequence[InputGuardrail[Any]] = setting(default=())
    """Checks of the user's words to every agent, after the agent's own checks."""

    guardrails_settings: GuardrailsSettings = setting(default=GuardrailsSettings())

    prices: Mapping[str, ModelPrices] | None = setting(default=None)
    """The prices of models, by name. Without it every cost is None."""

    limits: SessionLimits = setting(default=SessionLimits())
    """Bounds of time, tokens and cost that end a session."""

    barge_in: BargeInPolicy = setting(default="immediate")
    """``"immediate"``: the user's speech interrupts the agent as soon as the server hears it. ``"off"``: only the app
    interrupts. A `BargeIn`, or a mapping of its fields: speech interrupts once it fulfils these conditions."""

    record: str | os.PathLike[str] | RecordingSettings | None = setting(default=None)
    """Record every session: ``"recordings/{session_id}.jsonl.gz"``, or a `RecordingSettings`. It holds what people say;
    only its owner may read the file."""

    telemetry: TelemetrySettings | None = setting(default=None)
    """Spans and metrics for OpenTelemetry. None: those that `trealtime.instrument` has set when the runner is made, or
    none."""

    log_content: bool = setting(default=False)
    """Whether logs may have the texts of exceptions and of the server's errors, which may hold what people say. Keys
    stay out of them either way."""

    raw_events: bool = setting(default=True)
    """Whether to emit ``raw_model_event``. False saves its cost where no consumer uses it."""

    subscription_buffer_s: float = setting(default=600.0, at_least=0)
    """Audio that a subscription holds for its consumer. Models speak faster than real time: 600 s are three of the
    longest answers that a response can have, and 28.8 MB of PCM16."""

    subscription_buffer_events: int = setting(default=10_000, at_least=1)
    """Events other than audio that a subscription holds."""

    subscription_buffer_bytes: int = setting(default=64 * 2**20, at_least=1)
    """Bytes of events other than audio that a subscription holds. Each counts for as many as the server's message."""

    subscription_overflow: Overflow = setting(default="fail")
    """Past these bounds, ``"fail"`` raises `SlowConsumer` at the consumer, ``"drop_oldest_audio"`` drops audio."""

    unread_buffer_s: float = setting(default=60.0, at_least=0)
    """Audio that the session's own subscription keeps before the first iteration. It lets a program begin late and lose
    nothing, and costs 2.9 MB in one that never iterates."""

    input_buffer_s: float = setting(default=2.0, at_least=0)
    """Microphone audio that may be queued. While more is queued, `RealtimeSession.send_audio` waits."""

    send_queue_events: int = setting(default=256, at_least=1)
    """Other events that may be queued. While more are queued, calls that send wait."""

    reconnect: ReconnectPolicy | NotSet | None = setting()
    """How a lost connection is replaced. None: it is not, and the session ends with `ConnectionLost`. Not given: by the
    default `ReconnectPolicy` where the session has dialled the connection itself, and not at all for connections that
    were handed in and for phone calls that the service carries."""

    ready_timeout_s: float = setting(default=10.0, at_least=0)
    """How long the server may take, once connected, to create the session and acknowledge its settings."""

    close_timeout_s: float = setting(default=3.0, at_least=0)
    """How long closing the session in order may take. Past it, the connection is dropped."""

    cancel_grace_s: float = setting(default=5.0, at_least=0)
    """How long an interrupted response may take to end. Past it, the next one is asked for all the same."""

    response_timeout_s: float = setting(default=30.0, at_least=0)
    """How long the server may take to begin a response, and how long nothing may come of one that has begun."""

    request_timeout_s: float = setting(default=10.0, at_least=0)
    """How long the server may take to answer any other request. Past it, the caller gets `RequestTimedOut`."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeModelConfig(Value):
    """How one session connects. If `headers` are given, they are the only ones sent: no Authorization is added."""

    api_key: ApiKey | NotSet = setting(repr=hidden)
    """The key, or a callable (sync or async) that returns one for each connection. Without it: `OPENAI_API_KEY`."""

    url: str | NotSet = setting(at_least=1, repr=shown)
    """A ``ws://`` or ``wss://`` address in place of the model's own, used byte for byte."""

    headers: Mapping[str, str] | NotSet = setting(repr=names_only)
    """The headers of the request: nothing is added to them."""

    call_id: str | NotSet = setting(at_least=1)
    """The phone call to attach to, as its webhook names it."""

    initial_model_settings: SessionSettings | NotSet = setting(repr=shown)
    """Settings for this session. They take precedence over all others."""

    playback_tracker: RealtimePlaybackTracker | NotSet = setting()
    """Knows what the app's player has played. Without it, and without an endpoint, playback is assumed to be in real
    time."""


def run_config(value: RealtimeRunConfig | Mapping[str, Any] | None) -> RealtimeRunConfig:
    """Return `value`, checked. Raises `SettingsError` with every problem in it."""
    if isinstance(value, Mapping):
        value = _with_new_keys(value, stacklevel=3)
    config = structure(RealtimeRunConfig, {} if value is None else value, what="config")
    if config.record is not None and not isinstance(config.record, RecordingSettings):
        try:
            config = attrs.evolve(config, record=recording_settings(config.record))
        except WrongValue as wrong:
            problem = SettingsProblem("record", config.record, wrong.allowed, wrong.suggestion)
            raise SettingsError([problem], what="config") from None
    if config.limits.max_cost is not None and not config.prices:
        problem = SettingsProblem("limits.max_cost", config.limits.max_cost, "nothing without `prices`")
        raise SettingsError([problem], what="config")
    return config


_NO_TELEMETRY: Final = TelemetrySettings(enabled=False)


def with_telemetry(config: RealtimeRunConfig) -> RealtimeRunConfig:
    """Return `config` with the default telemetry, if it says nothing of it. Raises `MissingDependency` where telemetry
    is wanted and OpenTelemetry is not installed."""
    if config.telemetry is None:
        config = attrs.evolve(config, telemetry=default_telemetry() or _NO_TELEMETRY)
    require_opentelemetry(config.telemetry)
    return config


def check_priced(config: RealtimeRunConfig, model: str | None) -> None:
    """Raise `SettingsError` if the cost is limited and the server's `model` has no price."""
    prices = config.prices or {}
    if config.limits.max_cost is not None and find_prices(prices, model) is None:
        allowed = "nothing where `max_cost` is set and the server does not name its model"
        if model is not None:
            allowed = f"a table with the prices of {model!r}, because `max_cost` is set"
        raise SettingsError([SettingsProblem("prices", list(prices), allowed)], what="config")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class _BargeInAlone(Value):
    barge_in: BargeInPolicy = setting()


def barge_in_policy(value: BargeInPolicy | Mapping[str, Any]) -> BargeInPolicy:
    """Return `value`, checked. Raises `SettingsError` with every problem in it."""
    return structure(_BargeInAlone, {"barge_in": value}, what="attach").barge_in


def model_config(value: RealtimeModelConfig | Mapping[str, Any] | None) -> RealtimeModelConfig:
    """Return `value`, checked. Raises `SettingsError` with every problem in it."""
    return structure(RealtimeModelConfig, {} if value is None else value, what="model_config")
