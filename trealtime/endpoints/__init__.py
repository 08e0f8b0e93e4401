"""Audio endpoints: where the user's voice comes from and where the agent's goes (``session.attach``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trealtime import _lazy

if TYPE_CHECKING:
    from trealtime.endpoints.audio_device import SoundDevice as SoundDevice
    from trealtime.endpoints.audio_device import list_devices as list_devices
    from trealtime.endpoints.browser.endpoint import BrowserStatistics as BrowserStatistics
    from trealtime.endpoints.browser.page import PAGE_EVENTS as PAGE_EVENTS
    from trealtime.endpoints.browser.page import PAGE_FILES as PAGE_FILES
    from trealtime.endpoints.browser.page import PageUpdates as PageUpdates
    from trealtime.endpoints.browser.page import obey_page as obey_page
    from trealtime.endpoints.console import AudioLevels as AudioLevels
    from trealtime.endpoints.console import ConsoleStatistics as ConsoleStatistics
    from trealtime.endpoints.echo_gate import EchoGateStatistics as EchoGateStatistics
    from trealtime.endpoints.endpoint import EndpointLink as EndpointLink
    from trealtime.endpoints.twilio.endpoint import TwilioStatistics as TwilioStatistics
    from trealtime.endpoints.twilio.signature import check_twilio_signature as check_twilio_signature
    from trealtime.endpoints.twilio.stream import TwilioCall as TwilioCall
else:
    __all__, __getattr__, __dir__ = _lazy.namespace(__name__)
