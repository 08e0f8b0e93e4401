"""Exceptions under the SDK's names.

`AgentsException` is `trealtime.TrealtimeError`, the root of every exception of this library. A `UserError` has the
`trealtime.SettingsError` or `trealtime.MissingApiKey` that it stands for as its ``__cause__``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trealtime.agents.guardrails import InputGuardrailTripwireTriggered
from trealtime.errors import MissingApiKey, SettingsError, ToolTimedOut
from trealtime.errors import TrealtimeError as AgentsException
from trealtime.tools.guardrails import ToolInputGuardrailTripwireTriggered, ToolOutputGuardrailTripwireTriggered

__all__ = [
    "AgentsException",
    "InputGuardrailTripwireTriggered",
    "ModelBehaviorError",
    "ToolInputGuardrailTripwireTriggered",
    "ToolOutputGuardrailTripwireTriggered",
    "ToolTimeoutError",
    "UserError",
    "user_errors",
]


class UserError(AgentsException):
    """The program uses the library in a way that cannot work; `message` says what is wrong."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class ModelBehaviorError(AgentsException):
    """The model has written something that does not fit, such as arguments that a tool does not take."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class ToolTimeoutError(ToolTimedOut):
    """A tool did not return within `timeout_seconds`."""

    def __init__(self, tool_name: str, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        super().__init__(tool_name=tool_name, timeout=timeout_seconds)


@contextmanager
def user_errors() -> Iterator[None]:
    """Raise a `UserError` for settings that cannot be used and for a missing key, as the SDK does."""
    try:
        yield
    except (SettingsError, MissingApiKey) as error:
        raise UserError(str(error)) from error
