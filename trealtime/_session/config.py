"""What a runner and a run may be told: ``RealtimeRunner(config=...)`` and ``runner.run(model_config=...)``.

Both are taken as mappings or as instances; every problem of one is reported in one `SettingsError`.
"""

# ruff: noqa: RUF009  # `setting` makes an attrs field, as `attrs.field` does
from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

import attrs

from trealtime._core.barge_in import BargeInPolicy
from trealtime._core.limits import SessionLimits
from trealtime._core.prices import ModelPrices, find_prices
from trealtime._session.approval_handler import ApprovalHandler
from trealtime._session.playback_tracker import RealtimePlaybackTracker
from trealtime._session.subscription import Overflow
from trealtime.agents.guardrails import InputGuardrail, OutputGuardrail
from trealtime.agents.hooks import RealtimeRunHooks
from trealtime.errors import SettingsError, SettingsProblem
from trealtime.protocol.settings import SessionSettings
from trealtime.protocol.validation import NotSet, setting, structure
from trealtime.tools.function_tool import AfterTool
from trealtime.tools.invocation import ToolErrorFormatter
from trealtime.transport.credentials import ApiKey

__all__ = [
    "GuardrailsSettings",
    "RealtimeModelConfig",
    "RealtimeRunConfig",
    "ToolExecution",
    "check_priced",
    "barge_in_policy",
    "model_config",
    "run_config",
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
        setattr(cls, old, property(functools.partial(_read_old_key, old=old, new=new)))
    return cls


def _read_old_key(config: object, *, old: str, new: str) -> Any:
    _warn_old_key(old, new, stacklevel=2)
    return getattr(config, new)


@attrs.frozen(kw_only=True)
class GuardrailsSettings:
    """When guardrails are asked, and what follows when one trips."""

    debounce_text_length: int = setting(default=100, at_least=1)
    """Characters of new text of an item after which it is checked again. The end of an item is always checked."""

    hold_back: bool = setting(default=False)
    """True: audio reaches the app only when the words up to it have passed."""

    hold_back_s: float = setting(default=120.0, at_least=1)
    """How much audio of one answer may be held back. An answer that is held back longer is stopped."""

    on_failure: Literal["skip", "stop"] | None = setting(default=None)
    """What follows when a guardrail raises or takes too long: the others decide, or it is as if it had tripped. None:
    ``"stop"`` for what the agent says with `hold_back`, else ``"skip"``."""

    recovery: Literal["system", "user"] | None = setting(default="system")
    """Who tells the model that its answer was stopped, before it is asked again. None: nobody, and it is not asked."""

    input_recovery: Literal["system", "user"] | None = setting(default=None)
    """Who tells the model that the user's words were withheld, before it is asked to answer. None: nobody, and the
    user gets no answer."""

    timeout_s: float = setting(default=10.0, at_least=0)
    """How long one guardrail may take before it has failed, with an ``error`` event."""

    concurrency: int = setting(default=8, at_least=1)
    """How many synchronous guardrails of one session run at a time, in threads."""


@attrs.frozen(kw_only=True)
class ToolExecution:
    """How calls of tools are made."""

    pre_approval_tool_input_guardrails: bool = setting(default=False)
    """True: the input guardrails of a tool check a call also before anybody is asked to approve it."""


@_takes_old_keys
@attrs.frozen(kw_only=True)
class RealtimeRunConfig:
    """How sessions of a runner behave. Times are seconds."""

    model_settings: SessionSettings | NotSet = setting()
    """Settings of the model and its audio; the agent's and those of ``model_config`` go over them."""

    tracing_disabled: bool = setting(default=False)
    async_tool_calls: bool = setting(default=True)
    """False: one tool at a time, in the order of the calls. Neither way does a tool hold up the reader."""

    tool_concurrency: int = setting(default=8, at_least=1)
    """How many tools of one session run at a time."""

    max_open_calls: int = setting(default=128, at_least=1)
    """How many calls of one session may have no output yet, because they run, wait for their turn or for approval. One
    more is not made, and the model reads so."""

    after_tool: AfterTool = setting(default="auto")
    """Whether the model is asked to answer when it has the outputs of its calls; a tool may say otherwise. ``"auto"``:
    yes, unless the response has spoken already and the tools returned None."""

    tool_error_formatter: ToolErrorFormatter | None = setting(default=None)
    """Makes the text that the model reads of a call that failed (`ToolErrorFormatterArgs`); sync or async."""

    tool_execution: ToolExecution = setting(default=ToolExecution())

    approval_handler: ApprovalHandler | None = setting(default=None)
    """Decides about calls that need approval; None: `session.approve_tool_call` and `reject_tool_call` do."""

    approval_timeout_s: float | None = setting(default=None, at_least=0)
    """How long a call waits for approval before it counts as rejected; None: until the session ends."""

    hooks: RealtimeRunHooks | None = setting(default=None)
    """Hear what happens to all agents of a session."""

    output_guardrails: Sequence[OutputGuardrail[Any]] = setting(default=())
    """Checks of what any agent says; they come after the agent's own."""

    input_guardrails: Sequence[InputGuardrail[Any]] = setting(default=())
    """Checks of what the user says to any agent; they come after the agent's own."""

    guardrails_settings: GuardrailsSettings = setting(default=GuardrailsSettings())

    prices: Mapping[str, ModelPrices] | None = setting(default=None)
    """What models cost, by their names; without it every cost is None."""

    limits: SessionLimits = setting(default=SessionLimits())
    """What ends a session, however well it goes."""

    barge_in: BargeInPolicy = setting(default="immediate")
    """``"immediate"``: the user's speech interrupts the agent as soon as the server hears it. ``"off"``: only the app
    does. A `BargeIn`, or a mapping of its fields: when the speech has shown that it is an interruption."""

    raw_events: bool = setting(default=True)
    """Whether ``raw_model_event`` is emitted; off saves its cost when nobody looks at it."""

    subscription_buffer_s: float = setting(default=600.0, at_least=0)
    """Audio that a subscription holds for its consumer. Models speak faster than real time: 600 s are three of the
    longest answers that a response can have, and 28.8 MB of PCM16."""

    subscription_buffer_events: int = setting(default=10_000, at_least=1)
    """Events other than audio that a subscription holds."""

    subscription_overflow: Overflow = setting(default="fail")
    """What happens past these bounds: `SlowConsumer` at the consumer, or the oldest audio is dropped."""

    unread_buffer_s: float = setting(default=60.0, at_least=0)
    """Audio that the session's own subscription keeps while nobody iterates the session: enough to begin late and lose
    nothing, and 2.9 MB for a program that never does."""

    input_buffer_s: float = setting(default=2.0, at_least=0)
    """Microphone audio that may wait to be sent before `send_audio` waits."""

    send_queue_events: int = setting(default=256, at_least=1)
    """Other events that may wait to be sent before calls wait."""

    ready_timeout_s: float = setting(default=10.0, at_least=0)
    """How long the server may take, once connected, to create the session and to answer our settings."""

    close_timeout_s: float = setting(default=3.0, at_least=0)
    """How long leaving the session may take before the connection is dropped."""

    cancel_grace_s: float = setting(default=5.0, at_least=0)
    """How long an interrupted response may take to end before the next one is asked for all the same."""

    response_timeout_s: float = setting(default=30.0, at_least=0)
    """How long the server may take to begin a response."""


@attrs.frozen(kw_only=True)
class RealtimeModelConfig:
    """How one session connects. `headers`, when given, are the only ones sent: no Authorization of ours."""

    api_key: ApiKey | NotSet = setting()
    url: str | NotSet = setting(at_least=1)
    headers: Mapping[str, str] | NotSet = setting()
    call_id: str | NotSet = setting(at_least=1)
    initial_model_settings: SessionSettings | NotSet = setting()
    """Settings for this session; they go over everything else."""

    playback_tracker: RealtimePlaybackTracker | NotSet = setting()
    """What the app's player has played; without it playback is assumed to be in real time."""


def run_config(value: RealtimeRunConfig | Mapping[str, Any] | None) -> RealtimeRunConfig:
    """Return `value`, checked. Raises `SettingsError` with every problem in it."""
    if isinstance(value, Mapping):
        value = _with_new_keys(value, stacklevel=3)
    config = structure(RealtimeRunConfig, {} if value is None else value, what="config")
    if config.limits.max_cost is not None and not config.prices:
        problem = SettingsProblem("limits.max_cost", config.limits.max_cost, "nothing without `prices`")
        raise SettingsError([problem], what="config")
    return config


def check_priced(config: RealtimeRunConfig, model: str | None) -> None:
    """Raise `SettingsError` when the cost is limited and `model`, which the server uses, has no price."""
    prices = config.prices or {}
    if config.limits.max_cost is not None and find_prices(prices, model) is None:
        allowed = "nothing where `max_cost` is set and the server does not name its model"
        if model is not None:
            allowed = f"a table with the prices of {model!r}, because `max_cost` is set"
        raise SettingsError([SettingsProblem("prices", list(prices), allowed)], what="config")


@attrs.frozen(kw_only=True)
class _BargeInAlone:
    barge_in: BargeInPolicy = setting()


def barge_in_policy(value: BargeInPolicy | Mapping[str, Any]) -> BargeInPolicy:
    """`value` checked. Raises `SettingsError` with every problem in it."""
    return structure(_BargeInAlone, {"barge_in": value}, what="attach").barge_in


def model_config(value: RealtimeModelConfig | Mapping[str, Any] | None) -> RealtimeModelConfig:
    """`value` checked. Raises `SettingsError` with every problem in it."""
    return structure(RealtimeModelConfig, {} if value is None else value, what="model_config")
