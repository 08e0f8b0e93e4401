"""The caller of a phone call to the emulator: rings, is answered or not, speaks, listens, presses keys, hangs up."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal

import numpy as np
import trio
from numpy.typing import NDArray

from trealtime._log import Log
from trealtime.calls.http import open_http_client
from trealtime.calls.webhooks import webhook_signature
from trealtime.emulator.event_buffer import Ids
from trealtime.emulator.phone_line import PhoneLine
from trealtime.endpoints.endpoint import DTMF_KEYS

__all__ = ["CallState", "PhoneCall", "Webhook"]

logger = Log("trealtime.emulator")

CallState = Literal["ringing", "active", "rejected", "referred", "ended"]
Webhook = str | Callable[[Mapping[str, str], bytes], Awaitable[int]]

_WEBHOOK_TIMEOUT_S: Final = 10.0


class PhoneCall:
    """A call, from the caller's side; get one from `Emulator.ring`. Audio is mono int16 at 24 kHz.

    `call_id` is the id in the webhook; `webhook_status` the HTTP status of its answer, None while there is none.
    `rejected_with` and `referred_to` say how the call was turned away or transferred, `ended_by` who ended it.
    """

    def __init__(
        self,
        line: PhoneLine,
        ids: Ids,
        *,
        webhook: Webhook,
        secret: str,
        sip_headers: Mapping[str, str],
        ready_after_s: float,
        unix_now: Callable[[], float],
    ) -> None:
        self.call_id: str = ids.new("rtc")
        self.webhook_status: int | None = None
        self.rejected_with: int | None = None
        self.referred_to: str | None = None
        self.ended_by: Literal["caller", "service"] | None = None
        self._state: CallState = "ringing"
        self._accepted = False
        self.line = line
        self._webhook = webhook
        self._secret = secret
        self._ready_after_s = ready_after_s
        self._ready_at = math.inf
        self._unix_now = unix_now
        self._webhook_id = ids.new("wh")
        headers = [{"name": name, "value": value} for name, value in sip_headers.items()]
        self._event = {
            "object": "event",
            "id": ids.new("evt"),
            "type": "realtime.call.incoming",
            "created_at": math.floor(unix_now()),
            "data": {"call_id": self.call_id, "sip_headers": headers},
        }
        self._answered = trio.Event()
        self._over = trio.Event()

    @property
    def state(self) -> CallState:
        """``"ringing"``, ``"active"`` once accepted, then ``"ended"``; or ``"rejected"`` or ``"referred"``."""
        return self._state

    @property
    def over(self) -> bool:
        """Whether the call is over."""
        return self._over.is_set()

    # ---- the caller --------------------------------------------------------------------------------------------

    async def wait_answered(self) -> bool:
        """Wait until the call is accepted (True), or is not (False): rejected, or its webhook was not taken."""
        await self._answered.wait()
        return self._accepted

    async def wait_ended(self) -> None:
        """Wait until either side has ended the call."""
        await self._over.wait()

    async def say(self, samples: NDArray[np.int16]) -> None:
        """Speak `samples`, of shape (n,), in real time; returns when they have been said, or the call is over."""
        await self.line.say(samples)

    async def listen(self, *, quiet_s: float = 1.0) -> NDArray[np.int16]:
        """Return the agent's audio from now on, until it has been quiet for `quiet_s` or the call ends."""
        earpiece = self.line.earpiece
        begin = earpiece.frames_heard
        while earpiece.frames_heard == begin and not self.over:
            await earpiece.wait()
        while not self.over:
            with trio.move_on_after(quiet_s) as quiet:
                await earpiece.wait()
            if quiet.cancelled_caught:
                break
        return earpiece.since(begin)

    def heard(self) -> NDArray[np.int16]:
        """All of the agent's audio that has been played to the caller, the last ten minutes of it."""
        return self.line.earpiece.since(0)

    def press(self, digits: str) -> None:
        """Press keys, of ``0123456789*#ABCD``. Raises ValueError for any other."""
        if set(digits) - DTMF_KEYS:
            raise ValueError(f"digits must be of 0123456789*#ABCD, got {digits!r}")
        for digit in digits:
            self.line.press(digit, received_at=math.floor(self._unix_now()))

    def hang_up(self) -> None:
        """End the call from the caller's side."""
        self.end("caller")

    async def deliver(self) -> int | None:
        """Send the webhook once more, as the service does when it is in doubt: the same id, signed anew. Return the
        status of the answer; None when none came within 10 s."""
        body = json.dumps(self._event).encode()
        timestamp = str(math.floor(self._unix_now()))
        headers = {
            "Content-Type": "application/json",
            "webhook-id": self._webhook_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": webhook_signature(self._secret, self._webhook_id, timestamp, body),
        }
        with trio.move_on_after(_WEBHOOK_TIMEOUT_S):
            if not isinstance(self._webhook, str):
                return await self._webhook(headers, body)
            async with (
                open_http_client(self._webhook) as client,
                client.stream("POST", self._webhook, content=body, headers=headers) as answer,
            ):
                return answer.status_code  # the body does not matter
        return None

    # ---- the service, as the emulator plays it -----------------------------------------------------------------

    async def announce(self) -> None:
        """Send the webhook; the call ends if no receiver accepts it."""
        try:
            self.webhook_status = await self.deliver()
        except Exception:  # a failure of the receiver is not the emulator's
            logger.exception("the webhook of call %s was not delivered", self.call_id)
        if self._state == "ringing" and not 200 <= (self.webhook_status or 0) < 300:
            self.end("service")

    @property
    def ready(self) -> bool:
        """Whether sideband connections may attach."""
        return self._state == "active" and trio.current_time() >= self._ready_at

    def accept(self) -> None:
        """Answer the call."""
        self._state = "active"
        self._accepted = True
        self._ready_at = trio.current_time() + self._ready_after_s
        self._answered.set()

    def reject(self, status_code: int) -> None:
        """Turn the call away."""
        self.rejected_with = status_code
        self._finish("rejected")

    def refer(self, target_uri: str) -> None:
        """Send the caller elsewhere; they leave."""
        self.referred_to = target_uri
        self._finish("referred")

    def end(self, by: Literal["caller", "service"]) -> None:
        """End the call, from either side. Idempotent."""
        if not self.over:
            self.ended_by = by
            self._finish("ended")

    def _finish(self, state: CallState) -> None:
        self._state = state
        self._over.set()
        self._answered.set()
        self.line.end()
