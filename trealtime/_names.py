"""Where each public name lives: the tables of `trealtime` and its public modules.

A row is a module that defines names, and the names. Each name is imported when it is first used (`trealtime._lazy`),
and stands a second time in the module that shows it, as an import for type checkers; `tests/test_packaging.py` keeps
the two the same.
"""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Final

TABLES: Final = {
    "trealtime": {
        "_core.interruption": "BargeIn",
        "_core.effects": "ApprovalRequest ResponseResult",
        "_core.guardrails": "GuardrailCounters HoldDelay",
        "_session.approval_handler": "Approve Reject",
        "_session.attachment": "Attachment AttachmentStatistics",
        "_session.config": "RealtimeModelConfig RealtimeRunConfig",
        "_session.lifetime": "CloseOutcome",
        "_session.model_shim": """
            RealtimeModelSendAudio RealtimeModelSendInterrupt RealtimeModelSendRawMessage
            RealtimeModelSendSessionUpdate RealtimeModelSendUserInput
        """,
        "_session.playback_tracker": "RealtimePlaybackState RealtimePlaybackTracker",
        "_session.response": "SessionResponse Turn",
        "_session.runner": "RealtimeRunner serve_realtime_session",
        "_session.session": "RealtimeSession",
        "_session.statistics": "SessionStatistics",
        "_session.subscription": "Subscription SubscriptionStatistics",
        "agents.agent": "RealtimeAgent",
        "agents.guardrails": "GuardrailFunctionOutput InputGuardrail OutputGuardrail input_guardrail output_guardrail",
        "agents.handoffs": "Handoff realtime_handoff",
        "agents.hooks": "RealtimeAgentHooks RealtimeRunHooks",
        "emulator.server": "Emulator open_emulator",
        "endpoints.browser.endpoint": "BrowserEndpoint accept_browser_stream",
        "endpoints.console": "ConsoleEndpoint",
        "endpoints.endpoint": "Endpoint",
        "endpoints.twilio.endpoint": "TwilioEndpoint accept_twilio_stream",
        "endpoints.wav": "WavEndpoint",
        "errors": "ConnectFailed ConnectionLost ServerRefused SettingsError TrealtimeError",
        "events": """
            RealtimeAgentEndEvent RealtimeAgentStartEvent RealtimeAudio RealtimeAudioDropped
            RealtimeAudioEnd RealtimeAudioInterrupted RealtimeDtmf RealtimeError RealtimeGuardrailTripped
            RealtimeHandoffEvent RealtimeHistoryAdded RealtimeHistoryUpdated
            RealtimeInputAudioTimeoutTriggered RealtimeInterruptionConfirmed RealtimeInterruptionDismissed
            RealtimeInterruptionPending RealtimeLimitApproached RealtimeLimitReached RealtimeRawModelEvent
            RealtimeSessionEvent RealtimeSettingsMismatch RealtimeSpeechStarted RealtimeSpeechStopped
            RealtimeTextDelta RealtimeToolApprovalDropped RealtimeToolApprovalRequired RealtimeToolEnd
            RealtimeToolProgress RealtimeToolStart RealtimeTranscriptDelta
        """,
        "items": """
            AssistantAudio AssistantMessageItem AssistantText InputAudio InputText RealtimeItem
            RealtimeToolCallItem SystemMessageItem UserMessageItem
        """,
        "mcp.hosted": "HostedMCPTool",
        "mcp.kinds": "MCPServerStdio MCPServerStreamableHttp",
        "tools.context": "RunContext RunContextWrapper ToolContext",
        "tools.function_tool": "FunctionTool function_tool",
        "tools.guardrails": """
            ToolGuardrailFunctionOutput ToolInputGuardrail ToolInputGuardrailData ToolOutputGuardrail
            ToolOutputGuardrailData tool_input_guardrail tool_output_guardrail
        """,
        "observability.settings": "instrument",
        "transport.models": """
            AzureRealtimeModel OpenAIRealtimeModel OpenAIRealtimeSIPModel OpenAIRealtimeWebSocketModel RealtimeModel
        """,
    },
    "trealtime.settings": {
        "_core.interruption": "BargeIn",
        "_core.reconnection": "ReconnectPolicy",
        "_core.usage": "ModelPrices SessionLimits",
        "_session.config": "GuardrailsSettings RealtimeModelConfig RealtimeRunConfig ToolExecution",
        "_session.config_dicts": "ModelConfigDict ReconnectDict RunConfigDict",
        "_session.recording_settings": "RecordingSettings",
        "protocol.settings_dicts": "SessionSettingsDict",
        "_session.response": "ResponseOptions",
        "emulator.options": "EmulatorLimits",
        "mcp.kinds": "MCPServerStdioParams MCPServerStreamableHttpParams",
        "mcp.servers": "MCPConfig",
        "protocol.settings": """
            AudioInputSettings AudioOutputSettings AudioSettings CustomVoice NoiseReductionSettings
            PromptSettings ReasoningSettings SessionSettings TokenLimits TracingSettings
            TranscriptionSettings TruncationSettings TurnDetectionSettings
        """,
        "protocol.validation": "NOT_SET NotSet",
        "observability.settings": "TelemetrySettings",
        "transport.config": "TransportConfig",
    },
    "trealtime.typing": {
        "_core.interruption": "BargeInPolicy",
        "_core.reconnection": "Summarise",
        "_session.approval_handler": "ApprovalDecision ApprovalHandler",
        "_session.connections": "ConnectionEnd",
        "_session.listening": "Listening SpokenTurn",
        "_session.subscription": "Overflow",
        "agents.guardrails": "GuardrailFunction",
        "errors": "WebhookProblem",
        "events": "ConfirmReason DismissReason LimitName ResponseStatus",
        "items": "ItemStatus",
        "mcp.servers": "RequireApproval ToolFilter",
        "tools.function_tool": "AfterTool NeedsApproval OnInterrupt ToolEnabled ToolErrorFunction",
        "tools.guardrails": "ToolInputGuardrailFunction ToolOutputGuardrailFunction",
        "tools.invocation": "ToolErrorFormatter ToolErrorKind",
        "transport.request": "ApiKey",
    },
    "trealtime.items": {
        "_core.saved_history": "dump_history load_history wire_items",
        "protocol.user_input": "AudioPart ImagePart TextPart UserMessage image_part",
    },
    "trealtime.tools": {
        "tools.function_tool": "default_tool_error",
        "tools.invocation": "ToolErrorFormatterArgs",
    },
    "trealtime.agents": {
        "agents.guardrails": "InputGuardrailResult OutputGuardrailResult",
    },
    "trealtime.mcp": {
        "mcp.hosted": "HostedTool",
        "mcp.servers": "MCPServer ToolFilterContext ToolFilterStatic create_static_tool_filter",
    },
    "trealtime.endpoints": {
        "endpoints.audio_device": "SoundDevice list_devices",
        "endpoints.browser.endpoint": "BrowserStatistics",
        "endpoints.browser.page": "PAGE_EVENTS PAGE_FILES PageUpdates obey_page",
        "endpoints.console": "AudioLevels ConsoleStatistics",
        "endpoints.echo_gate": "EchoGateStatistics",
        "endpoints.endpoint": "EndpointLink",
        "endpoints.twilio.endpoint": "TwilioStatistics",
        "endpoints.twilio.signature": "check_twilio_signature",
        "endpoints.twilio.stream": "TwilioCall",
    },
    "trealtime.audio": {
        "audio.formats": "AudioFormat G711_ALAW G711_ULAW PCM16_24K parse_audio_format pcm16",
    },
    "trealtime.calls": {
        "calls.rest": "ClientSecret RealtimeRestClient",
        "calls.webhooks": "IncomingCall OtherWebhook RealtimeWebhooks SipHeader",
    },
    "trealtime.errors": {
        "agents.guardrails": "InputGuardrailTripwireTriggered",
        "tools.guardrails": "ToolInputGuardrailTripwireTriggered ToolOutputGuardrailTripwireTriggered",
    },
}
"""``{module that shows them: {module that defines them, below trealtime: names}}``."""
