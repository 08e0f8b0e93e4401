"""Every exception that trealtime raises, in one tree.

`TrealtimeError` is the root: ``except TrealtimeError`` catches everything that the library raises on purpose. Misuse of
an API (entering a session twice, an argument of a wrong type) is a plain `RuntimeError`, `TypeError` or `ValueError` as
well, for code that knows nothing of trealtime.

The name of the root is not ``RealtimeError`` because that is the name of a session *event* (``event.type == "error"``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import attrs

from trealtime import _lazy
from trealtime._secrets import hidden, shown, without_keys
from trealtime._value import Value
from trealtime.terminal import printable, shortened

if TYPE_CHECKING:
    from trealtime.agents.guardrails import InputGuardrailTripwireTriggered as InputGuardrailTripwireTriggered
    from trealtime.tools.guardrails import ToolInputGuardrailTripwireTriggered as ToolInputGuardrailTripwireTriggered
    from trealtime.tools.guardrails import ToolOutputGuardrailTripwireTriggered as ToolOutputGuardrailTripwireTriggered

__all__ = [
    "AudioDeviceError",
    "AudioFormatError",
    "BrowserStreamError",
    "CallGone",
    "ConnectFailed",
    "ConnectionLost",
    "EndpointFailed",
    "GuardrailFailed",
    "MCPServerFailed",
    "MCPToolError",
    "MissingApiKey",
    "MissingDependency",
    "ProtocolError",
    "RateLimited",
    "RecordingError",
    "RequestFailed",
    "ScenarioError",
    "RequestTimedOut",
    "ServerRefused",
    "SessionClosed",
    "SessionNotOpen",
    "SettingsError",
    "SettingsProblem",
    "SettingsRefused",
    "SlowConsumer",
    "StuckDeadline",
    "ToolArgumentsError",
    "ToolFailed",
    "ToolRoundsExceeded",
    "ToolTimedOut",
    "TrealtimeError",
    "TwilioStreamError",
    "WebhookRefused",
]

if not TYPE_CHECKING:
    _shown, __getattr__, __dir__ = _lazy.namespace(__name__)
    __all__ += _shown


class TrealtimeError(Exception):
    r"""Root of every exception raised by trealtime. They can be copied and pickled.

    Their texts quote servers, models and files, and are printed in tracebacks: characters that command a terminal stand
    there as escapes, such as ``\x1b``.
    """

    def __str__(self) -> str:
        return printable(super().__str__(), newlines=True)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...], dict[str, object]]:
        # BaseException's own calls the class with `args`, which many constructors here do not take.
        return _rebuilt, (type(self), self.args), self.__dict__


def _rebuilt(cls: type[TrealtimeError], args: tuple[object, ...]) -> TrealtimeError:
    error = cls.__new__(cls)
    error.args = args
    return error


# ---- before a connection exists -------------------------------------------------------------------------------------


@attrs.frozen(repr=False, eq=False)
class SettingsProblem(Value):
    """One thing wrong with a settings mapping.

    `path` is dotted and begins at the root of the mapping (``audio.input.turn_detection.threshold``). `value` is the
    value there, `allowed` describes the allowed values in words, and `suggestion` is the nearest known key or value.
    With `unknown_key` the path ends in a key that there is not.
    """

    path: str
    value: object
    allowed: str
    suggestion: str | None = None
    unknown_key: bool = False

    def __str__(self) -> str:
        path = without_keys(self.path)
        hint = f"; did you mean {self.suggestion!r}?" if self.suggestion is not None else ""
        if self.unknown_key:
            where, _, key = path.rpartition(".")
            place = f"{where}: " if where else ""
            return f"{place}unknown key {key!r}{hint or f'; {self.allowed}'}"
        place = f"{path}: " if path else ""
        return f"{place}got {shortened(shown(self.value, self.path), 80)}, allowed: {self.allowed}{hint}"

    def __repr__(self) -> str:
        # A key that there is not may be the misspelt name of a secret.
        value = hidden(self.value) if self.unknown_key else shown(self.value, self.path)
        return (
            f"SettingsProblem({without_keys(self.path)!r}, {value}, {self.allowed!r}, suggestion={self.suggestion!r})"
        )


class SettingsError(TrealtimeError, ValueError):
    """A settings mapping was wrong; `problems` holds every problem found in it, not only the first."""

    problems: tuple[SettingsProblem, ...]

    def __init__(self, problems: Sequence[SettingsProblem], *, what: str = "settings") -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{what}: {count} problem{'s' if count != 1 else ''}"
        super().__init__("\n  - ".join([head, *map(str, self.problems)]))


class AudioFormatError(TrealtimeError, ValueError):
    """Audio of a wrong shape: an odd number of bytes of PCM16, a wrong dtype, an unknown name of a format."""


class RecordingError(TrealtimeError, ValueError):
    """A file that is no recording of a session; the message names the file and the line."""


class ScenarioError(TrealtimeError, ValueError):
    """A file of scenarios with mistakes; `problems` lists all of them, each a line ``file:line: problem``."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        super().__init__("\n".join(self.problems))


