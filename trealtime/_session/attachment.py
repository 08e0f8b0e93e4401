"""Attached endpoints: held open in the session's nursery around a block of the app.

Theory of operation
1. One service task holds the path of an endpoint open, with a pump for each direction. It is shielded, because it ends
   in order: playback stops, then the path is closed. The app, the far side, the session or an exception begins its end
   by setting a deadline.
2. An exception of the endpoint cancels the body of the attach block and comes out of it as `EndpointFailed`. An
   exception of `open` before the body has begun comes out as it is.
3. When the far side leaves, the path closes and the block goes on: the app decides what follows.
4. A session has at most one endpoint that speaks and one that plays.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from numbers import Real
from typing import Literal

import attrs
import trio

from trealtime._async_with import async_with
from trealtime._core.interruption import BargeInPolicy
from trealtime._core.playback_ledger import PlaybackChange
from trealtime._secrets import shown
from trealtime._session.driver import Driver
from trealtime._session.endpoint_input import EndpointInput
from trealtime._session.endpoint_output import EVENTS, EndpointOutput
from trealtime._session.failures import Failures
from trealtime._session.lifetime import Lifetime
from trealtime._session.subscription import Subscriptions
from trealtime._value import Shown, Value
from trealtime.audio.formats import AudioFormat, audio_shown
from trealtime.endpoints.endpoint import DTMF_KEYS, Endpoint
from trealtime.errors import EndpointFailed, SlowConsumer, TrealtimeError
from trealtime.terminal import text_of

__all__ = ["Attachment", "AttachmentStatistics", "Attachments"]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AttachmentStatistics(Value):
    """Numbers about one attachment."""

    endpoint: str
    """The name of the endpoint's class."""
    input_format: AudioFormat | None
    """The format of the user's audio, None for an endpoint without input."""
    output_format: AudioFormat | None
    """The format of the agent's audio, None for an endpoint without output."""
    bytes_received: int
    """The user's audio, in `input_format`."""
    bytes_played: int
    """The agent's audio that the endpoint was given, in `output_format`."""
    input_dropped_s: float
    """The user's audio for which there was no room in the send queue."""
    input_silence_s: float
    """Silence sent because the user's audio had stopped in mid-word."""
    queue_s: float
    """The agent's audio that the endpoint has and has not played."""
    underruns: int
    """How often the endpoint had played all its audio while more of the same item was still to come."""
    late_frames: int
    """`Endpoint.late_frames`."""


class Attachment:
    """An endpoint in use, made by ``async with session.attach(endpoint) as attachment``.

    Set `muted` at any time: True sends silence in place of the user's audio.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        input: EndpointInput | None,
        output: EndpointOutput | None,
        ended: trio.Event,
    ) -> None:
        self.endpoint = endpoint
        self._input = input
        self._output = output
        self._ended = ended

    async def wait_closed(self) -> None:
        """Wait until the path is closed: the far side has left, the session has ended, or the endpoint has failed.

        The attach block goes on, except after a failure. Cancelling this changes nothing.
        """
        await self._ended.wait()

    @property
    def muted(self) -> bool:
        """Whether the server gets silence in place of the user's audio."""
        return self._input is not None and self._input.muted

    @muted.setter
    def muted(self, muted: bool) -> None:
        if self._input is not None:
            self._input.muted = muted

    def duck(self, gain_db: float = -12.0) -> None:
        """Play at a gain of `gain_db` decibels until `resume`, also what `hold` has stopped.

        Raises ValueError for a gain above 0 dB.
        """
        if not gain_db <= 0:
            raise ValueError(f"gain_db must be 0 or below, got {gain_db!r}")
        self._change("duck", 10 ** (gain_db / 20))

    def hold(self) -> None:
        """Stop playback at once and keep the audio that was not heard, until `resume`. The server goes on making the
        agent's answer, which can be interrupted."""
        self._change("hold")

    def resume(self) -> None:
        """Play at full loudness, on from where `hold` stopped. Playback that a barge-in policy holds or ducks stays so
        until the policy has decided."""
        self._change("play")

    def statistics(self) -> AttachmentStatistics:
        """Return numbers about this attachment; at any time."""
        said, heard = self._input, self._output
        return AttachmentStatistics(
            endpoint=type(self.endpoint).__name__,
            input_format=said.audio_format if said is not None else None,
            output_format=heard.audio_format if heard is not None else None,
            bytes_received=said.bytes_received if said is not None else 0,
            bytes_played=heard.bytes_played if heard is not None else 0,
            input_dropped_s=said.dropped_s if said is not None else 0.0,
            input_silence_s=said.silence_s if said is not None else 0.0,
            queue_s=heard.queue_s if heard is not None else 0.0,
            underruns=heard.underruns if heard is not None else 0,
            late_frames=self.endpoint.late_frames,
        )

    def __repr__(self) -> str:
        said, heard = self._input, self._output
        parts = [type(self.endpoint).__name__, "closed" if self._ended.is_set() else "open"]
        if said is not None:
            muted = ", muted" if said.muted else ""
            parts.append(f"{audio_shown(said.bytes_received, said.audio_format)} said{muted}")
        if heard is not None:
            parts.append(f"{audio_shown(heard.bytes_played, heard.audio_format)} played")
        return f"<Attachment of {', '.join(parts)}>"

    def _change(self, how: Literal["play", "duck", "hold"], gain: float = 1.0) -> None:
        if self._output is not None:
            self._output.change_playback(PlaybackChange(how, gain), by="app")


