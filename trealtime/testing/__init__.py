"""What voice agents, and wires of your own, are tested with."""

from trealtime.testing.cancellation import CancelHere, cancel_at_each_checkpoint
from trealtime.testing.wires import check_wire, memory_wire_pair, open_websocket_wire_pair

__all__ = [
    "CancelHere",
    "cancel_at_each_checkpoint",
    "check_wire",
    "memory_wire_pair",
    "open_websocket_wire_pair",
]
