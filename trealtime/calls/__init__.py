"""Phone calls that the service carries itself (SIP), and client secrets for browsers: REST requests and webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trealtime import _lazy

if TYPE_CHECKING:
    from trealtime.calls.rest import ClientSecret as ClientSecret
    from trealtime.calls.rest import RealtimeRestClient as RealtimeRestClient
    from trealtime.calls.webhooks import IncomingCall as IncomingCall
    from trealtime.calls.webhooks import OtherWebhook as OtherWebhook
    from trealtime.calls.webhooks import RealtimeWebhooks as RealtimeWebhooks
    from trealtime.calls.webhooks import SipHeader as SipHeader
else:
    __all__, __getattr__, __dir__ = _lazy.namespace(__name__)
