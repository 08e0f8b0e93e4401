"""The emulator: sessions on loopback sockets or in memory, in one nursery, with everything that they share."""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import attrs
import trio

from trealtime._async_with import async_with
from trealtime._log import Log
from trealtime.emulator.brain import Brain, StreamingBrain
from trealtime.emulator.core import SessionCore
from trealtime.emulator.dialogue import DialogueBrain
from trealtime.emulator.event_buffer import Ids
from trealtime.emulator.faults import FaultPlan, Faults
from trealtime.emulator.faulty_wire import FaultyStream, FaultyWire, cut_off
from trealtime.emulator.hosted_mcp import McpServers, McpTool, mcp_tools
from trealtime.emulator.http import (
    Callers,
    HandshakeRefused,
    ReplayedStream,
    answer_request,
    busy,
    is_upgrade,
    memory_transport,
    read_head,
    refusal,
)
from trealtime.emulator.local.loading import speech_engines
from trealtime.emulator.options import (
    EmulatorLimits,
    EmulatorOptions,
    EventOrder,
    Expiry,
    SpeechChoice,
    SpeechEngines,
    check_engine,
)
from trealtime.emulator.phone import PhoneCall, Webhook
from trealtime.emulator.phone_line import PhoneLine
from trealtime.emulator.received_audio import ReceivedAudio
from trealtime.emulator.rest import SessionRequest, SipRegistry, read_request
from trealtime.emulator.session import EmulatedSession, Engines, LoggedEvent
from trealtime.emulator.settings import SessionSettings
from trealtime.emulator.transcription import StagedTranscriber, Transcriber
from trealtime.emulator.turn_detection import TurnDetectorFactory
from trealtime.emulator.voice import Voice
from trealtime.errors import ConnectFailed
from trealtime.transport.background import background_nursery
from trealtime.transport.config import TransportConfig
from trealtime.transport.memory import MemoryWire, memory_wire_pair
from trealtime.transport.websocket import accept_websocket_stream
from trealtime.transport.wire import Wire, WireClosed

if TYPE_CHECKING:
    import ssl

    import httpx

    from trealtime.transport.models import ConnectionTarget

__all__ = ["Emulator", "EmulatorStatistics", "MemoryModel", "open_emulator"]

logger = Log("trealtime.emulator")

_PATH = "/v1/realtime"

OnEvent = Callable[[EmulatedSession, LoggedEvent], None]


@attrs.frozen(kw_only=True)
class EmulatorStatistics:
    """Counts since the emulator opened."""

    sessions_open: int = 0
    sessions_opened: int = 0
    handshakes_refused: int = 0
    events_received: int = 0
    events_sent: int = 0
    errors_sent: int = 0
    responses_done: int = 0


@attrs.define
class _Counters:
    sessions_opened: int = 0
    handshakes_refused: int = 0
    events_received: int = 0
    events_sent: int = 0
    errors_sent: int = 0
    responses_done: int = 0

    def note(self, entry: LoggedEvent) -> None:
        if entry.direction == "client":
            self.events_received += 1
            return
        self.events_sent += 1
        kind = entry.event["type"]
        self.errors_sent += kind == "error"
        self.responses_done += kind == "response.done"


