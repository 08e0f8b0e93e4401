"""Telephone calls over Twilio Media Streams."""

from trealtime.endpoints.twilio.endpoint import TwilioEndpoint, TwilioStatistics, accept_twilio_stream
from trealtime.endpoints.twilio.signature import check_twilio_signature, sign_twilio_request
from trealtime.endpoints.twilio.stream import TwilioCall

__all__ = [
    "TwilioCall",
    "TwilioEndpoint",
    "TwilioStatistics",
    "accept_twilio_stream",
    "check_twilio_signature",
    "sign_twilio_request",
]
