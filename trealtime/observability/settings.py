"""Where telemetry goes: the setting of a run, and the defaults for runners made later."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import attrs

from trealtime._value import Shown, Value
from trealtime.errors import MissingDependency
from trealtime.protocol.validation import WrongValue, setting

__all__ = ["TelemetrySettings", "default_telemetry", "instrument", "require_opentelemetry"]


def _provider(method: str) -> Callable[[object], object]:
    def read(value: object) -> object:
        if value is not None and not callable(getattr(value, method, None)):
            raise WrongValue(f"a provider of OpenTelemetry, with {method}(), or None")
        return value

    return read


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TelemetrySettings(Value):
    """Spans and metrics of the sessions of a runner. They need ``trealtime[otel]``."""

    enabled: bool = setting(default=True)
    """False: no telemetry, also after `trealtime.instrument`."""

    tracer_provider: object | None = setting(default=None, read=_provider("get_tracer"))
    """An ``opentelemetry.trace.TracerProvider``; None: the global one."""

    meter_provider: object | None = setting(default=None, read=_provider("get_meter"))
    """An ``opentelemetry.metrics.MeterProvider``; None: the global one."""

    capture_content: bool = setting(default=False)
    """Whether spans have what people say, the instructions, and the arguments and outputs of tools."""

    propagate: bool = setting(default=True)
    """Whether the handshake with the service carries the trace context (W3C's ``traceparent``). Where the model config
    has ``headers``, they are all that is sent."""


@attrs.define(eq=False, repr=False)
class _Default(Shown):
    telemetry: TelemetrySettings | None = None


_default = _Default()


def instrument(
    *,
    tracer_provider: object | None = None,
    meter_provider: object | None = None,
    capture_content: bool = False,
    propagate: bool = True,
    enabled: bool = True,
) -> None:
    """Have sessions of runners made from now on write spans and metrics, unless their run config says otherwise.

    The arguments are the fields of `trealtime.settings.TelemetrySettings`. Call it once, when the program has set up
    OpenTelemetry; again to change it, and with `enabled` False to end it. Runners that exist keep what they have.

    Raises `MissingDependency` without ``trealtime[otel]``, and `SettingsError` for a wrong value.
    """
    from trealtime.protocol.validation import structure

    settings = structure(
        TelemetrySettings,
        {
            "enabled": enabled,
            "tracer_provider": tracer_provider,
            "meter_provider": meter_provider,
            "capture_content": capture_content,
            "propagate": propagate,
        },
        what="instrument",
    )
    require_opentelemetry(settings)
    _default.telemetry = settings if enabled else None


def default_telemetry() -> TelemetrySettings | None:
    """Return what `instrument` has set."""
    return _default.telemetry


def require_opentelemetry(settings: TelemetrySettings | None) -> None:
    """Raise `MissingDependency` if telemetry is wanted and OpenTelemetry is not there."""
    if settings is not None and settings.enabled and importlib.util.find_spec("opentelemetry") is None:
        raise MissingDependency("telemetry", extra="otel")
