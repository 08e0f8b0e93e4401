"""Connections: the wire seam, its implementations, and the models that dial them.

Nothing here knows the Realtime protocol beyond its URLs and headers.
"""

from trealtime.transport.memory import MemoryWire, memory_wire_pair
from trealtime.transport.wire import Dialer, Wire, WireClosed, WireStatistics

__all__ = ["Dialer", "MemoryWire", "Wire", "WireClosed", "WireStatistics", "memory_wire_pair"]
