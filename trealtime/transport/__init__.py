"""Connections: the wire seam, its implementations, and the models that dial them.

Nothing here knows the Realtime protocol beyond its URLs and headers. The modules that need a WebSocket library
are imported by their own names: `trealtime.transport.dial` for clients, `trealtime.transport.websocket` for servers.
"""

from trealtime.transport.config import TransportConfig
from trealtime.transport.memory import MemoryWire, memory_wire_pair
from trealtime.transport.models import (
    DEFAULT_MODEL_NAME,
    AzureRealtimeModel,
    ConnectionTarget,
    Handshake,
    OpenAIRealtimeModel,
    OpenAIRealtimeSIPModel,
    OpenAIRealtimeWebSocketModel,
    RealtimeModel,
)
from trealtime.transport.request import ApiKey, get_api_key
from trealtime.transport.wire import BatchWire, ImmediateWire, Wire, WireClosed, WireStatistics

__all__ = [
    "DEFAULT_MODEL_NAME",
    "ApiKey",
    "AzureRealtimeModel",
    "BatchWire",
    "ConnectionTarget",
    "Handshake",
    "ImmediateWire",
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
