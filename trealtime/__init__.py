"""Realtime voice agents for Trio, over the OpenAI Realtime protocol.

Every public name is here, and is imported from its module when it is first used: ``import trealtime`` alone costs next
to nothing, and a program that runs no emulator does not load one. A name stands here twice, for type checkers as an
import, for the interpreter in a table of its module; a test keeps the two the same.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from trealtime._version import __version__ as __version__

if TYPE_CHECKING:
    from trealtime._core.barge_in import BargeIn as BargeIn
    from trealtime._core.effects import ApprovalRequest as ApprovalRequest
    from trealtime._core.effects import ResponseResult as ResponseResult
    from trealtime._core.guardrail_state import GuardrailCounters as GuardrailCounters
    from trealtime._core.guardrail_state import HoldDelay as HoldDelay
    from trealtime._core.limits import SessionLimits as SessionLimits
    from trealtime._core.prices import ModelPrices as ModelPrices
    from trealtime._core.saved_history import dump_history as dump_history
    from trealtime._core.saved_history import load_history as load_history
    from trealtime._core.saved_history import wire_items as wire_items
    from trealtime._session.approval_handler import ApprovalDecision as ApprovalDecision
    from trealtime._session.approval_handler import ApprovalHandler as ApprovalHandler
    from trealtime._session.approval_handler import Approve as Approve
    from trealtime._session.approval_handler import Reject as Reject
    from trealtime._session.attachment import Attachment as Attachment
    from trealtime._session.attachment import AttachmentStatistics as AttachmentStatistics
    from trealtime._session.config import GuardrailsSettings as GuardrailsSettings
    from trealtime._session.config import RealtimeModelConfig as RealtimeModelConfig
    from trealtime._session.config import RealtimeRunConfig as RealtimeRunConfig
    from trealtime._session.config import ToolExecution as ToolExecution
    from trealtime._session.lifetime import CloseOutcome as CloseOutcome
    from trealtime._session.model_shim import RealtimeModelSendAudio as RealtimeModelSendAudio
    from trealtime._session.model_shim import RealtimeModelSendInterrupt as RealtimeModelSendInterrupt
    from trealtime._session.model_shim import RealtimeModelSendRawMessage as RealtimeModelSendRawMessage
    from trealtime._session.model_shim import RealtimeModelSendSessionUpdate as RealtimeModelSendSessionUpdate
    from trealtime._session.model_shim import RealtimeModelSendUserInput as RealtimeModelSendUserInput
    from trealtime._session.playback_tracker import RealtimePlaybackState as RealtimePlaybackState
    from trealtime._session.playback_tracker import RealtimePlaybackTracker as RealtimePlaybackTracker
    from trealtime._session.response import ResponseOptions as ResponseOptions
    from trealtime._session.response import SessionResponse as SessionResponse
    from trealtime._session.response import Turn as Turn
    from trealtime._session.runner import RealtimeRunner as RealtimeRunner
    from trealtime._session.runner import serve_realtime_session as serve_realtime_session
    from trealtime._session.session import RealtimeSession as RealtimeSession
    from trealtime._session.statistics import SessionStatistics as SessionStatistics
    from trealtime._session.subscription import Subscription as Subscription
    from trealtime._session.subscription import SubscriptionStatistics as SubscriptionStatistics
    from trealtime.agents.agent import RealtimeAgent as RealtimeAgent
    from trealtime.agents.guardrails import GuardrailFunctionOutput as GuardrailFunctionOutput
    from trealtime.agents.guardrails import InputGuardrail as InputGuardrail
    from trealtime.agents.guardrails import InputGuardrailResult as InputGuardrailResult
    from trealtime.agents.guardrails import InputGuardrailTripwireTriggered as InputGuardrailTripwireTriggered
    from trealtime.agents.guardrails import OutputGuardrail as OutputGuardrail
    from trealtime.agents.guardrails import OutputGuardrailResult as OutputGuardrailResult
    from trealtime.agents.guardrails import input_guardrail as input_guardrail
    from trealtime.agents.guardrails import output_guardrail as output_guardrail
    from trealtime.agents.handoffs import Handoff as Handoff
    from trealtime.agents.handoffs import realtime_handoff as realtime_handoff
    from trealtime.agents.hooks import RealtimeAgentHooks as RealtimeAgentHooks
    from trealtime.agents.hooks import RealtimeRunHooks as RealtimeRunHooks
    from trealtime.audio.formats import G711_ALAW as G711_ALAW
    from trealtime.audio.formats import G711_ULAW as G711_ULAW
    from trealtime.audio.formats import PCM16_24K as PCM16_24K
    from trealtime.audio.formats import AudioFormat as AudioFormat
    from trealtime.audio.formats import parse_audio_format as parse_audio_format
    from trealtime.audio.formats import pcm16 as pcm16
    from trealtime.calls.rest import ClientSecret as ClientSecret
    from trealtime.calls.rest import RealtimeRestClient as RealtimeRestClient
    from trealtime.calls.webhooks import IncomingCall as IncomingCall
    from trealtime.calls.webhooks import OtherWebhook as OtherWebhook
    from trealtime.calls.webhooks import RealtimeWebhooks as RealtimeWebhooks
    from trealtime.calls.webhooks import SipHeader as SipHeader
    from trealtime.emulator.options import EmulatorLimits as EmulatorLimits
    from trealtime.emulator.server import Emulator as Emulator
    from trealtime.emulator.server import open_emulator as open_emulator
    from trealtime.endpoints.audio_device import SoundDevice as SoundDevice
    from trealtime.endpoints.audio_device import list_devices as list_devices
    from trealtime.endpoints.browser.endpoint import BrowserEndpoint as BrowserEndpoint
    from trealtime.endpoints.browser.endpoint import BrowserStatistics as BrowserStatistics
    from trealtime.endpoints.browser.endpoint import accept_browser_stream as accept_browser_stream
    from trealtime.endpoints.console import AudioLevels as AudioLevels
    from trealtime.endpoints.console import ConsoleEndpoint as ConsoleEndpoint
    from trealtime.endpoints.console import ConsoleStatistics as ConsoleStatistics
    from trealtime.endpoints.echo_gate import EchoGateStatistics as EchoGateStatistics
    from trealtime.endpoints.endpoint import Endpoint as Endpoint
    from trealtime.endpoints.endpoint import EndpointLink as EndpointLink
    from trealtime.endpoints.twilio.endpoint import TwilioEndpoint as TwilioEndpoint
    from trealtime.endpoints.twilio.endpoint import TwilioStatistics as TwilioStatistics
    from trealtime.endpoints.twilio.endpoint import accept_twilio_stream as accept_twilio_stream
    from trealtime.endpoints.twilio.signature import check_twilio_signature as check_twilio_signature
    from trealtime.endpoints.twilio.stream import TwilioCall as TwilioCall
    from trealtime.endpoints.wav import WavEndpoint as WavEndpoint
    from trealtime.errors import AudioDeviceError as AudioDeviceError
    from trealtime.errors import AudioFormatError as AudioFormatError
    from trealtime.errors import BrowserStreamError as BrowserStreamError
    from trealtime.errors import CallGone as CallGone
    from trealtime.errors import ConnectFailed as ConnectFailed
    from trealtime.errors import ConnectionLost as ConnectionLost
    from trealtime.errors import EndpointFailed as EndpointFailed
    from trealtime.errors import GuardrailFailed as GuardrailFailed
    from trealtime.errors import MCPServerFailed as MCPServerFailed
    from trealtime.errors import MCPToolError as MCPToolError
    from trealtime.errors import MissingApiKey as MissingApiKey
    from trealtime.errors import MissingDependency as MissingDependency
    from trealtime.errors import ProtocolError as ProtocolError
    from trealtime.errors import RateLimited as RateLimited
    from trealtime.errors import RecordingError as RecordingError
    from trealtime.errors import RequestFailed as RequestFailed
    from trealtime.errors import ScenarioError as ScenarioError
    from trealtime.errors import ServerRefused as ServerRefused
    from trealtime.errors import SessionClosed as SessionClosed
    from trealtime.errors import SessionNotOpen as SessionNotOpen
    from trealtime.errors import SettingsError as SettingsError
    from trealtime.errors import SettingsProblem as SettingsProblem
    from trealtime.errors import SettingsRefused as SettingsRefused
    from trealtime.errors import SlowConsumer as SlowConsumer
    from trealtime.errors import ToolArgumentsError as ToolArgumentsError
    from trealtime.errors import ToolFailed as ToolFailed
    from trealtime.errors import ToolTimedOut as ToolTimedOut
    from trealtime.errors import TrealtimeError as TrealtimeError
    from trealtime.errors import TwilioStreamError as TwilioStreamError
    from trealtime.errors import WebhookRefused as WebhookRefused
    from trealtime.events import AudioChunk as AudioChunk
    from trealtime.events import EventInfo as EventInfo
    from trealtime.events import LimitName as LimitName
    from trealtime.events import LimitUse as LimitUse
    from trealtime.events import RealtimeAgentEndEvent as RealtimeAgentEndEvent
    from trealtime.events import RealtimeAgentStartEvent as RealtimeAgentStartEvent
    from trealtime.events import RealtimeAudio as RealtimeAudio
    from trealtime.events import RealtimeAudioDropped as RealtimeAudioDropped
    from trealtime.events import RealtimeAudioEnd as RealtimeAudioEnd
    from trealtime.events import RealtimeAudioInterrupted as RealtimeAudioInterrupted
    from trealtime.events import RealtimeDtmf as RealtimeDtmf
    from trealtime.events import RealtimeError as RealtimeError
    from trealtime.events import RealtimeGuardrailTripped as RealtimeGuardrailTripped
    from trealtime.events import RealtimeHandoffEvent as RealtimeHandoffEvent
    from trealtime.events import RealtimeHistoryAdded as RealtimeHistoryAdded
    from trealtime.events import RealtimeHistoryUpdated as RealtimeHistoryUpdated
    from trealtime.events import RealtimeInputAudioTimeoutTriggered as RealtimeInputAudioTimeoutTriggered
    from trealtime.events import RealtimeInterruptionConfirmed as RealtimeInterruptionConfirmed
    from trealtime.events import RealtimeInterruptionDismissed as RealtimeInterruptionDismissed
    from trealtime.events import RealtimeInterruptionPending as RealtimeInterruptionPending
    from trealtime.events import RealtimeLimitApproached as RealtimeLimitApproached
    from trealtime.events import RealtimeLimitReached as RealtimeLimitReached
    from trealtime.events import RealtimeRawModelEvent as RealtimeRawModelEvent
    from trealtime.events import RealtimeSessionEvent as RealtimeSessionEvent
    from trealtime.events import RealtimeSettingsMismatch as RealtimeSettingsMismatch
    from trealtime.events import RealtimeSpeechStarted as RealtimeSpeechStarted
    from trealtime.events import RealtimeSpeechStopped as RealtimeSpeechStopped
    from trealtime.events import RealtimeTextDelta as RealtimeTextDelta
    from trealtime.events import RealtimeToolApprovalDropped as RealtimeToolApprovalDropped
    from trealtime.events import RealtimeToolApprovalRequired as RealtimeToolApprovalRequired
    from trealtime.events import RealtimeToolEnd as RealtimeToolEnd
    from trealtime.events import RealtimeToolProgress as RealtimeToolProgress
    from trealtime.events import RealtimeToolStart as RealtimeToolStart
    from trealtime.events import RealtimeTranscriptDelta as RealtimeTranscriptDelta
    from trealtime.events import ResponseStatus as ResponseStatus
    from trealtime.events import ServerErrorInfo as ServerErrorInfo
    from trealtime.events import SettingsDifference as SettingsDifference
    from trealtime.items import AssistantAudio as AssistantAudio
    from trealtime.items import AssistantMessageItem as AssistantMessageItem
    from trealtime.items import AssistantText as AssistantText
    from trealtime.items import InputAudio as InputAudio
    from trealtime.items import InputImage as InputImage
    from trealtime.items import InputText as InputText
    from trealtime.items import ItemStatus as ItemStatus
    from trealtime.items import OtherItem as OtherItem
    from trealtime.items import RealtimeItem as RealtimeItem
    from trealtime.items import RealtimeToolCallItem as RealtimeToolCallItem
    from trealtime.items import SystemMessageItem as SystemMessageItem
    from trealtime.items import UserMessageItem as UserMessageItem
    from trealtime.mcp.hosted import HostedMCPTool as HostedMCPTool
    from trealtime.mcp.hosted import HostedTool as HostedTool
    from trealtime.mcp.servers import MCPConfig as MCPConfig
    from trealtime.mcp.servers import MCPServer as MCPServer
    from trealtime.mcp.servers import MCPServerStdio as MCPServerStdio
    from trealtime.mcp.servers import MCPServerStdioParams as MCPServerStdioParams
    from trealtime.mcp.servers import MCPServerStreamableHttp as MCPServerStreamableHttp
    from trealtime.mcp.servers import MCPServerStreamableHttpParams as MCPServerStreamableHttpParams
    from trealtime.mcp.servers import RequireApproval as RequireApproval
    from trealtime.mcp.servers import ToolFilter as ToolFilter
    from trealtime.mcp.servers import ToolFilterContext as ToolFilterContext
    from trealtime.mcp.servers import ToolFilterStatic as ToolFilterStatic
    from trealtime.mcp.servers import create_static_tool_filter as create_static_tool_filter
    from trealtime.protocol.settings import AudioInputSettings as AudioInputSettings
    from trealtime.protocol.settings import AudioOutputSettings as AudioOutputSettings
    from trealtime.protocol.settings import AudioSettings as AudioSettings
    from trealtime.protocol.settings import CustomVoice as CustomVoice
    from trealtime.protocol.settings import NoiseReductionSettings as NoiseReductionSettings
    from trealtime.protocol.settings import PromptSettings as PromptSettings
    from trealtime.protocol.settings import ReasoningSettings as ReasoningSettings
    from trealtime.protocol.settings import SessionSettings as SessionSettings
    from trealtime.protocol.settings import TokenLimits as TokenLimits
    from trealtime.protocol.settings import TracingSettings as TracingSettings
    from trealtime.protocol.settings import TranscriptionSettings as TranscriptionSettings
    from trealtime.protocol.settings import TruncationSettings as TruncationSettings
    from trealtime.protocol.settings import TurnDetectionSettings as TurnDetectionSettings
    from trealtime.protocol.user_input import AudioPart as AudioPart
    from trealtime.protocol.user_input import ImagePart as ImagePart
    from trealtime.protocol.user_input import TextPart as TextPart
    from trealtime.protocol.user_input import UserMessage as UserMessage
    from trealtime.protocol.user_input import image_part as image_part
    from trealtime.protocol.validation import NOT_SET as NOT_SET
    from trealtime.tools.context import RunContext as RunContext
    from trealtime.tools.context import RunContextWrapper as RunContextWrapper
    from trealtime.tools.context import ToolContext as ToolContext
    from trealtime.tools.function_tool import AfterTool as AfterTool
    from trealtime.tools.function_tool import FunctionTool as FunctionTool
    from trealtime.tools.function_tool import NeedsApproval as NeedsApproval
    from trealtime.tools.function_tool import OnInterrupt as OnInterrupt
    from trealtime.tools.function_tool import ToolEnabled as ToolEnabled
    from trealtime.tools.function_tool import ToolErrorFunction as ToolErrorFunction
    from trealtime.tools.function_tool import default_tool_error as default_tool_error
    from trealtime.tools.function_tool import function_tool as function_tool
    from trealtime.tools.guardrails import ToolGuardrailFunctionOutput as ToolGuardrailFunctionOutput
    from trealtime.tools.guardrails import ToolInputGuardrail as ToolInputGuardrail
    from trealtime.tools.guardrails import ToolInputGuardrailData as ToolInputGuardrailData
    from trealtime.tools.guardrails import ToolInputGuardrailTripwireTriggered as ToolInputGuardrailTripwireTriggered
    from trealtime.tools.guardrails import ToolOutputGuardrail as ToolOutputGuardrail
    from trealtime.tools.guardrails import ToolOutputGuardrailData as ToolOutputGuardrailData
    from trealtime.tools.guardrails import (
        ToolOutputGuardrailTripwireTriggered as ToolOutputGuardrailTripwireTriggered,
    )
    from trealtime.tools.guardrails import tool_input_guardrail as tool_input_guardrail
    from trealtime.tools.guardrails import tool_output_guardrail as tool_output_guardrail
    from trealtime.tools.invocation import ToolErrorFormatter as ToolErrorFormatter
    from trealtime.tools.invocation import ToolErrorFormatterArgs as ToolErrorFormatterArgs
    from trealtime.tools.invocation import ToolErrorKind as ToolErrorKind
    from trealtime.transport.azure import AzureRealtimeModel as AzureRealtimeModel
    from trealtime.transport.config import TransportConfig as TransportConfig
    from trealtime.transport.models import OpenAIRealtimeModel as OpenAIRealtimeModel
    from trealtime.transport.models import OpenAIRealtimeSIPModel as OpenAIRealtimeSIPModel
    from trealtime.transport.models import OpenAIRealtimeWebSocketModel as OpenAIRealtimeWebSocketModel
    from trealtime.transport.models import RealtimeModel as RealtimeModel
    from trealtime.usage import Cost as Cost
    from trealtime.usage import TranscriptionUsage as TranscriptionUsage
    from trealtime.usage import Usage as Usage

_NAMES = {
    "agents.agent": "RealtimeAgent",
    "tools.context": "RunContext RunContextWrapper ToolContext",
    "agents.guardrails": """
        GuardrailFunctionOutput InputGuardrail InputGuardrailResult InputGuardrailTripwireTriggered
        OutputGuardrail OutputGuardrailResult
        input_guardrail output_guardrail
    """,
    "agents.handoffs": "Handoff realtime_handoff",
    "agents.hooks": "RealtimeAgentHooks RealtimeRunHooks",
    "tools.guardrails": """
        ToolGuardrailFunctionOutput ToolInputGuardrail ToolInputGuardrailData ToolInputGuardrailTripwireTriggered
        ToolOutputGuardrail ToolOutputGuardrailTripwireTriggered
        ToolOutputGuardrailData tool_input_guardrail tool_output_guardrail
    """,
    "tools.invocation": "ToolErrorFormatter ToolErrorFormatterArgs ToolErrorKind",
    "tools.function_tool": """
        AfterTool FunctionTool NeedsApproval OnInterrupt ToolEnabled ToolErrorFunction default_tool_error
        function_tool
    """,
    "audio.formats": "AudioFormat G711_ALAW G711_ULAW PCM16_24K parse_audio_format pcm16",
    "calls.rest": "ClientSecret RealtimeRestClient",
    "calls.webhooks": "IncomingCall OtherWebhook RealtimeWebhooks SipHeader",
    "_core.barge_in": "BargeIn",
    "_core.guardrail_state": "GuardrailCounters HoldDelay",
    "_core.effects": "ApprovalRequest ResponseResult",
    "events": """
        AudioChunk EventInfo LimitName LimitUse RealtimeAgentEndEvent RealtimeAgentStartEvent RealtimeAudio
        RealtimeAudioDropped RealtimeAudioEnd RealtimeAudioInterrupted RealtimeDtmf RealtimeError
        RealtimeGuardrailTripped RealtimeHandoffEvent RealtimeHistoryAdded RealtimeHistoryUpdated
        RealtimeInputAudioTimeoutTriggered RealtimeInterruptionConfirmed RealtimeInterruptionDismissed
        RealtimeInterruptionPending RealtimeLimitApproached RealtimeLimitReached RealtimeRawModelEvent
        RealtimeSessionEvent RealtimeSettingsMismatch RealtimeSpeechStarted RealtimeSpeechStopped
        RealtimeTextDelta RealtimeToolApprovalDropped RealtimeToolApprovalRequired RealtimeToolEnd
        RealtimeToolProgress RealtimeToolStart RealtimeTranscriptDelta ResponseStatus ServerErrorInfo
        SettingsDifference
    """,
    "items": """
        AssistantAudio AssistantMessageItem AssistantText InputAudio InputImage InputText ItemStatus OtherItem
        RealtimeItem RealtimeToolCallItem SystemMessageItem UserMessageItem
    """,
    "_core.limits": "SessionLimits",
    "_core.prices": "ModelPrices",
    "_core.saved_history": "dump_history load_history wire_items",
    "usage": "Cost TranscriptionUsage Usage",
    "emulator.options": "EmulatorLimits",
    "emulator.server": "Emulator open_emulator",
    "endpoints.browser.endpoint": "BrowserEndpoint BrowserStatistics accept_browser_stream",
    "endpoints.console": "AudioLevels ConsoleEndpoint ConsoleStatistics",
    "endpoints.echo_gate": "EchoGateStatistics",
    "endpoints.endpoint": "Endpoint EndpointLink",
    "endpoints.audio_device": "SoundDevice list_devices",
    "endpoints.twilio.endpoint": "TwilioEndpoint TwilioStatistics accept_twilio_stream",
    "endpoints.twilio.signature": "check_twilio_signature",
    "endpoints.twilio.stream": "TwilioCall",
    "endpoints.wav": "WavEndpoint",
    "errors": """
        AudioDeviceError AudioFormatError BrowserStreamError CallGone ConnectFailed ConnectionLost
        EndpointFailed GuardrailFailed MCPServerFailed MCPToolError
        MissingApiKey MissingDependency ProtocolError RateLimited RecordingError RequestFailed ScenarioError
        ServerRefused SessionClosed SessionNotOpen SettingsError SettingsProblem SettingsRefused SlowConsumer
        ToolArgumentsError ToolFailed
        ToolTimedOut TrealtimeError TwilioStreamError WebhookRefused
    """,
    "mcp.hosted": "HostedMCPTool HostedTool",
    "mcp.servers": """
        MCPConfig MCPServer MCPServerStdio MCPServerStdioParams MCPServerStreamableHttp
        MCPServerStreamableHttpParams RequireApproval ToolFilter ToolFilterContext ToolFilterStatic
        create_static_tool_filter
    """,
    "protocol.settings": """
        AudioInputSettings AudioOutputSettings AudioSettings CustomVoice NoiseReductionSettings PromptSettings
        ReasoningSettings SessionSettings TokenLimits TracingSettings TranscriptionSettings TruncationSettings
        TurnDetectionSettings
    """,
    "protocol.user_input": "AudioPart ImagePart TextPart UserMessage image_part",
    "protocol.validation": "NOT_SET",
    "_session.approval_handler": "ApprovalDecision ApprovalHandler Approve Reject",
    "_session.attachment": "Attachment AttachmentStatistics",
    "_session.config": "GuardrailsSettings RealtimeModelConfig RealtimeRunConfig ToolExecution",
    "_session.subscription": "Subscription SubscriptionStatistics",
    "_session.model_shim": """
        RealtimeModelSendAudio RealtimeModelSendInterrupt RealtimeModelSendRawMessage
        RealtimeModelSendSessionUpdate RealtimeModelSendUserInput
    """,
    "_session.lifetime": "CloseOutcome",
    "_session.playback_tracker": "RealtimePlaybackState RealtimePlaybackTracker",
    "_session.response": "ResponseOptions SessionResponse Turn",
    "_session.runner": "RealtimeRunner serve_realtime_session",
    "_session.session": "RealtimeSession",
    "_session.statistics": "SessionStatistics",
    "transport.azure": "AzureRealtimeModel",
    "transport.config": "TransportConfig",
    "transport.models": "OpenAIRealtimeModel OpenAIRealtimeSIPModel OpenAIRealtimeWebSocketModel RealtimeModel",
}
_HOMES = {name: f"trealtime.{module}" for module, names in _NAMES.items() for name in names.split()}

if not TYPE_CHECKING:  # to checkers, what is imported as itself is public
    __all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562) and keep it, so that the second use costs nothing."""
    module = _HOMES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
