"""Realtime voice agents for Trio, over the OpenAI Realtime protocol.

Every public name is here, and is imported from its module when it is first used: ``import trealtime`` alone costs next
to nothing, and a program that runs no emulator does not load one.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from trealtime._version import __version__

if TYPE_CHECKING:
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.agents.context import RunContext, RunContextWrapper, ToolContext
    from trealtime.agents.guardrails import (
        GuardrailFunctionOutput,
        InputGuardrail,
        InputGuardrailResult,
        OutputGuardrail,
        OutputGuardrailResult,
        input_guardrail,
        output_guardrail,
    )
    from trealtime.agents.handoffs import Handoff, realtime_handoff
    from trealtime.agents.hooks import RealtimeAgentHooks, RealtimeRunHooks
    from trealtime.agents.tool_invocation import ToolErrorFormatter, ToolErrorFormatterArgs, ToolErrorKind
    from trealtime.agents.tools import (
        AfterTool,
        FunctionTool,
        OnInterrupt,
        ToolEnabled,
        ToolErrorFunction,
        default_tool_error,
        function_tool,
    )
    from trealtime.audio.formats import G711_ALAW, G711_ULAW, PCM16_24K, AudioFormat, parse_audio_format
    from trealtime.calls.rest import ClientSecret, RealtimeRestClient
    from trealtime.calls.webhooks import IncomingCall, OtherWebhook, RealtimeWebhooks, SipHeader
    from trealtime.conversation.checks import GuardrailCounters, HoldDelay
    from trealtime.conversation.effects import ResponseResult
    from trealtime.conversation.events import (
        AudioChunk,
        EventInfo,
        LimitName,
        LimitUse,
        RealtimeAgentEndEvent,
        RealtimeAgentStartEvent,
        RealtimeAudio,
        RealtimeAudioDropped,
        RealtimeAudioEnd,
        RealtimeAudioInterrupted,
        RealtimeDtmf,
        RealtimeError,
        RealtimeGuardrailTripped,
        RealtimeHandoffEvent,
        RealtimeHistoryAdded,
        RealtimeHistoryUpdated,
        RealtimeInputAudioTimeoutTriggered,
        RealtimeLimitApproached,
        RealtimeLimitReached,
        RealtimeRawModelEvent,
        RealtimeSessionEvent,
        RealtimeSettingsMismatch,
        RealtimeSpeechStarted,
        RealtimeSpeechStopped,
        RealtimeTextDelta,
        RealtimeToolEnd,
        RealtimeToolProgress,
        RealtimeToolStart,
        RealtimeTranscriptDelta,
        ResponseStatus,
        ServerErrorInfo,
        SettingsDifference,
    )
    from trealtime.conversation.items import (
        AssistantAudio,
        AssistantMessageItem,
        AssistantText,
        InputAudio,
        InputImage,
        InputText,
        ItemStatus,
        OtherItem,
        RealtimeItem,
        RealtimeToolCallItem,
        SystemMessageItem,
        UserMessageItem,
    )
    from trealtime.conversation.limits import SessionLimits
    from trealtime.conversation.prices import Cost, ModelPrices
    from trealtime.conversation.saved_history import dump_history, load_history, wire_items
    from trealtime.conversation.usage import TranscriptionUsage, Usage
    from trealtime.emulator.options import EmulatorLimits
    from trealtime.emulator.server import Emulator, open_emulator
    from trealtime.errors import (
        AudioFormatError,
        CallGone,
        ConnectFailed,
        ConnectionLost,
        GuardrailFailed,
        InputGuardrailTripwireTriggered,
        MissingApiKey,
        MissingDependency,
        ProtocolError,
        RateLimited,
        RequestFailed,
        ServerRefused,
        SessionClosed,
        SessionNotOpen,
        SettingsError,
        SettingsProblem,
        SettingsRefused,
        SlowConsumer,
        ToolArgumentsError,
        ToolFailed,
        ToolTimedOut,
        TrealtimeError,
        WebhookRefused,
    )
    from trealtime.protocol.settings import (
        AudioInputSettings,
        AudioOutputSettings,
        AudioSettings,
        CustomVoice,
        NoiseReductionSettings,
        PromptSettings,
        ReasoningSettings,
        SessionSettings,
        TokenLimits,
        TracingSettings,
        TranscriptionSettings,
        TruncationSettings,
        TurnDetectionSettings,
    )
    from trealtime.protocol.user_input import AudioPart, ImagePart, TextPart, UserMessage, image_part
    from trealtime.protocol.validation import NOT_SET
    from trealtime.session.config import GuardrailsSettings, RealtimeModelConfig, RealtimeRunConfig
    from trealtime.session.mailbox import Feed, FeedStatistics
    from trealtime.session.model_shim import (
        RealtimeModelSendAudio,
        RealtimeModelSendInterrupt,
        RealtimeModelSendRawMessage,
        RealtimeModelSendSessionUpdate,
        RealtimeModelSendUserInput,
    )
    from trealtime.session.outcome import CloseOutcome
    from trealtime.session.playback_tracker import RealtimePlaybackState, RealtimePlaybackTracker
    from trealtime.session.response import SessionResponse
    from trealtime.session.runner import RealtimeRunner, serve_realtime_session
    from trealtime.session.session import RealtimeSession
    from trealtime.session.statistics import SessionStatistics
    from trealtime.session.turn import Turn
    from trealtime.transport.azure import AzureRealtimeModel
    from trealtime.transport.config import TransportConfig
    from trealtime.transport.models import (
        OpenAIRealtimeModel,
        OpenAIRealtimeSIPModel,
        OpenAIRealtimeWebSocketModel,
        RealtimeModel,
    )

__all__ = [
    # Agents and tools
    "AfterTool",
    "FunctionTool",
    "Handoff",
    "OnInterrupt",
    "RealtimeAgent",
    "RealtimeAgentHooks",
    "RealtimeRunHooks",
    "RunContext",
    "RunContextWrapper",
    "ToolContext",
    "ToolEnabled",
    "ToolErrorFormatter",
    "ToolErrorFormatterArgs",
    "ToolErrorFunction",
    "ToolErrorKind",
    "default_tool_error",
    "function_tool",
    "realtime_handoff",
    # Guardrails
    "GuardrailCounters",
    "GuardrailFunctionOutput",
    "GuardrailsSettings",
    "HoldDelay",
    "InputGuardrail",
    "InputGuardrailResult",
    "OutputGuardrail",
    "OutputGuardrailResult",
    "input_guardrail",
    "output_guardrail",
    # Sessions
    "CloseOutcome",
    "Feed",
    "FeedStatistics",
    "RealtimeModelConfig",
    "RealtimePlaybackState",
    "RealtimePlaybackTracker",
    "RealtimeRunConfig",
    "RealtimeRunner",
    "RealtimeSession",
    "ResponseResult",
    "SessionResponse",
    "SessionStatistics",
    "Turn",
    "serve_realtime_session",
    # Usage and limits
    "Cost",
    "LimitName",
    "LimitUse",
    "ModelPrices",
    "SessionLimits",
    "TranscriptionUsage",
    "Usage",
    # Events
    "AudioChunk",
    "EventInfo",
    "RealtimeAgentEndEvent",
    "RealtimeAgentStartEvent",
    "RealtimeAudio",
    "RealtimeAudioDropped",
    "RealtimeAudioEnd",
    "RealtimeAudioInterrupted",
    "RealtimeDtmf",
    "RealtimeError",
    "RealtimeGuardrailTripped",
    "RealtimeHandoffEvent",
    "RealtimeHistoryAdded",
    "RealtimeHistoryUpdated",
    "RealtimeInputAudioTimeoutTriggered",
    "RealtimeLimitApproached",
    "RealtimeLimitReached",
    "RealtimeRawModelEvent",
    "RealtimeSessionEvent",
    "RealtimeSettingsMismatch",
    "RealtimeSpeechStarted",
    "RealtimeSpeechStopped",
    "RealtimeTextDelta",
    "RealtimeToolEnd",
    "RealtimeToolProgress",
    "RealtimeToolStart",
    "RealtimeTranscriptDelta",
    "ResponseStatus",
    "ServerErrorInfo",
    "SettingsDifference",
    # History
    "AssistantAudio",
    "AssistantMessageItem",
    "AssistantText",
    "InputAudio",
    "InputImage",
    "InputText",
    "ItemStatus",
    "OtherItem",
    "RealtimeItem",
    "RealtimeToolCallItem",
    "SystemMessageItem",
    "UserMessageItem",
    "dump_history",
    "load_history",
    "wire_items",
    # What the user says
    "AudioPart",
    "ImagePart",
    "TextPart",
    "UserMessage",
    "image_part",
    # Sent past the session, as ported programs do
    "RealtimeModelSendAudio",
    "RealtimeModelSendInterrupt",
    "RealtimeModelSendRawMessage",
    "RealtimeModelSendSessionUpdate",
    "RealtimeModelSendUserInput",
    # Connections
    "AzureRealtimeModel",
    "OpenAIRealtimeModel",
    "OpenAIRealtimeSIPModel",
    "OpenAIRealtimeWebSocketModel",
    "RealtimeModel",
    "TransportConfig",
    # Phone calls and browsers
    "ClientSecret",
    "IncomingCall",
    "OtherWebhook",
    "RealtimeRestClient",
    "RealtimeWebhooks",
    "SipHeader",
    # Settings
    "AudioInputSettings",
    "AudioOutputSettings",
    "AudioSettings",
    "CustomVoice",
    "NOT_SET",
    "NoiseReductionSettings",
    "PromptSettings",
    "ReasoningSettings",
    "SessionSettings",
    "TokenLimits",
    "TracingSettings",
    "TranscriptionSettings",
    "TruncationSettings",
    "TurnDetectionSettings",
    # Audio formats
    "AudioFormat",
    "G711_ALAW",
    "G711_ULAW",
    "PCM16_24K",
    "parse_audio_format",
    # The emulator
    "Emulator",
    "EmulatorLimits",
    "open_emulator",
    # Errors
    "AudioFormatError",
    "CallGone",
    "ConnectFailed",
    "ConnectionLost",
    "GuardrailFailed",
    "InputGuardrailTripwireTriggered",
    "MissingApiKey",
    "MissingDependency",
    "ProtocolError",
    "RateLimited",
    "RequestFailed",
    "ServerRefused",
    "SessionClosed",
    "SessionNotOpen",
    "SettingsError",
    "SettingsProblem",
    "SettingsRefused",
    "SlowConsumer",
    "ToolArgumentsError",
    "ToolFailed",
    "ToolTimedOut",
    "TrealtimeError",
    "WebhookRefused",
    "__version__",
]

# Type checkers read the imports above, the interpreter reads this table; a test keeps the two the same.
_NAMES = {
    "trealtime.agents.agent": ("RealtimeAgent",),
    "trealtime.agents.context": ("RunContext", "RunContextWrapper", "ToolContext"),
    "trealtime.agents.guardrails": (
        "GuardrailFunctionOutput",
        "InputGuardrail",
        "InputGuardrailResult",
        "OutputGuardrail",
        "OutputGuardrailResult",
        "input_guardrail",
        "output_guardrail",
    ),
    "trealtime.agents.tool_invocation": ("ToolErrorFormatter", "ToolErrorFormatterArgs", "ToolErrorKind"),
    "trealtime.agents.handoffs": ("Handoff", "realtime_handoff"),
    "trealtime.agents.hooks": ("RealtimeAgentHooks", "RealtimeRunHooks"),
    "trealtime.agents.tools": (
        "AfterTool",
        "FunctionTool",
        "OnInterrupt",
        "ToolEnabled",
        "ToolErrorFunction",
        "default_tool_error",
        "function_tool",
    ),
    "trealtime.audio.formats": ("AudioFormat", "G711_ALAW", "G711_ULAW", "PCM16_24K", "parse_audio_format"),
    "trealtime.calls.rest": ("ClientSecret", "RealtimeRestClient"),
    "trealtime.calls.webhooks": ("IncomingCall", "OtherWebhook", "RealtimeWebhooks", "SipHeader"),
    "trealtime.conversation.checks": ("GuardrailCounters", "HoldDelay"),
    "trealtime.conversation.effects": ("ResponseResult",),
    "trealtime.conversation.events": (
        "AudioChunk",
        "EventInfo",
        "LimitName",
        "LimitUse",
        "RealtimeAgentEndEvent",
        "RealtimeAgentStartEvent",
        "RealtimeAudio",
        "RealtimeAudioDropped",
        "RealtimeAudioEnd",
        "RealtimeAudioInterrupted",
        "RealtimeDtmf",
        "RealtimeError",
        "RealtimeGuardrailTripped",
        "RealtimeHandoffEvent",
        "RealtimeHistoryAdded",
        "RealtimeHistoryUpdated",
        "RealtimeInputAudioTimeoutTriggered",
        "RealtimeLimitApproached",
        "RealtimeLimitReached",
        "RealtimeRawModelEvent",
        "RealtimeSessionEvent",
        "RealtimeSettingsMismatch",
        "RealtimeSpeechStarted",
        "RealtimeSpeechStopped",
        "RealtimeTextDelta",
        "RealtimeToolEnd",
        "RealtimeToolProgress",
        "RealtimeToolStart",
        "RealtimeTranscriptDelta",
        "ResponseStatus",
        "ServerErrorInfo",
        "SettingsDifference",
    ),
    "trealtime.conversation.items": (
        "AssistantAudio",
        "AssistantMessageItem",
        "AssistantText",
        "InputAudio",
        "InputImage",
        "InputText",
        "ItemStatus",
        "OtherItem",
        "RealtimeItem",
        "RealtimeToolCallItem",
        "SystemMessageItem",
        "UserMessageItem",
    ),
    "trealtime.conversation.limits": ("SessionLimits",),
    "trealtime.conversation.prices": ("Cost", "ModelPrices"),
    "trealtime.conversation.saved_history": ("dump_history", "load_history", "wire_items"),
    "trealtime.conversation.usage": ("TranscriptionUsage", "Usage"),
    "trealtime.emulator.options": ("EmulatorLimits",),
    "trealtime.emulator.server": ("Emulator", "open_emulator"),
    "trealtime.errors": (
        "AudioFormatError",
        "CallGone",
        "ConnectFailed",
        "ConnectionLost",
        "GuardrailFailed",
        "InputGuardrailTripwireTriggered",
        "MissingApiKey",
        "MissingDependency",
        "ProtocolError",
        "RateLimited",
        "RequestFailed",
        "ServerRefused",
        "SessionClosed",
        "SessionNotOpen",
        "SettingsError",
        "SettingsProblem",
        "SettingsRefused",
        "SlowConsumer",
        "ToolArgumentsError",
        "ToolFailed",
        "ToolTimedOut",
        "TrealtimeError",
        "WebhookRefused",
    ),
    "trealtime.protocol.settings": (
        "AudioInputSettings",
        "AudioOutputSettings",
        "AudioSettings",
        "CustomVoice",
        "NoiseReductionSettings",
        "PromptSettings",
        "ReasoningSettings",
        "SessionSettings",
        "TokenLimits",
        "TracingSettings",
        "TranscriptionSettings",
        "TruncationSettings",
        "TurnDetectionSettings",
    ),
    "trealtime.protocol.validation": ("NOT_SET",),
    "trealtime.protocol.user_input": ("AudioPart", "ImagePart", "TextPart", "UserMessage", "image_part"),
    "trealtime.session.config": ("GuardrailsSettings", "RealtimeModelConfig", "RealtimeRunConfig"),
    "trealtime.session.mailbox": ("Feed", "FeedStatistics"),
    "trealtime.session.model_shim": (
        "RealtimeModelSendAudio",
        "RealtimeModelSendInterrupt",
        "RealtimeModelSendRawMessage",
        "RealtimeModelSendSessionUpdate",
        "RealtimeModelSendUserInput",
    ),
    "trealtime.session.outcome": ("CloseOutcome",),
    "trealtime.session.playback_tracker": ("RealtimePlaybackState", "RealtimePlaybackTracker"),
    "trealtime.session.response": ("SessionResponse",),
    "trealtime.session.runner": ("RealtimeRunner", "serve_realtime_session"),
    "trealtime.session.session": ("RealtimeSession",),
    "trealtime.session.statistics": ("SessionStatistics",),
    "trealtime.session.turn": ("Turn",),
    "trealtime.transport.azure": ("AzureRealtimeModel",),
    "trealtime.transport.config": ("TransportConfig",),
    "trealtime.transport.models": (
        "OpenAIRealtimeModel",
        "OpenAIRealtimeSIPModel",
        "OpenAIRealtimeWebSocketModel",
        "RealtimeModel",
    ),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562) and keep it, so that the second use costs nothing."""
    module = _HOMES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
