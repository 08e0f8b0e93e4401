"""Every exception that trealtime raises, in one tree.

`TrealtimeError` is the root: ``except TrealtimeError`` catches whatever the library raises on purpose. Misuse of an API
(entering a session twice, a wrong argument type) stays a plain `RuntimeError`, `TypeError` or `ValueError` in addition,
so that code which knows nothing of trealtime reads it correctly.

The name of the root is not ``RealtimeError`` because that is the name of a session *event* (``event.type == "error"``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import attrs

from trealtime import _lazy
from trealtime._secrets import shown

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
    "ServerRefused",
    "SessionClosed",
    "SessionNotOpen",
    "SettingsError",
    "SettingsProblem",
    "SettingsRefused",
    "SlowConsumer",
    "ToolArgumentsError",
    "ToolFailed",
    "ToolTimedOut",
    "TrealtimeError",
    "TwilioStreamError",
    "WebhookRefused",
]

if not TYPE_CHECKING:
    _shown, __getattr__, __dir__ = _lazy.namespace(__name__)
    __all__ += _shown


class TrealtimeError(Exception):
    """Root of every exception raised by trealtime."""


# ---- before a connection exists -------------------------------------------------------------------------------------


@attrs.frozen(repr=False)
class SettingsProblem:
    """One thing wrong with a settings mapping.

    `path` is dotted, from the root of what the user passed (``audio.input.turn_detection.threshold``); `value` is what
    was found there; `allowed` says in words what may stand there; `suggestion` is the nearest known key or value.
    """

    path: str
    value: object
    allowed: str
    suggestion: str | None = None

    def __str__(self) -> str:
        hint = f"; did you mean {self.suggestion!r}?" if self.suggestion is not None else ""
        return f"{self.path}: got {_short(shown(self.value, self.path))}, allowed: {self.allowed}{hint}"

    def __repr__(self) -> str:
        value = shown(self.value, self.path)
        return f"SettingsProblem({self.path!r}, {value}, {self.allowed!r}, suggestion={self.suggestion!r})"


class SettingsError(TrealtimeError, ValueError):
    """A settings mapping was wrong; `problems` holds every problem found in it, not only the first."""

    problems: tuple[SettingsProblem, ...]

    def __init__(self, problems: Sequence[SettingsProblem], *, what: str = "settings") -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{what}: {count} problem{'s' if count != 1 else ''}"
        super().__init__("\n  - ".join([head, *map(str, self.problems)]))


class AudioFormatError(TrealtimeError, ValueError):
    """Audio was not in the shape asked for: odd-length PCM16, a wrong dtype, an unknown format name."""


class RecordingError(TrealtimeError, ValueError):
    """A file is not a recording of a session; the message names the file and the line."""


class ScenarioError(TrealtimeError, ValueError):
    """A file of scenarios is wrong; `problems` are all that were found, each a line ``file:line: what``."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        super().__init__("\n".join(self.problems))


class MissingDependency(TrealtimeError, ImportError):
    """A feature of an extra was used without that extra; the message names ``pip install "trealtime[EXTRA]"``, and
    `system`, what the machine itself lacks, where pip cannot install it."""

    def __init__(self, feature: str, *, extra: str, system: str | None = None) -> None:
        self.extra = extra
        self.system = system
        needed = f", and {system}" if system is not None else ""
        super().__init__(f'{feature} needs an optional dependency: pip install "trealtime[{extra}]"{needed}')


class AudioDeviceError(TrealtimeError):
    """A microphone or speaker cannot be opened, or went away while it was in use."""


class ConnectFailed(TrealtimeError):
    """No connection came to be: name resolution, TCP, TLS, proxy, a refused or late WebSocket handshake.

    `status`, `headers` and `body` are those of the HTTP answer when there was one.
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
    """There was no key to connect with; no socket was opened."""


# ---- the REST side: calls, client secrets, webhooks -----------------------------------------------------------------


class RequestFailed(TrealtimeError):
    """A request to the service's REST side came to nothing.

    `status` is that of the HTTP answer, None when none came; `code`, `type` and `param` are those of its error object,
    `request_id` is what the service's support asks for, `body` the beginning of the answer. `request` names what was
    asked for; `not_acted_on` says that the service has certainly not done it, `retry_after_s` how long it asks to wait.
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
    """There is no such call (404): the caller has hung up, or the call is over."""