class Emulator:
    """A running emulator; get one from `open_emulator`."""

    def __init__(
        self,
        nursery: trio.Nursery,
        options: EmulatorOptions,
        *,
        brain: Brain | StreamingBrain | None,
        speech: SpeechEngines,
        api_key: str | None,
        seed: int,
        unix_time_s: float,
        faults: Faults,
        on_event: OnEvent | None,
        mcp_servers: Mapping[str, Mapping[str, McpTool]],
        callers: Callers = Callers(),  # noqa: B008  # frozen
        make_core: Callable[..., SessionCore] = SessionCore,
    ) -> None:
        self._nursery = nursery
        self._options = options
        self._brain = brain
        self._speech = speech
        self._api_key = api_key
        self._seed = seed
        self._opened_at = trio.current_time()
        self._unix_time_s = unix_time_s
        self._faults = faults
        self._refusals = FaultPlan(faults, random.Random(f"{seed}:refusals"))
        self._on_event = on_event
        self._mcp_servers = mcp_servers
        self._make_core = make_core
        self._url: str | None = None
        self._sessions: list[EmulatedSession] = []
        self._ended: deque[EmulatedSession] = deque(maxlen=options.keep_sessions)
        self._outages = 0
        self.changed = trio.lowlevel.ParkingLot()
        """Tasks that wait for the next event, or the end of a session."""

        self._counters = _Counters()
        self._closing = False
        ids = Ids(random.Random(f"{seed}:calls"))
        self._callers = callers
        self._registry = SipRegistry(
            ids, options, api_key=api_key, unix_now=self._unix_now, accept=self._accept_call, callers=callers
        )

    def __repr__(self) -> str:
        place = "in memory" if self._url is None else f"at {self._url}"
        return f"<Emulator {place}, sessions: {len(self._sessions)}>"

    @property
    def url(self) -> str:
        """Where clients connect: ``ws://127.0.0.1:PORT/v1/realtime``. Raises `RuntimeError` when it does not listen."""
        if self._url is None:
            raise RuntimeError("this emulator has no socket (listen=False): use connect() or memory_model()")
        return self._url

    @property
    def speech(self) -> SpeechEngines:
        """How it hears and speaks; ``emulator.speech.description`` says that in a line."""
        return self._speech

    @property
    def sessions(self) -> tuple[EmulatedSession, ...]:
        """The open sessions, oldest first."""
        return tuple(self._sessions)

    @property
    def ended_sessions(self) -> tuple[EmulatedSession, ...]:
        """The newest ``keep_sessions`` sessions that have ended, oldest first."""
        return tuple(self._ended)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """A network outage for as long as the context is open: ``with emulator.outage(): await trio.sleep(3)``.

        Every connection is torn (the client sees 1006), and dialling fails without an HTTP status.
        """
        for session in self.sessions:
            session.drop()
        self._outages += 1
        try:
            yield
        finally:
            self._outages -= 1

    def statistics(self) -> EmulatorStatistics:
        """Return the counts so far."""
        return EmulatorStatistics(sessions_open=len(self._sessions), **attrs.asdict(self._counters))

    @asynccontextmanager
    async def connect(
        self,
        *,
        model: str | None = None,
        intent: str | None = None,
        call_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[MemoryWire]:
        """A client's wire to a new session, without a socket: works under Trio's mock clock.

        The same rules hold as over HTTP: it raises `ConnectFailed` where a handshake would be refused, and where the
        emulator has an API key, `headers` must give it. Leaving closes the connection with code 1000.
        """
        asked = {"model": model, "intent": intent, "call_id": call_id}
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        lowered = _lowered(headers or {})
        await self._accept_late()
        if self._outages:
            raise ConnectFailed("the emulator cannot be reached: an outage on purpose", url=f"memory:{_PATH}")
        try:
            request, line = self._admit(f"{_PATH}?{query}", headers=lowered, subprotocols=())
        except HandshakeRefused as refused:
            raise ConnectFailed(
                f"the emulator refused the connection: HTTP status {refused.status}",
                url=f"memory:{_PATH}",
                status=refused.status,
                headers=_lowered(self._date | refused.headers),
                body=refused.body,
            ) from None
        client, server = memory_wire_pair()
        client.response_headers = _lowered(self._date)
        if line is not None:
            self._nursery.start_soon(line.attach, server)
        else:
            self._nursery.start_soon(self._run, self._new_session(request, self._carried(server)))
        try:
            yield client
        finally:
            with trio.CancelScope(deadline=-math.inf, shield=True):
                await client.aclose()

    def memory_model(self, *, model: str | None = None) -> MemoryModel:
        """A model for `RealtimeRunner` whose sessions are this emulator's, without a socket."""
        return MemoryModel(self, model)

    @asynccontextmanager
    async def ring(
        self,
        webhook: Webhook,
        *,
        secret: str,
        sip_headers: Mapping[str, str] | None = None,
        ready_after_s: float = 0.0,
    ) -> AsyncIterator[PhoneCall]:
        """Place a phone call: ``async with emulator.ring(url, secret=...) as call``. Leaving hangs up.

        The signed ``realtime.call.incoming`` goes to `webhook`, a URL (needs ``trealtime[http]``) or an async callable
        that takes headers and body and returns the HTTP status, as soon as the caller waits for anything. `secret` is
        the webhook's, `sip_headers` are those of the caller's INVITE. Sideband connections are refused with 404 until
        `ready_after_s` after the call was accepted.
        """
        headers = {"From": "sip:+14155550100@example.com", "To": "sip:agent@example.com"}
        call = self._registry.new_call(
            webhook,
            secret=secret,
            sip_headers=headers if sip_headers is None else sip_headers,
            ready_after_s=ready_after_s,
        )
        self._nursery.start_soon(call.announce)
        try:
            yield call
        finally:
            self._registry.forget(call)

    def http_transport(self) -> httpx.AsyncBaseTransport:
        """For ``httpx.AsyncClient(transport=...)``: REST requests to this emulator without a socket, under the mock
        clock too. Needs ``trealtime[http]``."""
        return memory_transport(self._registry.rest.answer)

    # ---- inside ------------------------------------------------------------------------------------------------

    async def _serve(self, stream: trio.abc.Stream, config: TransportConfig) -> None:
        """Serve one TCP connection. No error of a client leaves this function."""
        source = random.Random(f"{self._seed}:pieces:{self._counters.sessions_opened}")
        stream = faulty = FaultyStream(stream, source, split=self._faults.split)
        try:
            head = await self._websocket_head(stream, config.handshake_timeout)
            if head is None:
                return
            await self._accept_late()
            if self._outages:
                await stream.aclose()
                return
            async with accept_websocket_stream(ReplayedStream(stream, head), config=config) as upgrade:
                try:
                    request, line = self._admit(
                        upgrade.resource, headers=upgrade.headers, subprotocols=upgrade.subprotocols
                    )
                except HandshakeRefused as refused:
                    headers = {"Content-Type": "application/json"} | self._date | refused.headers
                    await upgrade.reject(refused.status, headers=headers, body=refused.body)
                    return
                wire = await upgrade.accept(subprotocol=request.subprotocol, headers=self._date)
                if self._outages:  # it began during the handshake
                    await cut_off(wire)
                elif line is not None:
                    await line.attach(wire)
                else:
                    await self._run(self._new_session(request, self._carried(wire, faulty.play_dead)))
        except (ConnectFailed, WireClosed, trio.BrokenResourceError) as error:
            logger.debug("a client did not become a session: %s", error)
        except Exception:  # one client must not end the others
            logger.exception("a connection failed")

    async def _accept_late(self) -> None:
        delay_s = self._refusals.accept_delay_s()
        if delay_s:
            await trio.sleep(delay_s)

    @property
    def _date(self) -> dict[str, str]:
        """The ``Date`` of an answer to a handshake, by the clock that ``expires_at`` goes by."""
        return {"Date": formatdate(self._unix_now(), usegmt=True)}

    async def _websocket_head(self, stream: trio.abc.Stream, timeout_s: float) -> bytes | None:
        """Return the beginning of a WebSocket handshake; None after any other request, which is answered here, and for
        none."""
        with trio.move_on_after(timeout_s):
            head = await read_head(stream)
            if is_upgrade(head):
                return head
            await answer_request(stream, head, self._registry.rest.answer)
        return None

    def _admit(
        self, resource: str, *, headers: Mapping[str, str], subprotocols: tuple[str, ...]
    ) -> tuple[SessionRequest, PhoneLine | None]:
        """Return the session that the client asks for, and the line of its phone call, if any. Raises
        `HandshakeRefused`."""
        try:
            self._callers.check(headers, needs_key=self._api_key is not None)
            request = read_request(
                resource,
                headers=headers,
                subprotocols=subprotocols,
                api_key=self._api_key,
                secrets=self._registry.secrets,
            )
            line = self._registry.line(request.call_id)
            if self._closing or len(self._sessions) >= self._options.limits.max_sessions:
                raise busy(self._options.limits.max_sessions)
            status = self._refusals.refusal()
            if status is not None:
                wait_s = self._faults.retry_after_s
                later = None if wait_s is None else {"Retry-After": f"{math.ceil(wait_s)}"}
                raise refusal(status, "Refused on purpose.", code="refused_on_purpose", headers=later)
        except HandshakeRefused:
            self._counters.handshakes_refused += 1
            raise
        return request, line

    def _carried(self, wire: Wire, play_dead: Callable[[], None] = lambda: None) -> Wire:
        """Return `wire`, with the faults, if any."""
        if self._faults == Faults():
            return wire
        source = random.Random(f"{self._seed}:faults:{self._counters.sessions_opened}")
        plan = FaultPlan(self._faults, source, connection=self._counters.sessions_opened + 1)
        faulty = FaultyWire(wire, plan, play_dead)
        self._nursery.start_soon(faulty.deliver)
        return faulty

    def _new_session(self, request: SessionRequest, wire: Wire) -> EmulatedSession:
        self._counters.sessions_opened += 1
        # Sessions draw from sources of their own, so that one cannot change the ids of another.
        source = random.Random(f"{self._seed}:{self._counters.sessions_opened}")  # ids, not secrets
        options, limits = self._options, self._options.limits
        core = self._make_core(
            Ids(source),
            kind=request.kind,
            model=request.model,
            default_model=options.default_model,
            call_id=request.call_id,
            settings=request.settings,
            clock=trio.current_time,
            max_session_s=options.max_session_s,
            expires_at=math.floor(self._unix_now() + options.max_session_s),
            max_items=limits.max_items,
            max_audio_bytes=limits.max_audio_bytes,
            max_input_audio_bytes=limits.input_audio_bytes,
            max_out_of_band=limits.max_out_of_band,
            make_detector=self._speech.turn_detector,
            mcp_servers=self._mcp_servers,
            event_order=options.event_order,
            queue_turns=options.queue_turns,
            expiry=options.expiry,
            hears_in_stages=isinstance(self._speech.transcriber, StagedTranscriber),
            received_audio=ReceivedAudio(options.keep_input_audio_s) if options.keep_input_audio_s else None,
        )
        brain = self._brain or DialogueBrain(random.Random(source.random()))  # small talk, not secrets
        engines = Engines(brain=brain, voice=self._speech.voice, transcriber=self._speech.transcriber)
        session = EmulatedSession(core, wire, engines, options, unix_now=self._unix_now, on_event=self._note)
        self._sessions.append(session)
        return session

    def _unix_now(self) -> float:
        return self._unix_time_s + trio.current_time() - self._opened_at

    def _accept_call(self, call: PhoneCall, settings: SessionSettings) -> None:
        if self._closing or len(self._sessions) >= self._options.limits.max_sessions:
            raise busy(self._options.limits.max_sessions)
        call.accept()
        request = SessionRequest(kind=settings.type, call_id=call.call_id, settings=settings)
        session = self._new_session(request, call.line)
        call.line.on_event = session.note
        self._nursery.start_soon(self._carry, call, session)

    async def _carry(self, call: PhoneCall, session: EmulatedSession) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.line.run)
            await self._run(session)
            call.end("service")

    async def _run(self, session: EmulatedSession) -> None:
        try:
            async with session.recorded():
                await session.run()
        except Exception:  # a bug here must not end the other sessions
            logger.exception("session %s failed", session.id)
        finally:
            self._sessions.remove(session)
            self._ended.append(session)
            self.changed.unpark_all()

    def _note(self, session: EmulatedSession, entry: LoggedEvent) -> None:
        self._counters.note(entry)
        self.changed.unpark_all()
        if self._on_event is not None:
            self._on_event(session, entry)

    async def _close(self) -> None:
        """End every session with a close frame; the nursery cuts those that have not ended in time."""
        self._closing = True
        for session in self.sessions:
            session.close(1001, "The emulator is shutting down.")
        with trio.move_on_after(self._options.close_timeout_s):
            while self._sessions:
                await self.changed.park()


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@attrs.frozen
class MemoryModel:
    """Dials sessions of an emulator in memory: a `RealtimeModel`, for `RealtimeRunner`."""

    _emulator: Emulator = attrs.field(repr=False)
    _model: str | None = None

    def connect(self, target: ConnectionTarget) -> AbstractAsyncContextManager[Wire]:
        """Return a wire to a new session.

        It uses the model's name, the call id, the headers and a string key of `target`, and ignores an address.
        """
        headers = dict(target.headers or {})
        if target.headers is None and isinstance(target.api_key, str):
            headers["Authorization"] = f"Bearer {target.api_key}"
        return self._emulator.connect(model=self._model or target.model_name, call_id=target.call_id, headers=headers)


