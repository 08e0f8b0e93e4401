"""What ``trealtime doctor`` looks at, one finding after another."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote

import attrs
import trio

from trealtime._version import __version__
from trealtime.errors import (
    AudioDeviceError,
    ConnectFailed,
    MissingApiKey,
    MissingDependency,
    SettingsError,
    TrealtimeError,
)
from trealtime.transport.models import DEFAULT_MODEL_NAME, ConnectionTarget, OpenAIRealtimeWebSocketModel
from trealtime.transport.request import Address, is_loopback
from trealtime.transport.socket_stream import SocketStream, open_stream
from trealtime.transport.tls_stream import TLSStream

if TYPE_CHECKING:
    from trealtime._session.session import RealtimeSession

__all__ = ["Finding", "examine"]

EXTRAS: Final = {
    "console": ("sounddevice", "microphone and loudspeaker"),
    "web": ("hypercorn", "phone calls and pages in a web server"),
    "http": ("httpx", "SIP calls, client secrets, a chat server as the emulator's brain"),
    "mcp": ("mcp", "MCP servers"),
    "otel": ("opentelemetry", "tracing and metrics"),
    "eval": ("yaml", "scenarios"),
    "local": ("hibari", "an emulator that hears and speaks English"),
}
"""A module that each extra brings, and its use."""

_STEP_TIMEOUT_S: Final = 10.0
_TURN_TIMEOUT_S: Final = 60.0
_QUESTION: Final = "What is two plus three?"

Status = Literal["ok", "note", "failed", "skipped"]


@attrs.frozen(kw_only=True)
class Finding:
    """The result of one check. ``"note"``: nothing is wrong, and something is worth knowing."""

    name: str
    status: Status
    detail: str
    took_ms: float | None = None
    advice: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return attrs.asdict(self)


async def examine(url: str | None, *, model: str | None, turns: bool, tell: Callable[[Finding], None]) -> list[Finding]:
    """Make all checks, pass each finding to `tell` as it comes, and return them."""
    findings: list[Finding] = []

    def add(finding: Finding) -> None:
        findings.append(finding)
        tell(finding)

    for finding in (_python(), *_packages(), *_extras(), _sound()):
        add(finding)
    await _network(url, model, turns=turns, add=add)
    return findings


# ---- this machine ----------------------------------------------------------------------------------------------------


def _python() -> Finding:
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}, trealtime {__version__}"
    return Finding(name="Python", status="ok", detail=detail)


def _packages() -> Iterator[Finding]:
    """One finding for all packages that are there and new enough, and one for each that is not."""
    found = []
    try:
        requirements = importlib.metadata.requires("trealtime") or ()
    except importlib.metadata.PackageNotFoundError:
        advice = "pip install -e . in the clone, if something is missing"
        detail = "trealtime itself is not installed, so what it needs is not known"
        yield Finding(name="packages", status="note", detail=detail, advice=advice)
        return
    for requirement in requirements:
        if ";" in requirement:  # an extra's
            continue
        name = re.split(r"[<>=!~ \[]", requirement, maxsplit=1)[0]
        floor = re.search(r">=\s*([0-9.]+)", requirement)
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name=name, status="failed", detail="not installed", advice="pip install trealtime")
            continue
        if floor is not None and _numbers(version) < _numbers(floor[1]):
            advice = f"pip install '{name}>={floor[1]}'"
            yield Finding(name=name, status="failed", detail=f"{version} is too old", advice=advice)
        else:
            found.append(f"{name} {version}")
    yield Finding(name="packages", status="ok", detail=", ".join(found))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _extras() -> Iterator[Finding]:
    for extra, (module, use) in EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        yield Finding(
            name=f"extra {extra}",
            status="ok" if there else "note",
            detail="installed" if there else f"not installed: {use}",
            advice=None if there else f"pip install 'trealtime[{extra}]', if you want it",
        )


def _sound() -> Finding:
    from trealtime.endpoints.audio_device import list_devices

    try:
        devices = list_devices()
    except (MissingDependency, AudioDeviceError) as error:
        return Finding(name="sound", status="note", detail=str(error))
    except Exception as error:  # noqa: BLE001  (the sound system of a machine fails in many ways)
        advice = "is a sound server running, and may this user use it?"
        return Finding(name="sound", status="note", detail=f"{type(error).__name__}: {error}", advice=advice)
    microphones = [each.name for each in devices if each.inputs]
    speakers = [each.name for each in devices if each.outputs]
    detail = f"microphones: {', '.join(microphones) or 'none'}; loudspeakers: {', '.join(speakers) or 'none'}"
    if microphones and speakers:
        return Finding(name="sound", status="ok", detail=detail)
    advice = "plug in a headset, or talk with --text, --wav or from a browser"
    return Finding(name="sound", status="note", detail=detail, advice=advice)


# ---- the way to the service ------------------------------------------------------------------------------------------


@attrs.define
class _Way:
    """What the steps to the service find."""

    url: str
    target: ConnectionTarget
    address: Address
    hosts: list[Any] = attrs.Factory(list)
    stream: trio.abc.Stream | None = None


async def _network(url: str | None, model: str | None, *, turns: bool, add: Callable[[Finding], None]) -> None:
    way = await _where(url, model, add)
    if way is None:
        return
    steps: list[tuple[str, Callable[[_Way], Awaitable[str]], str]] = [
        ("DNS", _resolve, "check the host in the URL, the network, and the VPN"),
        ("TCP", _connect, _nothing_listens(way)),
        ("TLS", _secure, "a proxy that reads TLS? Trust its certificate with SSL_CERT_FILE"),
        ("handshake", _session_created, "see the reference of errors for this status"),
    ]
    try:
        for name, step, advice in steps:
            if name == "TLS" and not way.address.tls:
                add(Finding(name=name, status="skipped", detail="not with ws://"))
            elif not await _step(name, step, advice, way, add):
                return
    finally:
        if way.stream is not None:
            await trio.aclose_forcefully(way.stream)
    if not turns:
        detail = "not asked for: --turns makes one in text and one spoken"
        add(Finding(name="turns", status="skipped", detail=detail))
        return
    advice = "does the model exist, and does it speak? `trealtime talk --text` shows more"
    for name, turn in (("turn in text", _text_turn), ("spoken turn", _spoken_turn)):
        if not await _step(name, turn, advice, way, add, _TURN_TIMEOUT_S):
            return


async def _where(url: str | None, model: str | None, add: Callable[[Finding], None]) -> _Way | None:
    """Find out where to connect to, and with which key."""
    key = os.environ.get("OPENAI_API_KEY")
    local = url is not None and is_loopback(url)
    if url is not None and model is not None:
        url = f"{url}{'&' if '?' in url else '?'}model={quote(model, safe='')}"
    headers: dict[str, str] | None = {} if local and not key else None  # an emulator wants no key
    target = ConnectionTarget(url=url, headers=headers, model_name=None if url else model or DEFAULT_MODEL_NAME)
    try:
        handshake = await OpenAIRealtimeWebSocketModel().handshake(target)
        address = Address.of(handshake.url)
    except MissingApiKey:
        advice = "set OPENAI_API_KEY; or run `trealtime emulate`, and give its URL to doctor"
        add(
            Finding(
                name="key", status="note", detail="OPENAI_API_KEY is not set: the service is not asked", advice=advice
            )
        )
        return None
    except (SettingsError, ConnectFailed) as error:
        add(Finding(name="URL", status="failed", detail=str(error)))
        return None
    detail = "OPENAI_API_KEY is set" if key else "none is needed"
    add(Finding(name="key", status="ok", detail=detail))
    proxies = [name for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy") if os.environ.get(name)]
    if proxies and not local:
        advice = 'OpenAIRealtimeWebSocketModel(transport_config={"proxy": ...}), if you have to go through it'
        detail = f"{', '.join(proxies)} is set, and not read"
        add(Finding(name="proxy", status="note", detail=detail, advice=advice))
    return _Way(handshake.url, target, address)


async def _step(
    name: str,
    step: Callable[[_Way], Awaitable[str]],
    advice: str,
    way: _Way,
    add: Callable[[Finding], None],
    timeout_s: float = _STEP_TIMEOUT_S,
) -> bool:
    """Make one step and add what it finds. False: it failed."""
    began = trio.current_time()
    detail, failed, hint = "", True, advice
    try:
        with trio.move_on_after(timeout_s) as waiting:
            detail = await step(way)
            failed = False
        if waiting.cancelled_caught:
            detail = f"nothing within {timeout_s:g} s"
    except (OSError, TrealtimeError, trio.BrokenResourceError) as error:
        cause = error.__cause__ if isinstance(error, trio.BrokenResourceError) and error.__cause__ else error
        detail = str(cause) or type(cause).__name__
        if isinstance(error, ConnectFailed):
            hint = ""  # it says what to try
    took_ms = (trio.current_time() - began) * 1000
    if failed:
        add(Finding(name=name, status="failed", detail=detail, took_ms=took_ms, advice=hint or None))
    else:
        add(Finding(name=name, status="ok", detail=detail, took_ms=took_ms))
    return not failed


def _nothing_listens(way: _Way) -> str:
    if is_loopback(way.url):
        return f"nothing listens there? Start it: trealtime emulate --port {way.address.port}"
    return f"a firewall? It has to let connections to {way.address.host} port {way.address.port} out"


async def _resolve(way: _Way) -> str:
    way.hosts = await trio.socket.getaddrinfo(way.address.host, way.address.port, type=trio.socket.SOCK_STREAM)
    found = list(dict.fromkeys(str(each[4][0]) for each in way.hosts))
    more = f" and {len(found) - 2} more" if len(found) > 2 else ""
    return f"{way.address.host} is {', '.join(found[:2])}{more}"


async def _connect(way: _Way) -> str:
    way.stream = await open_stream(way.address.host, way.address.port)
    return f"port {way.address.port} answers"


async def _secure(way: _Way) -> str:
    assert isinstance(way.stream, SocketStream)
    context = await trio.to_thread.run_sync(ssl.create_default_context)
    stream = TLSStream(way.stream, context, server_hostname=way.address.host)
    way.stream = stream
    await stream.do_handshake()
    return f"{stream.version}, the certificate fits"


async def _session_created(way: _Way) -> str:
    from trealtime.protocol.codec import decode_server_event

    async with OpenAIRealtimeWebSocketModel().connect(way.target) as wire:
        event, data = decode_server_event(await wire.receive())
        await wire.aclose()
    if event.type != "session.created":
        return f"the first event is {event.type}, not session.created"
    session = data.get("session")
    model = session.get("model") if isinstance(session, dict) else None
    return f"session.created, model {model or 'unknown'}"


# ---- turns -----------------------------------------------------------------------------------------------------------


async def _text_turn(way: _Way) -> str:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(_session(way, modality="text"))
        turn = await session.ask("Say hello in one short sentence.")
        return _outcome(turn.text, turn.status, session)


async def _spoken_turn(way: _Way) -> str:
    """Say a question as push to talk does, which needs no voice detection, and wait for the sound of the answer."""
    from trealtime.emulator.local import speech_engines

    question = await (await speech_engines("auto")).say(_QUESTION)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(_session(way, modality="audio"))
        with session.user_speaking():
            await session.send_audio(question, commit=True)
        async with session.respond() as response:
            began = trio.current_time()
            first_s = None
            async for _ in response.audio:
                first_s = trio.current_time() - began if first_s is None else first_s
            text = await response.transcript()
            status = (await response.result()).status
        if first_s is None:
            raise TrealtimeError(f"the answer has no sound: {status}")
        return f"{_outcome(text, status, session)}, first audio after {first_s * 1000:.0f} ms"


def _session(way: _Way, *, modality: str) -> Any:
    from trealtime._session.runner import RealtimeRunner
    from trealtime.agents.agent import RealtimeAgent

    settings: Any = {"output_modalities": [modality], "audio": {"input": {"turn_detection": None}}}
    agent = RealtimeAgent(name="Doctor", instructions="You are brief.", model_settings=settings)
    runner = RealtimeRunner(agent)
    given: dict[str, Any] = {"url": way.target.url, "headers": way.target.headers}
    if way.target.model_name is not None:
        given["initial_model_settings"] = {"model_name": way.target.model_name}
    return runner.session(model_config={key: value for key, value in given.items() if value is not None})  # type: ignore[arg-type]


def _outcome(text: str, status: str, session: RealtimeSession[Any]) -> str:
    if status != "completed":
        raise TrealtimeError(f"the answer is {status}")
    return f'"{text}", {session.usage.total_tokens} tokens'