class MissingDependency(TrealtimeError, ImportError):
    """A feature whose extra is not installed; the message has the command for it, from an index and in a clone.
    `system` names what the machine lacks in its place, which pip cannot install."""

    def __init__(self, feature: str, *, extra: str, system: str | None = None) -> None:
        self.extra = extra
        self.system = system
        commands = f'pip install "trealtime[{extra}]", or in a clone pip install -e ".[{extra}]"'
        missing = f'the extra "{extra}" is not installed: {commands}' if system is None else f"{system} is missing"
        super().__init__(f"{feature}: {missing}")


class AudioDeviceError(TrealtimeError):
    """A microphone or speaker that cannot be opened, or that went away while it was in use."""


class ConnectFailed(TrealtimeError):
    """No connection: name resolution, TCP, TLS, a proxy, or a WebSocket handshake that was refused or took too long.

    `status`, `headers` and `body` are those of the HTTP answer where there was one.
    """

    def __init__(
        self,
        message: str,
        *,
        url: str | None = None,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: str = "",
    ) -> None:
        self.url = url
        self.status = status
        self.headers: dict[str, str] = dict(headers or {})
        self.body = body
        super().__init__(message)


class MissingApiKey(ConnectFailed):
    """No key to connect with; no socket was opened."""


# ---- the REST side: calls, client secrets, webhooks -----------------------------------------------------------------


