"""The telephone exchange of an emulator: its calls, its client secrets, and the REST requests about both."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from trealtime.emulator.handshake import refusal
from trealtime.emulator.ids import Ids
from trealtime.emulator.options import EmulatorOptions
from trealtime.emulator.phone import PhoneCall, Webhook
from trealtime.emulator.phone_line import PhoneLine
from trealtime.emulator.rest import RestDesk
from trealtime.emulator.secrets import ClientSecrets
from trealtime.emulator.settings import SessionSettings

__all__ = ["Exchange"]


class Exchange:
    """What the sessions of one emulator share about calls.

    `accept` starts the session of a call with settings, or refuses; `unix_now` is the emulator's wall clock.
    """

    def __init__(
        self,
        ids: Ids,
        options: EmulatorOptions,
        *,
        api_key: str | None,
        unix_now: Callable[[], float],
        accept: Callable[[PhoneCall, SessionSettings], None],
    ) -> None:
        self.secrets: ClientSecrets = ClientSecrets(ids, default_model=options.default_model, now=unix_now)
        self.desk: RestDesk = RestDesk(
            api_key=api_key,
            default_model=options.default_model,
            secrets=self.secrets,
            find_call=self.find,
            accept=accept,
        )
        self._ids = ids
        self._options = options
        self._unix_now = unix_now
        self._calls: dict[str, PhoneCall] = {}
        self._has_rung = False

    def new_call(
        self, webhook: Webhook, *, secret: str, sip_headers: Mapping[str, str], ready_after_s: float
    ) -> PhoneCall:
        """A call that rings."""
        self._has_rung = True
        limits = self._options.limits
        line = PhoneLine(self._ids, queued_events=limits.queued_events, close_timeout_s=self._options.close_timeout_s)
        call = PhoneCall(
            line,
            self._ids,
            webhook=webhook,
            secret=secret,
            sip_headers=sip_headers,
            ready_after_s=ready_after_s,
            unix_now=self._unix_now,
        )
        self._calls[call.call_id] = call
        return call

    def forget(self, call: PhoneCall) -> None:
        """The caller has gone for good."""
        call.hang_up()
        del self._calls[call.call_id]

    def find(self, call_id: str) -> PhoneCall | None:
        """The call of that id."""
        return self._calls.get(call_id)

    def line(self, call_id: str | None) -> PhoneLine | None:
        """The line that a sideband connection to `call_id` attaches to; None for a session of its own.

        Raises `HandshakeRefused` for a call that is not there, not accepted, or not ready yet. Where no phone has ever
        rung, any call id is taken, and makes a session of its own.
        """
        call = None if call_id is None else self.find(call_id)
        if call is not None and call.ready:
            return call.line
        if call_id is not None and self._has_rung:
            raise refusal(404, f"No call with id '{call_id}' is there.", code="call_id_not_found", param="call_id")
        return None
