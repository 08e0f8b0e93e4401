"""Tools to test voice agents, and wires and endpoints of your own."""

from trealtime.testing.assertions import absent, anything, called, heard, interrupted_at, not_called, said
from trealtime.testing.audio_device import FakeAudioDevice
from trealtime.testing.browser import FakePage, open_fake_page
from trealtime.testing.endpoints import FarSide, MemoryEndpoint, check_endpoint
from trealtime.testing.manual_server import ManualServer, ServerConnection, open_manual_server
from trealtime.testing.schedules import CancelHere, cancel_at_each_checkpoint, run_deterministically
from trealtime.testing.script import (
    RealtimeScriptError,
    ServerEvents,
    UnconsumedRealtimeSteps,
    UnexpectedRealtimeSend,
    a_function_call,
    a_response,
    a_transcript,
    a_user_turn,
    accept,
    close,
    emit,
    expect,
    the_end_of_the_response,
    user_begins_to_speak,
    wait,
)
from trealtime.testing.scripted_model import RealtimeConnectCall, RealtimeStep, ScriptedRealtimeModel
from trealtime.testing.scripted_server import ScriptedServer, open_scripted_server
from trealtime.testing.twilio import ClearedBuffer, FakeTwilio, HeardFrame, open_fake_twilio
from trealtime.testing.wires import check_wire, memory_wire_pair, open_websocket_wire_pair

__all__ = [
    "CancelHere",
    "ClearedBuffer",
    "FakeAudioDevice",
    "FakePage",
    "FakeTwilio",
    "FarSide",
    "HeardFrame",
    "ManualServer",
    "MemoryEndpoint",
    "RealtimeConnectCall",
    "RealtimeScriptError",
    "RealtimeStep",
    "ScriptedRealtimeModel",
    "ScriptedServer",
    "ServerConnection",
    "ServerEvents",
    "UnconsumedRealtimeSteps",
    "UnexpectedRealtimeSend",
    "a_function_call",
    "a_response",
    "a_transcript",
    "a_user_turn",
    "absent",
    "accept",
    "anything",
    "called",
    "cancel_at_each_checkpoint",
    "check_endpoint",
    "check_wire",
    "close",
    "emit",
    "expect",
    "heard",
    "interrupted_at",
    "memory_wire_pair",
    "not_called",
    "open_fake_page",
    "open_fake_twilio",
    "open_manual_server",
    "open_scripted_server",
    "open_websocket_wire_pair",
    "run_deterministically",
    "said",
    "the_end_of_the_response",
    "user_begins_to_speak",
    "wait",
]
