"""Every class of settings. Wherever one of them is taken, a mapping of its fields is taken as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trealtime import _lazy

if TYPE_CHECKING:
    from trealtime._core.interruption import BargeIn as BargeIn
    from trealtime._core.reconnection import ReconnectPolicy as ReconnectPolicy
    from trealtime._core.usage import ModelPrices as ModelPrices
    from trealtime._core.usage import SessionLimits as SessionLimits
    from trealtime._session.config import GuardrailsSettings as GuardrailsSettings
    from trealtime._session.config import RealtimeModelConfig as RealtimeModelConfig
    from trealtime._session.config import RealtimeRunConfig as RealtimeRunConfig
    from trealtime._session.config import ToolExecution as ToolExecution
    from trealtime._session.config_dicts import ModelConfigDict as ModelConfigDict
    from trealtime._session.config_dicts import ReconnectDict as ReconnectDict
    from trealtime._session.config_dicts import RunConfigDict as RunConfigDict
    from trealtime._session.recording_settings import RecordingSettings as RecordingSettings
    from trealtime._session.response import ResponseOptions as ResponseOptions
    from trealtime.emulator.options import EmulatorLimits as EmulatorLimits
    from trealtime.mcp.kinds import MCPServerStdioParams as MCPServerStdioParams
    from trealtime.mcp.kinds import MCPServerStreamableHttpParams as MCPServerStreamableHttpParams
    from trealtime.mcp.servers import MCPConfig as MCPConfig
    from trealtime.observability.settings import TelemetrySettings as TelemetrySettings
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
    from trealtime.protocol.settings_dicts import SessionSettingsDict as SessionSettingsDict
    from trealtime.protocol.validation import NOT_SET as NOT_SET
    from trealtime.protocol.validation import NotSet as NotSet
    from trealtime.transport.config import TransportConfig as TransportConfig
else:
    __all__, __getattr__, __dir__ = _lazy.namespace(__name__)