@async_with("open_emulator()", "emulator")
async def open_emulator(
    *,
    brain: Brain | StreamingBrain | None = None,
    voice: Voice | None = None,
    transcriber: Transcriber | None = None,
    turn_detector: TurnDetectorFactory | None = None,
    speech: SpeechEngines | SpeechChoice | None = None,
    listen: bool = True,
    host: str = "127.0.0.1",
    port: int = 0,
    ssl_context: ssl.SSLContext | None = None,
    api_key: str | None = None,
    allow_origins: Sequence[str] = (),
    allow_hosts: Sequence[str] = (),
    seed: int | None = None,
    default_model: str = "gpt-realtime",
    realtime_factor: float = 8.0,
    delta_ms: int = 150,
    first_delta_delay_s: float = 0.1,
    max_session_s: float = 3_600.0,
    close_timeout_s: float = 2.0,
    unix_time_s: float | None = None,
    event_order: EventOrder = "usual",
    queue_turns: bool = False,
    expiry: Expiry = "close",
    keep_sessions: int = 0,
    keep_input_audio_s: float = 0.0,
    record: str | Path | None = None,
    limits: EmulatorLimits | None = None,
    mcp_servers: McpServers | None = None,
    faults: Faults | None = None,
    on_event: OnEvent | None = None,
) -> AsyncIterator[Emulator]:
    """A server that speaks the Realtime protocol, for as long as the context is open.

    ``async with open_emulator() as emulator:`` listens at `emulator.url`, with TLS where a server's `ssl_context` is
    given; with ``listen=False`` there is no socket, only `Emulator.connect`, which works in both cases. Leaving closes
    every session with code 1001, within twice `close_timeout_s`. Raises `OSError` when `host` and `port` cannot be
    bound, `ValueError` for an option out of range, TypeError for an engine that is none.

    Engines: `brain` answers (default: a `DialogueBrain` for each session). `speech` is a set of a `voice` (default:
    tones, a signal and not speech), a `transcriber` (default: placeholders, since it understands nothing) and a
    `turn_detector` (default: by energy); each may also be given by itself, and goes over the set. With ``"auto"`` the
    emulator hears and speaks English where ``trealtime[local]`` is installed, which takes a second or two to load, and
    else takes the defaults; ``"local"`` raises `MissingDependency` in that case, and ``"tones"`` are the defaults.
    `Emulator.speech` is the set in use, and its `description` says in a line what to expect.

    Who may use it: `api_key`, when given, is asked of every client. Without one, browsers may use the emulator from
    pages of `allow_origins` alone (``"http://localhost:3000"``; ``"*"``: all). On a loopback address the ``Host`` of a
    request must be ``localhost``, the address, or among `allow_hosts` (``"*"``: any).

    Options: `seed` decides all ids and everything else that is random. With the same seed, `unix_time_s` and input,
    sessions under Trio's mock clock are the same but for the order of tasks in one step, which Trio shuffles; under
    `trealtime.testing.run_deterministically`, byte for byte. `default_model` is the model of clients that name none.
    Speech leaves in pieces of `delta_ms`, `realtime_factor` times faster than it plays (`math.inf`: at once), the first
    `first_delta_delay_s` after the brain has answered. A session ends after `max_session_s`. `unix_time_s` is the Unix
    time at which the emulator opens (default: the real one); expiry times count from it on Trio's clock. With the
    `event_order` "other", where the protocol leaves the order of events open, they come the other way round. A turn
    that ends while a response runs gets no answer, as OpenAI documents for ``interrupt_response``: false; with
    `queue_turns` it is answered after that response. `faults` go wrong on purpose, as `seed` decides. `on_event` is
    called with every event that passes, synchronously: it must not block, and not raise.

    Ends of sessions: after `max_session_s` a session closes with 1001; with the `expiry` "error" an ``error`` event
    with the code ``session_expired`` comes before. `keep_sessions` is the number of ended sessions that stay in
    `Emulator.ended_sessions`, `keep_input_audio_s` how much of the audio that a client sends stays in
    `EmulatedSession.input_audio`, for tests that hold it against what was spoken. `record` is a folder: each session is
    recorded there, in a file of its own, as the service sees it (`trealtime.recording` reads it).

    `mcp_servers` are the MCP servers that it reaches: label -> name of a tool -> its function, async or sync and quick.
    Raises TypeError for one that has no JSON Schema.
    """
    options = EmulatorOptions(
        default_model=default_model,
        realtime_factor=realtime_factor,
        delta_ms=delta_ms,
        first_delta_delay_s=first_delta_delay_s,
        max_session_s=max_session_s,
        close_timeout_s=close_timeout_s,
        event_order=event_order,
        queue_turns=queue_turns,
        expiry=expiry,
        keep_sessions=keep_sessions,
        keep_input_audio_s=keep_input_audio_s,
        record=None if record is None else Path(record),
        limits=limits or EmulatorLimits(),
    )
    if brain is not None:
        check_engine("brain", brain, "reply", "stream", kind="a Brain or a StreamingBrain")
    engines = await speech_engines(speech)
    build = partial(
        Emulator,
        options=options,
        brain=brain,
        speech=attrs.evolve(
            engines,
            voice=voice or engines.voice,
            transcriber=transcriber or engines.transcriber,
            turn_detector=turn_detector or engines.turn_detector,
        ),
        api_key=api_key,
        seed=random.SystemRandom().getrandbits(64) if seed is None else seed,
        unix_time_s=time.time() if unix_time_s is None else unix_time_s,
        faults=faults or Faults(),
        on_event=on_event,
        mcp_servers=mcp_tools(mcp_servers or {}),
        callers=Callers.of(bound_host=host, origins=allow_origins, hosts=allow_hosts),
    )
    async with serving(build, listen=listen, host=host, port=port, ssl_context=ssl_context) as emulator:
        yield emulator


