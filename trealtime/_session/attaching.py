"""The life of an attachment: an endpoint's path, held open in the session's nursery around a block of the app.

Theory of operation
1. One service task holds the path open, with a pump for each direction. It is shielded, because its end is in order:
   playback stops, then the path is closed. Whoever leaves, the app, the far side, the session or an exception, gives it
   a deadline for that.
2. An exception of the endpoint cancels the body of the attach block and comes out of it, one and bare. What `open`
   raises before the body has begun comes out as it is.
3. The far side's leaving closes the path and does not end the block: what to do then is the app's to say.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from trealtime._session.attachment import Attachment
from trealtime._session.driver import Driver
from trealtime._session.endpoint_input import EndpointInput
from trealtime._session.endpoint_output import EndpointOutput
from trealtime._session.lifetime import Lifetime
from trealtime._session.subscription import Subscription
from trealtime.endpoints.endpoint import Endpoint
from trealtime.errors import EndpointFailed, SlowConsumer

__all__ = ["Attaching"]

DTMF_KEYS: Final = "0123456789*#ABCD"


@attrs.frozen
class _Link:
    """What the endpoint holds of its session."""

    _attaching: Attaching

    def heard(self, position_ms: float) -> None:
        """`EndpointLink.heard`."""
        if self._attaching.output is not None:
            self._attaching.output.heard(position_ms)

    def dtmf(self, digit: str) -> None:
        """`EndpointLink.dtmf`."""
        if len(digit) != 1 or digit not in DTMF_KEYS:
            raise ValueError(f"digit must be one of {DTMF_KEYS}, got {digit!r}")
        driver = self._attaching.driver
        driver.do(driver.core.report_dtmf, digit)


@attrs.define(eq=False)
class Attaching:
    """Carries one attachment from entry to exit. `on_open` may refuse the endpoint once its formats are known."""

    driver: Driver
    _lifetime: Lifetime
    endpoint: Endpoint
    _new_subscription: Callable[[], Subscription]
    _on_open: Callable[[Attaching], None]
    _coalesce_s: float
    _close_timeout_s: float
    attachment: Attachment | None = attrs.field(default=None, init=False)
    """None until the path is open."""

    input: EndpointInput | None = attrs.field(default=None, init=False)
    output: EndpointOutput | None = attrs.field(default=None, init=False)
    _failure: BaseException | None = attrs.field(default=None, init=False)
    _body: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _path: trio.CancelScope = attrs.field(factory=lambda: trio.CancelScope(shield=True), init=False)
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
        """Begin to close the path; one that is not open yet is given up. Idempotent."""
        if not self._leaving.is_set():
            self._leaving.set()
            self._path.deadline = trio.current_time() + (0 if self.attachment is None else self._close_timeout_s)

    def _fail(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if isinstance(error, Exception) and not isinstance(error, SlowConsumer) and self.attachment is not None:
            failed = EndpointFailed(f"{type(self.endpoint).__name__}: {type(error).__name__}: {error}")
            failed.__cause__ = error
            error = failed
        if self._failure is None:
            self._failure = error
        self._body.cancel()
        self._leave()

    # ---- the service task ----------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """Hold the path open. It is closed in order also when the session ends, which cancels this."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hold_open)
            try:
                await self._ended.wait()
            finally:
                self._leave()

    async def _hold_open(self) -> None:
        try:
            with self._path:
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
            self._opened.set()
            self._ended.set()

    def _begin(self) -> None:
        self._on_open(self)
        endpoint = self.endpoint
        if endpoint.input_format is not None:
            self.input = EndpointInput(self.driver, endpoint, endpoint.input_format, coalesce_s=self._coalesce_s)
        if endpoint.output_format is not None:
            self.output = EndpointOutput(
                self.driver, endpoint, endpoint.output_format, self._new_subscription(), self._fail
            )
        self.attachment = Attachment(endpoint, input=self.input, output=self.output, ended=self._ended)
        self._opened.set()

    async def _guard(self, pump: Callable[[], Awaitable[None]]) -> None:
        """Run a pump, whose end is the end of the path."""
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
        """Whether the path is not closed."""
        return not self._ended.is_set()
