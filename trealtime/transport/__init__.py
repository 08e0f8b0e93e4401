"""Connections: the wire seam, its implementations, and the models that dial them.

Nothing here knows the Realtime protocol beyond its URLs and headers. What needs trio-websocket is imported from its
module: `trealtime.transport.dial` and `trealtime.transport.websocket`.
"""

from trealtime.transport.azure import AzureRealtimeModel
from trealtime.transport.config import TransportConfig
from trealtime.transport.credentials import ApiKey, get_api_key
from trealtime.transport.memory import MemoryWire, memory_wire_pair
from trealtime.transport.models import (
    DEFAULT_MODEL_NAME,
    ConnectionTarget,
    Handshake,
    OpenAIRealtimeModel,
    OpenAIRealtimeSIPModel,
    OpenAIRealtimeWebSocketModel,
    RealtimeModel,
)
from trealtime.transport.wire import Wire, WireClosed, WireStatistics

__all__ = [
    "DEFAULT_MODEL_NAME",
    "ApiKey",
    "AzureRealtimeModel",
    "ConnectionTarget",
    "Handshake",
    "MemoryWire",
    "OpenAIRealtimeModel",
    "OpenAIRealtimeSIPModel",
    "OpenAIRealtimeWebSocketModel",
    "RealtimeModel",
    "TransportConfig",
    "Wire",
    "WireClosed",
    "WireStatistics",
    "get_api_key",
    "memory_wire_pair",
]