@attrs.frozen(eq=False, repr=False)
class _Link(Value):
    """The session's side of an endpoint."""

    _owner: _Path

    def heard(self, position_ms: float, *, tail_ms: float = 0.0) -> None:
        """`EndpointLink.heard`."""
        if self._owner.output is not None:
            self._owner.output.heard(position_ms, tail_ms=tail_ms)

    def dtmf(self, digit: str) -> None:
        """`EndpointLink.dtmf`."""
        if digit not in DTMF_KEYS:
            raise ValueError(f"digit must be one of 0123456789*#ABCD, got {digit!r}")
        driver = self._owner.driver
        driver.do(driver.core.report_dtmf, digit)


@attrs.define(eq=False, repr=False)
class _Path(Shown):
    """Carries one attachment from entry to exit. `on_open` may refuse the endpoint once its formats are known."""

    driver: Driver
    _lifetime: Lifetime
    _failures: Failures
    endpoint: Endpoint
    _subscriptions: Subscriptions
    _on_open: Callable[[_Path], None]
    _coalesce_s: float
    _close_timeout_s: float
    attachment: Attachment | None = attrs.field(default=None, init=False)
    """None until the path is open."""

    input: EndpointInput | None = attrs.field(default=None, init=False)
    output: EndpointOutput | None = attrs.field(default=None, init=False)
    _failure: BaseException | None = attrs.field(default=None, init=False)
    _misused: bool = attrs.field(default=False, init=False)
    """The session does not take the endpoint: the mistake is not the endpoint's."""

    _body: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _scope: trio.CancelScope = attrs.field(factory=lambda: trio.CancelScope(shield=True), init=False)
    _opened: trio.Event = attrs.field(factory=trio.Event, init=False)
    _leaving: trio.Event = attrs.field(factory=trio.Event, init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False)

    # ---- the body's side -----------------------------------------------------------------------------------------

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Attachment]:
        """Open, hold and close the path around a body."""
        self._lifetime.check_open()
        self._lifetime.start_tool(self._serve)
        error: BaseException | None = None
        try:
            with self._body:
                await self._opened.wait()
                if self._failure is None:
                    if self.attachment is None:
                        self._lifetime.check_open()
                        raise AssertionError("the path neither opened nor failed, and the session goes on")
                    yield self.attachment
        except BaseException as raised:  # noqa: BLE001  (raised again below, once the path is closed)
            error = raised
        self._leave()
        # Bounded: leaving has given the path a deadline.
        with trio.CancelScope(shield=True):
            await self._ended.wait()
        try:
            self._raise(error)
        finally:
            # The traceback of an exception holds this frame: without this they keep each other alive.
            del error

    def _raise(self, error: BaseException | None) -> None:
        if self._failure is not None and (error is None or isinstance(error, trio.Cancelled)):
            raise self._failure
        if error is not None:
            if self._failure is not None:
                error.add_note(f"Meanwhile the endpoint had failed: {self._failure}")
            raise error

    def _leave(self) -> None:
        """Begin to close the path, and give up one that is not open yet. Idempotent."""
        if not self._leaving.is_set():
            self._leaving.set()
            self._scope.deadline = trio.current_time() + (0 if self.attachment is None else self._close_timeout_s)

    def _fail(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if isinstance(error, Exception) and not isinstance(error, SlowConsumer) and not self._misused:
            name = type(self.endpoint).__name__
            failed = EndpointFailed(f"{name}: {type(error).__name__}: {text_of(error)}")
            failed.__cause__ = error
            # A device, a package or a file that is missing is no bug: that comes out of the attach block, and says what
            # to do.
            bug = self.attachment is not None or not isinstance(error, TrealtimeError | OSError)
            summary = f"endpoint {name} failed: {type(error).__name__}"
            self._failures.report("endpoint", failed, summary=summary, raised=bug)
            if self.attachment is not None:
                error = failed
        if self._failure is None:
            self._failure = error
        self._body.cancel()
        self._leave()

    # ---- the service task ----------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """Hold the path open. The end of the session cancels this, and closes the path in order."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hold_open)
            try:
                await self._ended.wait()
            finally:
                self._leave()

    async def _hold_open(self) -> None:
        try:
            with self._scope:
                async with self.endpoint.open(_Link(self)):
                    self._begin()
                    async with trio.open_nursery() as pumps:
                        for pump in (self.input, self.output):
                            if pump is not None:
                                pumps.start_soon(self._guard, pump.run)
                        await self._leaving.wait()
                        pumps.cancel_scope.cancel()
                    self._stop_playing()
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001  (comes out of the attach block)
            self._fail(error)
        finally:
            self._stop_playing()
            if self.input is not None and self._lifetime.state == "open":
                self.driver.do(self.driver.core.user_left)
            self._opened.set()
            self._ended.set()

    def _begin(self) -> None:
        self._misused = True
        self._on_open(self)
        self._misused = False
        endpoint = self.endpoint
        if endpoint.input_format is not None:
            self.input = EndpointInput(self.driver, endpoint, endpoint.input_format, coalesce_s=self._coalesce_s)
        if endpoint.output_format is not None:
            subscription = self._subscriptions.new("an endpoint", types=EVENTS, playback=False, tells_loss=False)
            self.output = EndpointOutput(self.driver, endpoint, endpoint.output_format, subscription, self._fail)
        self.attachment = Attachment(endpoint, input=self.input, output=self.output, ended=self._ended)
        self._opened.set()

    async def _guard(self, pump: Callable[[], Awaitable[None]]) -> None:
        """Run a pump, and end the path when it ends."""
        try:
            await pump()
            self._leave()
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001  (comes out of the attach block)
            self._fail(error)

    def _stop_playing(self) -> None:
        if self.output is not None:
            self.output.stop(interrupt=self._lifetime.state == "open")

    @property
    def active(self) -> bool:
        """Whether the path is open or opening."""
        return not self._ended.is_set()


class Attachments:
    """Attaches the endpoints of one session. `tracked`: it has a playback tracker, so no endpoint may play."""

    def __init__(
        self,
        driver: Driver,
        lifetime: Lifetime,
        failures: Failures,
        subscriptions: Subscriptions,
        *,
        close_timeout_s: float,
        tracked: bool,
    ) -> None:
        self._driver = driver
        self._lifetime = lifetime
        self._failures = failures
        self._subscriptions = subscriptions
        self._close_timeout_s = close_timeout_s
        self._tracked = tracked
        self._open: list[_Path] = []
        self._policies: list[BargeInPolicy] = []

    @async_with("session.attach(...)", "attachment")
    async def attach(
        self, endpoint: Endpoint, *, coalesce_ms: float, barge_in: BargeInPolicy | None
    ) -> AsyncIterator[Attachment]:
        """See `RealtimeSession.attach`."""
        if not isinstance(endpoint, Endpoint):
            raise TypeError(f"endpoint: got {shown(endpoint)}, allowed: an Endpoint")
        if not isinstance(coalesce_ms, Real) or not 0 <= coalesce_ms <= 1000:
            raise ValueError(f"coalesce_ms must be from 0 to 1000, got {coalesce_ms!r}")
        if any(each.endpoint is endpoint and each.active for each in self._open):
            raise RuntimeError(f"this {type(endpoint).__name__} is attached already")
        path = _Path(
            self._driver,
            self._lifetime,
            self._failures,
            endpoint,
            self._subscriptions,
            self._admit,
            coalesce_ms / 1000,
            self._close_timeout_s,
        )
        try:
            async with path.run() as attachment:
                with self._use_policy(barge_in):
                    yield attachment
        finally:
            if path in self._open:
                self._open.remove(path)

    @contextmanager
    def _use_policy(self, policy: BargeInPolicy | None) -> Iterator[None]:
        """Let speech interrupt by `policy` in a block, if there is one."""
        if policy is None:
            yield
            return
        self._policies.append(policy)
        self._driver.do(self._driver.core.use_barge_in, policy)
        try:
            yield
        finally:
            self._policies.remove(policy)
            if self._lifetime.state == "open":
                self._driver.do(self._driver.core.use_barge_in, self.barge_in)

    @property
    def barge_in(self) -> BargeInPolicy | None:
        """The policy of the endpoint that was attached last with one; None if none was."""
        return self._policies[-1] if self._policies else None

    def statistics(self) -> tuple[AttachmentStatistics, ...]:
        """Return numbers of every attachment whose block has not ended, in the order in which they were opened."""
        return tuple(each.attachment.statistics() for each in self._open if each.attachment is not None)

    def _admit(self, path: _Path) -> None:
        """Take an open endpoint, whose formats are known now. Raises RuntimeError if it cannot stay."""
        endpoint, others = path.endpoint, [each.endpoint for each in self._open if each.active]
        if endpoint.input_format is not None and any(other.input_format is not None for other in others):
            raise RuntimeError("this session has an endpoint that speaks: two at once would be noise to the server")
        if endpoint.output_format is not None:
            if any(other.output_format is not None for other in others):
                raise RuntimeError("this session has an endpoint that plays: only one can say what was heard")
            if self._tracked:
                raise RuntimeError("this session has a playback_tracker; an endpoint says itself what was heard")
        self._open.append(path)
