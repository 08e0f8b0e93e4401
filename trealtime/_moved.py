"""Names that stood in `trealtime` before 0.2 and have a module, or another name, now. They go from there in 1.0."""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trealtime import Subscription, SubscriptionStatistics
    from trealtime.agents import InputGuardrailResult as InputGuardrailResult
    from trealtime.agents import OutputGuardrailResult as OutputGuardrailResult
    from trealtime.audio import G711_ALAW as G711_ALAW
    from trealtime.audio import G711_ULAW as G711_ULAW
    from trealtime.audio import PCM16_24K as PCM16_24K
    from trealtime.audio import AudioFormat as AudioFormat
    from trealtime.audio import parse_audio_format as parse_audio_format
    from trealtime.audio import pcm16 as pcm16
    from trealtime.calls import ClientSecret as ClientSecret
    from trealtime.calls import IncomingCall as IncomingCall
    from trealtime.calls import OtherWebhook as OtherWebhook
    from trealtime.calls import RealtimeRestClient as RealtimeRestClient
    from trealtime.calls import RealtimeWebhooks as RealtimeWebhooks
    from trealtime.calls import SipHeader as SipHeader
    from trealtime.endpoints import AudioLevels as AudioLevels
    from trealtime.endpoints import BrowserStatistics as BrowserStatistics
    from trealtime.endpoints import ConsoleStatistics as ConsoleStatistics
    from trealtime.endpoints import EchoGateStatistics as EchoGateStatistics
    from trealtime.endpoints import EndpointLink as EndpointLink
    from trealtime.endpoints import SoundDevice as SoundDevice
    from trealtime.endpoints import TwilioCall as TwilioCall
    from trealtime.endpoints import TwilioStatistics as TwilioStatistics
    from trealtime.endpoints import check_twilio_signature as check_twilio_signature
    from trealtime.endpoints import list_devices as list_devices
    from trealtime.errors import AudioDeviceError as AudioDeviceError
    from trealtime.errors import AudioFormatError as AudioFormatError
    from trealtime.errors import BrowserStreamError as BrowserStreamError
    from trealtime.errors import CallGone as CallGone
    from trealtime.errors import EndpointFailed as EndpointFailed
    from trealtime.errors import GuardrailFailed as GuardrailFailed
    from trealtime.errors import InputGuardrailTripwireTriggered as InputGuardrailTripwireTriggered
    from trealtime.errors import MCPServerFailed as MCPServerFailed
    from trealtime.errors import MCPToolError as MCPToolError
    from trealtime.errors import MissingApiKey as MissingApiKey
    from trealtime.errors import MissingDependency as MissingDependency
    from trealtime.errors import ProtocolError as ProtocolError
    from trealtime.errors import RateLimited as RateLimited
    from trealtime.errors import RecordingError as RecordingError
    from trealtime.errors import RequestFailed as RequestFailed
    from trealtime.errors import ScenarioError as ScenarioError
    from trealtime.errors import SessionClosed as SessionClosed
    from trealtime.errors import SessionNotOpen as SessionNotOpen
    from trealtime.errors import SettingsProblem as SettingsProblem
    from trealtime.errors import SettingsRefused as SettingsRefused
    from trealtime.errors import SlowConsumer as SlowConsumer
    from trealtime.errors import ToolArgumentsError as ToolArgumentsError
    from trealtime.errors import ToolFailed as ToolFailed
    from trealtime.errors import ToolInputGuardrailTripwireTriggered as ToolInputGuardrailTripwireTriggered
    from trealtime.errors import ToolOutputGuardrailTripwireTriggered as ToolOutputGuardrailTripwireTriggered
    from trealtime.errors import ToolTimedOut as ToolTimedOut
    from trealtime.errors import TwilioStreamError as TwilioStreamError
    from trealtime.errors import WebhookRefused as WebhookRefused
    from trealtime.events import AudioChunk as AudioChunk
    from trealtime.events import EventInfo as EventInfo
    from trealtime.events import LimitUse as LimitUse
    from trealtime.events import ServerErrorInfo as ServerErrorInfo
    from trealtime.events import SettingsDifference as SettingsDifference
    from trealtime.items import AudioPart as AudioPart
    from trealtime.items import ImagePart as ImagePart
    from trealtime.items import InputImage as InputImage
    from trealtime.items import OtherItem as OtherItem
    from trealtime.items import TextPart as TextPart
    from trealtime.items import UserMessage as UserMessage
    from trealtime.items import dump_history as dump_history
    from trealtime.items import image_part as image_part
    from trealtime.items import load_history as load_history
    from trealtime.items import wire_items as wire_items
    from trealtime.mcp import HostedTool as HostedTool
    from trealtime.mcp import MCPServer as MCPServer
    from trealtime.mcp import ToolFilterContext as ToolFilterContext
    from trealtime.mcp import ToolFilterStatic as ToolFilterStatic
    from trealtime.mcp import create_static_tool_filter as create_static_tool_filter
    from trealtime.settings import NOT_SET as NOT_SET
    from trealtime.settings import AudioInputSettings as AudioInputSettings
    from trealtime.settings import AudioOutputSettings as AudioOutputSettings
    from trealtime.settings import AudioSettings as AudioSettings
    from trealtime.settings import CustomVoice as CustomVoice
    from trealtime.settings import EmulatorLimits as EmulatorLimits
    from trealtime.settings import GuardrailsSettings as GuardrailsSettings
    from trealtime.settings import MCPConfig as MCPConfig
    from trealtime.settings import MCPServerStdioParams as MCPServerStdioParams
    from trealtime.settings import MCPServerStreamableHttpParams as MCPServerStreamableHttpParams
    from trealtime.settings import ModelPrices as ModelPrices
    from trealtime.settings import NoiseReductionSettings as NoiseReductionSettings
    from trealtime.settings import PromptSettings as PromptSettings
    from trealtime.settings import ReasoningSettings as ReasoningSettings
    from trealtime.settings import ResponseOptions as ResponseOptions
    from trealtime.settings import SessionLimits as SessionLimits
    from trealtime.settings import SessionSettings as SessionSettings
    from trealtime.settings import TokenLimits as TokenLimits
    from trealtime.settings import ToolExecution as ToolExecution
    from trealtime.settings import TracingSettings as TracingSettings
    from trealtime.settings import TranscriptionSettings as TranscriptionSettings
    from trealtime.settings import TransportConfig as TransportConfig
    from trealtime.settings import TruncationSettings as TruncationSettings
    from trealtime.settings import TurnDetectionSettings as TurnDetectionSettings
    from trealtime.tools import ToolErrorFormatterArgs as ToolErrorFormatterArgs
    from trealtime.tools import default_tool_error as default_tool_error
    from trealtime.typing import AfterTool as AfterTool
    from trealtime.typing import ApprovalDecision as ApprovalDecision
    from trealtime.typing import ApprovalHandler as ApprovalHandler
    from trealtime.typing import ItemStatus as ItemStatus
    from trealtime.typing import LimitName as LimitName
    from trealtime.typing import NeedsApproval as NeedsApproval
    from trealtime.typing import OnInterrupt as OnInterrupt
    from trealtime.typing import RequireApproval as RequireApproval
    from trealtime.typing import ResponseStatus as ResponseStatus
    from trealtime.typing import ToolEnabled as ToolEnabled
    from trealtime.typing import ToolErrorFormatter as ToolErrorFormatter
    from trealtime.typing import ToolErrorFunction as ToolErrorFunction
    from trealtime.typing import ToolErrorKind as ToolErrorKind
    from trealtime.typing import ToolFilter as ToolFilter
    from trealtime.usage import Cost as Cost
    from trealtime.usage import TranscriptionUsage as TranscriptionUsage
    from trealtime.usage import Usage as Usage

    Feed = Subscription
    FeedStatistics = SubscriptionStatistics