class RateLimited(RequestFailed):
    """Too many requests, or the quota is used up (429)."""


WebhookProblem = Literal["missing_header", "bad_timestamp", "too_old", "too_new", "bad_signature", "bad_body"]


class WebhookRefused(TrealtimeError, ValueError):
    """A request to a webhook URL is not what the service sends; `reason` says why, in one word."""

    def __init__(self, message: str, *, reason: WebhookProblem) -> None:
        self.reason: WebhookProblem = reason
        super().__init__(message)


# ---- while a session lives ------------------------------------------------------------------------------------------


class ConnectionLost(TrealtimeError):
    """The connection ended in a way that nobody asked for.

    `code` and `reason` are those of the WebSocket close frame (1006 and an empty reason when none came, RFC 6455
    section 7.1.5), `closed_by` says which side ended it, `response_cut` whether an answer was being made at that
    moment.
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
    """An attached endpoint raised; ``__cause__`` is what. It comes out of the ``async with session.attach(...)`` block,
    and the session goes on."""


class ProtocolError(TrealtimeError):
    """The other side broke the wire format in a way that cannot be read past (never raised for one bad event)."""


class TwilioStreamError(ProtocolError):
    """What came on the WebSocket of a phone call is not Twilio Media Streams, or not in mu-law; or no start came."""


class BrowserStreamError(ProtocolError):
    """What came on the WebSocket of a page is not what pages of ours say; or no hello came."""


class ServerRefused(TrealtimeError):
    """The server answered a request of ours with an ``error`` event.

    `code`, `type`, `param` and `event_id` are the fields of that event; `request` names what we had asked for.
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
    """The server refused a ``session.update``; `param` names the setting when the server did."""


class SlowConsumer(TrealtimeError):
    """A subscription with the overflow policy ``"fail"`` ran past its bound; `statistics` shows what it held."""

    def __init__(self, message: str, *, statistics: object = None) -> None:
        self.statistics = statistics
        super().__init__(message)


class GuardrailFailed(TrealtimeError):
    """A guardrail raised, gave no verdict, or took longer than its time. The cause is ``__cause__``.

    A guardrail of what is said was skipped, or counts as tripped (``on_failure`` of the guardrails' settings); what a
    tool guardrail was to check did not pass.
    """

    def __init__(self, message: str, *, guardrail_name: str) -> None:
        self.guardrail_name = guardrail_name
        super().__init__(message)


class ToolArgumentsError(TrealtimeError, ValueError):
    """The model called a tool with arguments that are not JSON or do not fit the tool's schema.

    The message says what is wrong and where; `tool_name` is the tool, `arguments` the text as the model wrote it.
    """

    def __init__(self, message: str, *, tool_name: str, arguments: str) -> None:
        self.tool_name = tool_name
        self.arguments = arguments
        super().__init__(message)


class ToolTimedOut(TrealtimeError, TimeoutError):
    """A tool took longer than its `timeout`, which is in seconds."""

    def __init__(self, *, tool_name: str, timeout: float) -> None:
        self.tool_name = tool_name
        self.timeout = timeout
        super().__init__(f"Tool {tool_name!r} timed out after {timeout:g} seconds.")


class ToolFailed(TrealtimeError):
    """A call of the model could not be carried out: the tool raised (``__cause__`` says what), took too long, does not
    exist or is disabled, or the model used the id of another call.

    Never raised: the model gets an output that says so, and the app an ``error`` event with this in it.
    """

    def __init__(self, message: str, *, tool_name: str, call_id: str) -> None:
        self.tool_name = tool_name
        self.call_id = call_id
        super().__init__(message)


class MCPServerFailed(TrealtimeError):
    """The MCP server `server_name` did not start, or has ended, or is one of the service's (`server_name` is its label,
    where that is known) whose tools it could not list."""

    def __init__(self, message: str, *, server_name: str) -> None:
        self.server_name = server_name
        super().__init__(message)


class MCPToolError(TrealtimeError):
    """An MCP server answered a call of `tool_name` with an error; the message is what it said."""

    def __init__(self, message: str, *, server_name: str, tool_name: str) -> None:
        self.server_name = server_name
        self.tool_name = tool_name
        super().__init__(message)


class SessionNotOpen(TrealtimeError, RuntimeError):
    """A session was used before ``async with session`` entered it."""


class SessionClosed(TrealtimeError, RuntimeError):
    """A session was used after it ended."""


def _short(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