@asynccontextmanager
async def serving(
    build: Callable[[trio.Nursery], Emulator],
    *,
    listen: bool,
    host: str = "127.0.0.1",
    port: int = 0,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[Emulator]:
    """An emulator of either personality while it serves; see `open_emulator`."""
    async with background_nursery() as nursery:
        emulator = build(nursery)
        if listen:
            emulator._url = await _listen(nursery, emulator, host, port, ssl_context)
        try:
            yield emulator
        finally:
            deadline = trio.current_time() + 2 * emulator._options.close_timeout_s
            with trio.CancelScope(shield=True, deadline=deadline):
                await emulator._close()


async def _listen(
    nursery: trio.Nursery, emulator: Emulator, host: str, port: int, ssl_context: ssl.SSLContext | None
) -> str:
    # A client that is silent for a minute is no fault in a test server: no pings, whose pongs could come too late.
    config = TransportConfig(ping_interval=None, close_timeout=emulator._options.close_timeout_s or 0.001)
    sockets = await trio.open_tcp_listeners(port, host=host)
    listeners: list[trio.abc.Listener[trio.abc.Stream]] = list(sockets)
    if ssl_context is not None:
        listeners = [trio.SSLListener(listener, ssl_context) for listener in sockets]
    await nursery.start(partial(trio.serve_listeners, partial(emulator._serve, config=config), listeners))
    bound_host, bound_port = sockets[0].socket.getsockname()[:2]
    shown = f"[{bound_host}]" if ":" in bound_host else bound_host
    return f"{'ws' if ssl_context is None else 'wss'}://{shown}:{bound_port}{_PATH}"
