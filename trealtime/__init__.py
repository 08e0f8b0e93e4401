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
    from trealtime.agents.agent import RealtimeAgent as RealtimeAgent
    from trealtime.agents.context import RunContext as RunContext
    from trealtime.agents.context import RunContextWrapper as RunContextWrapper
    from trealtime.agents.context import ToolContext as ToolContext
    from trealtime.agents.guardrails import GuardrailFunctionOutput as GuardrailFunctionOutput
    from trealtime.agents.guardrails import InputGuardrail as InputGuardrail
    from trealtime.agents.guardrails import InputGuardrailResult as InputGuardrailResult
    from trealtime.agents.guardrails import OutputGuardrail as OutputGuardrail
    from trealtime.agents.guardrails import OutputGuardrailResult as OutputGuardrailResult
    from trealtime.agents.guardrails import input_guardrail as input_guardrail
    from trealtime.agents.guardrails import output_guardrail as output_guardrail
    from trealtime.agents.handoffs import Handoff as Handoff
    from trealtime.agents.handoffs import realtime_handoff as realtime_handoff
    from trealtime.agents.hooks import RealtimeAgentHooks as RealtimeAgentHooks
    from trealtime.agents.hooks import RealtimeRunHooks as RealtimeRunHooks
    from trealtime.agents.tool_guardrails import ToolGuardrailFunctionOutput as ToolGuardrailFunctionOutput
    from trealtime.agents.tool_guardrails import ToolInputGuardrail as ToolInputGuardrail
    from trealtime.agents.tool_guardrails import ToolInputGuardrailData as ToolInputGuardrailData
    from trealtime.agents.tool_guardrails import ToolOutputGuardrail as ToolOutputGuardrail
    from trealtime.agents.tool_guardrails import ToolOutputGuardrailData as ToolOutputGuardrailData
    from trealtime.agents.tool_guardrails import tool_input_guardrail as tool_input_guardrail
    from trealtime.agents.tool_guardrails import tool_output_guardrail as tool_output_guardrail
    from trealtime.agents.tool_invocation import ToolErrorFormatter as ToolErrorFormatter
    from trealtime.agents.tool_invocation import ToolErrorFormatterArgs as ToolErrorFormatterArgs
    from trealtime.agents.tool_invocation import ToolErrorKind as ToolErrorKind
    from trealtime.agents.tools import AfterTool as AfterTool
    from trealtime.agents.tools import FunctionTool as FunctionTool
    from trealtime.agents.tools import NeedsApproval as NeedsApproval
    from trealtime.agents.tools import OnInterrupt as OnInterrupt
    from trealtime.agents.tools import ToolEnabled as ToolEnabled
    from trealtime.agents.tools import ToolErrorFunction as ToolErrorFunction
    from trealtime.agents.tools import default_tool_error as default_tool_error
    from trealtime.agents.tools import function_tool as function_tool
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
    from trealtime.conversation.barge_in import BargeIn as BargeIn
    from trealtime.conversation.checks import GuardrailCounters as GuardrailCounters
    from trealtime.conversation.checks import HoldDelay as HoldDelay
    from trealtime.conversation.effects import ApprovalRequest as ApprovalRequest
    from trealtime.conversation.effects import HostedTool as HostedTool
    from trealtime.conversation.effects import ResponseResult as ResponseResult
    from trealtime.conversation.events import AudioChunk as AudioChunk
    from trealtime.conversation.events import EventInfo as EventInfo
    from trealtime.conversation.events import LimitName as LimitName
    from trealtime.conversation.events import LimitUse as LimitUse
    from trealtime.conversation.events import RealtimeAgentEndEvent as RealtimeAgentEndEvent
    from trealtime.conversation.events import RealtimeAgentStartEvent as RealtimeAgentStartEvent
    from trealtime.conversation.events import RealtimeAudio as RealtimeAudio
    from trealtime.conversation.events import RealtimeAudioDropped as RealtimeAudioDropped
    from trealtime.conversation.events import RealtimeAudioEnd as RealtimeAudioEnd
    from trealtime.conversation.events import RealtimeAudioInterrupted as RealtimeAudioInterrupted
    from trealtime.conversation.events import RealtimeDtmf as RealtimeDtmf
    from trealtime.conversation.events import RealtimeError as RealtimeError
    from trealtime.conversation.events import RealtimeGuardrailTripped as RealtimeGuardrailTripped
    from trealtime.conversation.events import RealtimeHandoffEvent as RealtimeHandoffEvent
    from trealtime.conversation.events import RealtimeHistoryAdded as RealtimeHistoryAdded
    from trealtime.conversation.events import RealtimeHistoryUpdated as RealtimeHistoryUpdated
    from trealtime.conversation.events import RealtimeInputAudioTimeoutTriggered as RealtimeInputAudioTimeoutTriggered
    from trealtime.conversation.events import RealtimeInterruptionConfirmed as RealtimeInterruptionConfirmed
    from trealtime.conversation.events import RealtimeInterruptionDismissed as RealtimeInterruptionDismissed
    from trealtime.conversation.events import RealtimeInterruptionPending as RealtimeInterruptionPending
    from trealtime.conversation.events import RealtimeLimitApproached as RealtimeLimitApproached
    from trealtime.conversation.events import RealtimeLimitReached as RealtimeLimitReached
    from trealtime.conversation.events import RealtimeRawModelEvent as RealtimeRawModelEvent
    from trealtime.conversation.events import RealtimeSessionEvent as RealtimeSessionEvent
    from trealtime.conversation.events import RealtimeSettingsMismatch as RealtimeSettingsMismatch
    from trealtime.conversation.events import RealtimeSpeechStarted as RealtimeSpeechStarted
    from trealtime.conversation.events import RealtimeSpeechStopped as RealtimeSpeechStopped
    from trealtime.conversation.events import RealtimeTextDelta as RealtimeTextDelta
    from trealtime.conversation.events import RealtimeToolApprovalDropped as RealtimeToolApprovalDropped
    from trealtime.conversation.events import RealtimeToolApprovalRequired as RealtimeToolApprovalRequired
    from trealtime.conversation.events import RealtimeToolEnd as RealtimeToolEnd
    from trealtime.conversation.events import RealtimeToolProgress as RealtimeToolProgress
    from trealtime.conversation.events import RealtimeToolStart as RealtimeToolStart
    from trealtime.conversation.events import RealtimeTranscriptDelta as RealtimeTranscriptDelta
    from trealtime.conversation.events import ResponseStatus as ResponseStatus
    from trealtime.conversation.events import ServerErrorInfo as ServerErrorInfo
    from trealtime.conversation.events import SettingsDifference as SettingsDifference
    from trealtime.conversation.items import AssistantAudio as AssistantAudio
    from trealtime.conversation.items import AssistantMessageItem as AssistantMessageItem
    from trealtime.conversation.items import AssistantText as AssistantText
    from trealtime.conversation.items import InputAudio as InputAudio
    from trealtime.conversation.items import InputImage as InputImage
    from trealtime.conversation.items import InputText as InputText
    from trealtime.conversation.items import ItemStatus as ItemStatus
    from trealtime.conversation.items import OtherItem as OtherItem
    from trealtime.conversation.items import RealtimeItem as RealtimeItem
    from trealtime.conversation.items import RealtimeToolCallItem as RealtimeToolCallItem
    from trealtime.conversation.items import SystemMessageItem as SystemMessageItem
    from trealtime.conversation.items import UserMessageItem as UserMessageItem
    from trealtime.conversation.limits import SessionLimits as SessionLimits
    from trealtime.conversation.prices import Cost as Cost
    from trealtime.conversation.prices import ModelPrices as ModelPrices
    from trealtime.conversation.saved_history import dump_history as dump_history
    from trealtime.conversation.saved_history import load_history as load_history
    from trealtime.conversation.saved_history import wire_items as wire_items
    from trealtime.conversation.usage import TranscriptionUsage as TranscriptionUsage
    from trealtime.conversation.usage import Usage as Usage
    from trealtime.emulator.options import EmulatorLimits as EmulatorLimits
    from trealtime.emulator.server import Emulator as Emulator
    from trealtime.emulator.server import open_emulator as open_emulator
    from trealtime.endpoints.browser.endpoint import BrowserEndpoint as BrowserEndpoint
    from trealtime.endpoints.browser.endpoint import BrowserStatistics as BrowserStatistics
    from trealtime.endpoints.browser.endpoint import accept_browser_stream as accept_browser_stream
    from trealtime.endpoints.console import AudioLevels as AudioLevels
    from trealtime.endpoints.console import ConsoleEndpoint as ConsoleEndpoint
    from trealtime.endpoints.console import ConsoleStatistics as ConsoleStatistics
    from trealtime.endpoints.echo_gate import EchoGateStatistics as EchoGateStatistics
    from trealtime.endpoints.endpoint import Endpoint as Endpoint
    from trealtime.endpoints.endpoint import EndpointLink as EndpointLink
    from trealtime.endpoints.sound_card import SoundDevice as SoundDevice
    from trealtime.endpoints.sound_card import list_devices as list_devices
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
    from trealtime.errors import ServerRefused as ServerRefused
    from trealtime.errors import SessionClosed as SessionClosed
    from trealtime.errors import SessionNotOpen as SessionNotOpen
    from trealtime.errors import SettingsError as SettingsError
    from trealtime.errors import SettingsProblem as SettingsProblem
    from trealtime.errors import SettingsRefused as SettingsRefused
    from trealtime.errors import SlowConsumer as SlowConsumer
    from trealtime.errors import ToolArgumentsError as ToolArgumentsError
    from trealtime.errors import ToolFailed as ToolFailed
    from trealtime.errors import ToolInputGuardrailTripwireTriggered as ToolInputGuardrailTripwireTriggered
    from trealtime.errors import ToolOutputGuardrailTripwireTriggered as ToolOutputGuardrailTripwireTriggered
    from trealtime.errors import ToolTimedOut as ToolTimedOut
    from trealtime.errors import TrealtimeError as TrealtimeError
    from trealtime.errors import TwilioStreamError as TwilioStreamError
    from trealtime.errors import WebhookRefused as WebhookRefused
    from trealtime.mcp.hosted import HostedMCPTool as HostedMCPTool
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
    from trealtime.session.approvals import ApprovalDecision as ApprovalDecision
    from trealtime.session.approvals import ApprovalHandler as ApprovalHandler
    from trealtime.session.approvals import Approve as Approve
    from trealtime.session.approvals import Reject as Reject
    from trealtime.session.attachment import Attachment as Attachment
    from trealtime.session.attachment import AttachmentStatistics as AttachmentStatistics
    from trealtime.session.config import GuardrailsSettings as GuardrailsSettings
    from trealtime.session.config import RealtimeModelConfig as RealtimeModelConfig
    from trealtime.session.config import RealtimeRunConfig as RealtimeRunConfig
    from trealtime.session.config import ToolExecution as ToolExecution
    from trealtime.session.mailbox import Feed as Feed
    from trealtime.session.mailbox import FeedStatistics as FeedStatistics
    from trealtime.session.model_shim import RealtimeModelSendAudio as RealtimeModelSendAudio
    from trealtime.session.model_shim import RealtimeModelSendInterrupt as RealtimeModelSendInterrupt
    from trealtime.session.model_shim import RealtimeModelSendRawMessage as RealtimeModelSendRawMessage
    from trealtime.session.model_shim import RealtimeModelSendSessionUpdate as RealtimeModelSendSessionUpdate
    from trealtime.session.model_shim import RealtimeModelSendUserInput as RealtimeModelSendUserInput
    from trealtime.session.outcome import CloseOutcome as CloseOutcome
    from trealtime.session.playback_tracker import RealtimePlaybackState as RealtimePlaybackState
    from trealtime.session.playback_tracker import RealtimePlaybackTracker as RealtimePlaybackTracker
    from trealtime.session.response import SessionResponse as SessionResponse
    from trealtime.session.response_params import ResponseOptions as ResponseOptions
    from trealtime.session.runner import RealtimeRunner as RealtimeRunner
    from trealtime.session.runner import serve_realtime_session as serve_realtime_session
    from trealtime.session.session import RealtimeSession as RealtimeSession
    from trealtime.session.statistics import SessionStatistics as SessionStatistics
    from trealtime.session.turn import Turn as Turn
    from trealtime.transport.azure import AzureRealtimeModel as AzureRealtimeModel
    from trealtime.transport.config import TransportConfig as TransportConfig
    from trealtime.transport.models import OpenAIRealtimeModel as OpenAIRealtimeModel
    from trealtime.transport.models import OpenAIRealtimeSIPModel as OpenAIRealtimeSIPModel
    from trealtime.transport.models import OpenAIRealtimeWebSocketModel as OpenAIRealtimeWebSocketModel
    from trealtime.transport.models import RealtimeModel as RealtimeModel

