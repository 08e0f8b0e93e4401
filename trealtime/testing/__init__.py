"""What voice agents, and wires of your own, are tested with."""

from trealtime.testing.cancellation import CancelHere, cancel_at_each_checkpoint
from trealtime.testing.twilio import FakeTwilio, HeardFrame, open_fake_twilio
from trealtime.testing.wires import check_wire, memory_wire_pair, open_websocket_wire_pair

__all__ = [
    "CancelHere",
    "FakeTwilio",
    "HeardFrame",
    "cancel_at_each_checkpoint",
    "check_wire",
    "memory_wire_pair",
    "open_fake_twilio",
    "open_websocket_wire_pair",
]