class RequestFailed(TrealtimeError):
    """A failed request to the service's REST API.

    `status` is that of the HTTP answer, None when none came. `code`, `type` and `param` are those of its error object,
    `body` is the beginning of the answer, and `request_id` identifies it for the service's support. `request` names the
    request. `not_acted_on` is True where the service has certainly not carried it out. `retry_after_s` is the time that
    the service asks to wait.
    """

    def __init__(
        self,
        message: str,
        *,
        request: str,
        status: int | None = None,
        code: str | None = None,
        type: str | None = None,  # named after the wire field
        param: str | None = None,
        request_id: str | None = None,
        body: str = "",
        not_acted_on: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        self.request = request
        self.status = status
        self.code = code
        self.type = type
        self.param = param
        self.request_id = request_id
        self.body = body
        self.not_acted_on = not_acted_on
        self.retry_after_s = retry_after_s
        super().__init__(message)


class CallGone(RequestFailed):
    """No such call (404): the caller hung up, or the call is over."""


class RateLimited(RequestFailed):
    """Too many requests, or no quota left (429)."""


WebhookProblem = Literal["missing_header", "bad_timestamp", "too_old", "too_new", "bad_signature", "bad_body"]


class WebhookRefused(TrealtimeError, ValueError):
    """A request to a webhook URL that the service did not send so; `reason` is one word."""

    def __init__(self, message: str, *, reason: WebhookProblem) -> None:
        self.reason: WebhookProblem = reason
        super().__init__(message)


# ---- while a session lives ------------------------------------------------------------------------------------------


class ConnectionLost(TrealtimeError):
    """The connection ended and neither side meant it to.

    `code` and `reason` are those of the WebSocket close frame (1006 and an empty reason when none came, RFC 6455
    section 7.1.5). `closed_by` is the side that ended it. `response_cut` is True where an answer was running.
    """

    def __init__(
        self,
        message: str = "",
        *,
        code: int = 1006,
        reason: str = "",
        closed_by: Literal["server", "client", "network"] = "network",
        response_cut: bool = False,
    ) -> None:
        self.code = code
        self.reason = reason
        self.closed_by: Literal["server", "client", "network"] = closed_by
        self.response_cut = response_cut
        super().__init__(message or f"connection lost: code {code}{f', {reason}' if reason else ''}")


class EndpointFailed(TrealtimeError):
    """An attached endpoint raised ``__cause__``. This comes out of the ``async with session.attach(...)`` block, and
    the session goes on."""


class HookFailed(TrealtimeError):
    """A hook raised ``__cause__``. Only in ``error`` events: the exception itself ends the session."""


class PlaybackTrackerFailed(TrealtimeError):
    """A playback tracker raised ``__cause__``, or gave no position. Only in ``error`` events: the session goes on with
    the position that the tracker gave last."""


class ProtocolError(TrealtimeError):
    """The other side broke the wire format for good. One bad event never raises it."""


class TwilioStreamError(ProtocolError):
    """The WebSocket of a phone call does not carry Twilio Media Streams in mu-law, or no start came."""


class BrowserStreamError(ProtocolError):
    """The WebSocket of a page does not carry this library's browser protocol, or no hello came."""


class ServerRefused(TrealtimeError):
    """The server answered a request with an ``error`` event, or a request for a response with no whole response.

    `code`, `type`, `param` and `event_id` are the fields of that event; where there is none, `code` is
    ``"no_answer"``. `request` names the request.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        type: str | None = None,  # named after the wire field
        param: str | None = None,
        event_id: str | None = None,
        request: str = "",
    ) -> None:
        self.code = code
        self.type = type
        self.param = param
        self.event_id = event_id
        self.request = request
        where = f" (param {param})" if param else ""
        super().__init__(f"{request or 'request'} refused: {code or type or 'error'}: {message}{where}")


class SettingsRefused(ServerRefused):
    """The server refused a ``session.update``; `param` names the setting where the server did."""


class RequestTimedOut(TrealtimeError):
    """The server has not answered a request within ``request_timeout_s`` of the run config; the request may still take
    effect. `request` is the type of the client event, `timeout_s` the time."""

    def __init__(self, *, request: str, timeout_s: float) -> None:
        self.request = request
        self.timeout_s = timeout_s
        super().__init__(f"{request}: the server has not answered within {timeout_s:g} s")


class StuckDeadline(TrealtimeError):
    """A wait inside the session did not end at its deadline: a fault of trealtime, please report it. Only in ``error``
    events: the session goes on, and looks at that deadline again after 1 second, then after 2, 4, up to 64.

    `deadline` names the wait; its deadline had passed by `overdue_s`.
    """

    def __init__(self, deadline: str, *, overdue_s: float) -> None:
        self.deadline = deadline
        self.overdue_s = overdue_s
        super().__init__(
            f"the deadline of {deadline!r} passed {overdue_s:.3f} s ago and nothing has ended it: a fault of trealtime"
        )


class SlowConsumer(TrealtimeError):
    """A subscription with the overflow policy ``"fail"`` ran past its bound; `statistics` are those of that moment.
    Or hooks fell too far behind what happens in the session; then `statistics` is None."""

    def __init__(self, message: str, *, statistics: object = None) -> None:
        self.statistics = statistics
        super().__init__(message)


class GuardrailFailed(TrealtimeError):
    """A guardrail raised, gave no verdict, or took longer than its time. ``__cause__`` has the reason.

    A guardrail of spoken or written words was skipped, or counts as tripped (``on_failure`` of the guardrails'
    settings). A tool guardrail that fails lets nothing pass.
    """

    def __init__(self, message: str, *, guardrail_name: str) -> None:
        self.guardrail_name = guardrail_name
        super().__init__(message)


class ToolArgumentsError(TrealtimeError, ValueError):
    """The model called a tool with arguments that are no JSON or do not fit the tool's schema.

    The message names the place and the problem; `arguments` is the text as the model wrote it.
    """

    def __init__(self, message: str, *, tool_name: str, arguments: str) -> None:
        self.tool_name = tool_name
        self.arguments = arguments
        super().__init__(message)


class ToolTimedOut(TrealtimeError, TimeoutError):
    """A tool took longer than its `timeout`, in seconds."""

    def __init__(self, *, tool_name: str, timeout: float) -> None:
        self.tool_name = tool_name
        self.timeout = timeout
        super().__init__(f"Tool {tool_name!r} timed out after {timeout:g} seconds.")


class ToolRoundsExceeded(TrealtimeError):
    """The model called functions in more than `max_tool_rounds` responses of one turn; raised by
    `RealtimeSession.ask`. The calls past that were not made, and their outputs said so."""

    def __init__(self, max_tool_rounds: int) -> None:
        self.max_tool_rounds = max_tool_rounds
        super().__init__(f"the model called functions in more than {max_tool_rounds} responses of one turn")


class ToolFailed(TrealtimeError):
    """A call failed: the tool raised ``__cause__``, took too long, does not exist or is disabled, or the model used the
    id of another call.

    It is never raised: the model reads an output that says so, and the app gets it in an ``error`` event.
    """

    def __init__(self, message: str, *, tool_name: str, call_id: str) -> None:
        self.tool_name = tool_name
        self.call_id = call_id
        super().__init__(message)


class MCPServerFailed(TrealtimeError):
    """The MCP server `server_name` did not start, or it ended. For a server that the service connects to (`server_name`
    is its label, where that is known): the service could not list its tools."""

    def __init__(self, message: str, *, server_name: str) -> None:
        self.server_name = server_name
        super().__init__(message)


class MCPToolError(TrealtimeError):
    """An MCP server answered a call of `tool_name` with an error, whose message this is."""

    def __init__(self, message: str, *, server_name: str, tool_name: str) -> None:
        self.server_name = server_name
        self.tool_name = tool_name
        super().__init__(message)


class SessionNotOpen(TrealtimeError, RuntimeError):
    """A session that was used before ``async with session`` entered it."""


class SessionClosed(TrealtimeError, RuntimeError):
    """A session that was used after it ended."""