_NAMES = {
    "agents.agent": "RealtimeAgent",
    "agents.context": "RunContext RunContextWrapper ToolContext",
    "agents.guardrails": """
        GuardrailFunctionOutput InputGuardrail InputGuardrailResult OutputGuardrail OutputGuardrailResult
        input_guardrail output_guardrail
    """,
    "agents.handoffs": "Handoff realtime_handoff",
    "agents.hooks": "RealtimeAgentHooks RealtimeRunHooks",
    "agents.tool_guardrails": """
        ToolGuardrailFunctionOutput ToolInputGuardrail ToolInputGuardrailData ToolOutputGuardrail
        ToolOutputGuardrailData tool_input_guardrail tool_output_guardrail
    """,
    "agents.tool_invocation": "ToolErrorFormatter ToolErrorFormatterArgs ToolErrorKind",
    "agents.tools": """
        AfterTool FunctionTool NeedsApproval OnInterrupt ToolEnabled ToolErrorFunction default_tool_error
        function_tool
    """,
    "audio.formats": "AudioFormat G711_ALAW G711_ULAW PCM16_24K parse_audio_format pcm16",
    "calls.rest": "ClientSecret RealtimeRestClient",
    "calls.webhooks": "IncomingCall OtherWebhook RealtimeWebhooks SipHeader",
    "conversation.barge_in": "BargeIn",
    "conversation.checks": "GuardrailCounters HoldDelay",
    "conversation.effects": "ApprovalRequest HostedTool ResponseResult",
    "conversation.events": """
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
    "conversation.items": """
        AssistantAudio AssistantMessageItem AssistantText InputAudio InputImage InputText ItemStatus OtherItem
        RealtimeItem RealtimeToolCallItem SystemMessageItem UserMessageItem
    """,
    "conversation.limits": "SessionLimits",
    "conversation.prices": "Cost ModelPrices",
    "conversation.saved_history": "dump_history load_history wire_items",
    "conversation.usage": "TranscriptionUsage Usage",
    "emulator.options": "EmulatorLimits",
    "emulator.server": "Emulator open_emulator",
    "endpoints.browser.endpoint": "BrowserEndpoint BrowserStatistics accept_browser_stream",
    "endpoints.console": "AudioLevels ConsoleEndpoint ConsoleStatistics",
    "endpoints.echo_gate": "EchoGateStatistics",
    "endpoints.endpoint": "Endpoint EndpointLink",
    "endpoints.sound_card": "SoundDevice list_devices",
    "endpoints.twilio.endpoint": "TwilioEndpoint TwilioStatistics accept_twilio_stream",
    "endpoints.twilio.signature": "check_twilio_signature",
    "endpoints.twilio.stream": "TwilioCall",
    "endpoints.wav": "WavEndpoint",
    "errors": """
        AudioDeviceError AudioFormatError BrowserStreamError CallGone ConnectFailed ConnectionLost
        EndpointFailed GuardrailFailed InputGuardrailTripwireTriggered MCPServerFailed MCPToolError
        MissingApiKey MissingDependency ProtocolError RateLimited RecordingError RequestFailed ScenarioError
        ServerRefused SessionClosed SessionNotOpen SettingsError SettingsProblem SettingsRefused SlowConsumer
        ToolArgumentsError ToolFailed ToolInputGuardrailTripwireTriggered ToolOutputGuardrailTripwireTriggered
        ToolTimedOut TrealtimeError TwilioStreamError WebhookRefused
    """,
    "mcp.hosted": "HostedMCPTool",
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
    "session.approvals": "ApprovalDecision ApprovalHandler Approve Reject",
    "session.attachment": "Attachment AttachmentStatistics",
    "session.config": "GuardrailsSettings RealtimeModelConfig RealtimeRunConfig ToolExecution",
    "session.mailbox": "Feed FeedStatistics",
    "session.model_shim": """
        RealtimeModelSendAudio RealtimeModelSendInterrupt RealtimeModelSendRawMessage
        RealtimeModelSendSessionUpdate RealtimeModelSendUserInput
    """,
    "session.outcome": "CloseOutcome",
    "session.playback_tracker": "RealtimePlaybackState RealtimePlaybackTracker",
    "session.response": "SessionResponse",
    "session.response_params": "ResponseOptions",
    "session.runner": "RealtimeRunner serve_realtime_session",
    "session.session": "RealtimeSession",
    "session.statistics": "SessionStatistics",
    "session.turn": "Turn",
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