_TABLE: Final = {
    "settings": """
        AudioInputSettings AudioOutputSettings AudioSettings CustomVoice EmulatorLimits GuardrailsSettings
        MCPConfig MCPServerStdioParams MCPServerStreamableHttpParams ModelPrices NOT_SET NoiseReductionSettings
        PromptSettings ReasoningSettings ResponseOptions SessionLimits SessionSettings TokenLimits ToolExecution
        TracingSettings TranscriptionSettings TransportConfig TruncationSettings TurnDetectionSettings
    """,
    "typing": """
        AfterTool ApprovalDecision ApprovalHandler ItemStatus LimitName NeedsApproval OnInterrupt
        RequireApproval ResponseStatus ToolEnabled ToolErrorFormatter ToolErrorFunction ToolErrorKind ToolFilter
    """,
    "events": "AudioChunk EventInfo LimitUse ServerErrorInfo SettingsDifference",
    "items": """
        AudioPart ImagePart InputImage OtherItem TextPart UserMessage dump_history image_part load_history
        wire_items
    """,
    "usage": "Cost TranscriptionUsage Usage",
    "tools": "ToolErrorFormatterArgs default_tool_error",
    "agents": "InputGuardrailResult OutputGuardrailResult",
    "mcp": "HostedTool MCPServer ToolFilterContext ToolFilterStatic create_static_tool_filter",
    "endpoints": """
        AudioLevels BrowserStatistics ConsoleStatistics EchoGateStatistics EndpointLink SoundDevice TwilioCall
        TwilioStatistics check_twilio_signature list_devices
    """,
    "audio": "AudioFormat G711_ALAW G711_ULAW PCM16_24K parse_audio_format pcm16",
    "calls": "ClientSecret IncomingCall OtherWebhook RealtimeRestClient RealtimeWebhooks SipHeader",
    "errors": """
        AudioDeviceError AudioFormatError BrowserStreamError CallGone EndpointFailed GuardrailFailed
        InputGuardrailTripwireTriggered MCPServerFailed MCPToolError MissingApiKey MissingDependency
        ProtocolError RateLimited RecordingError RequestFailed ScenarioError SessionClosed SessionNotOpen
        SettingsProblem SettingsRefused SlowConsumer ToolArgumentsError ToolFailed
        ToolInputGuardrailTripwireTriggered ToolOutputGuardrailTripwireTriggered ToolTimedOut TwilioStreamError
        WebhookRefused
    """,
}

HOMES: Final = {name: f"trealtime.{module}" for module, names in _TABLE.items() for name in names.split()}
"""The module that has each name now."""


RENAMED: Final = {"Feed": "Subscription", "FeedStatistics": "SubscriptionStatistics"}
"""Names of `trealtime` that have another name now."""


def load(name: str, *, stacklevel: int) -> object:
    """Return the value of a name that has moved or was renamed. Warn where to find it (DeprecationWarning)."""
    home, now = ("trealtime", RENAMED[name]) if name in RENAMED else (HOMES[name], name)
    warnings.warn(
        f"trealtime.{name} has moved: from {home} import {now} (the old name goes in 1.0)",
        DeprecationWarning,
        stacklevel=stacklevel + 1,
    )
    value: object = getattr(importlib.import_module(home), now)
    return value
