"""Realtime voice agents for Trio, over the OpenAI Realtime protocol.

The names that most programs use are here. The others are in the modules of their subject: `trealtime.events`, `items`,
`settings`, `usage`, `metrics`, `errors`, `typing`, and the rooms `agents`, `tools`, `mcp`, `endpoints`, `audio`,
`calls`, `emulator`, `testing`, `recording` and `evals`. A name is imported from the module that defines it when it is
first used, so ``import trealtime`` costs next to nothing.
"""

from __future__ import annotations

from trealtime import _lazy
from trealtime._version import __version__ as __version__

TYPE_CHECKING = False  # To checkers it is True. Importing `typing` would cost more than all else here.

if TYPE_CHECKING:
    from trealtime import errors as errors
    from trealtime import events as events
    from trealtime import items as items
    from trealtime import metrics as metrics
    from trealtime import settings as settings
    from trealtime import typing as typing
    from trealtime import usage as usage
    from trealtime._core.effects import ApprovalRequest as ApprovalRequest
    from trealtime._core.effects import ResponseResult as ResponseResult
    from trealtime._core.guardrails import GuardrailCounters as GuardrailCounters
    from trealtime._core.guardrails import HoldDelay as HoldDelay
    from trealtime._core.interruption import BargeIn as BargeIn
    from trealtime._moved import *  # noqa: F403
    from trealtime._session.approval_handler import Approve as Approve
    from trealtime._session.approval_handler import Reject as Reject
    from trealtime._session.attachment import Attachment as Attachment
    from trealtime._session.attachment import AttachmentStatistics as AttachmentStatistics
    from trealtime._session.config import RealtimeModelConfig as RealtimeModelConfig
    from trealtime._session.config import RealtimeRunConfig as RealtimeRunConfig
    from trealtime._session.lifetime import CloseOutcome as CloseOutcome
    from trealtime._session.model_shim import RealtimeModelSendAudio as RealtimeModelSendAudio
    from trealtime._session.model_shim import RealtimeModelSendInterrupt as RealtimeModelSendInterrupt
    from trealtime._session.model_shim import RealtimeModelSendRawMessage as RealtimeModelSendRawMessage
    from trealtime._session.model_shim import RealtimeModelSendSessionUpdate as RealtimeModelSendSessionUpdate
    from trealtime._session.model_shim import RealtimeModelSendUserInput as RealtimeModelSendUserInput
    from trealtime._session.playback_tracker import RealtimePlaybackState as RealtimePlaybackState
    from trealtime._session.playback_tracker import RealtimePlaybackTracker as RealtimePlaybackTracker
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
    from trealtime.agents.guardrails import OutputGuardrail as OutputGuardrail
    from trealtime.agents.guardrails import input_guardrail as input_guardrail
    from trealtime.agents.guardrails import output_guardrail as output_guardrail
    from trealtime.agents.handoffs import Handoff as Handoff
    from trealtime.agents.handoffs import realtime_handoff as realtime_handoff
    from trealtime.agents.hooks import RealtimeAgentHooks as RealtimeAgentHooks
    from trealtime.agents.hooks import RealtimeRunHooks as RealtimeRunHooks
    from trealtime.emulator.server import Emulator as Emulator
    from trealtime.emulator.server import open_emulator as open_emulator
    from trealtime.endpoints.browser.endpoint import BrowserEndpoint as BrowserEndpoint
    from trealtime.endpoints.browser.endpoint import accept_browser_stream as accept_browser_stream
    from trealtime.endpoints.console import ConsoleEndpoint as ConsoleEndpoint
    from trealtime.endpoints.endpoint import Endpoint as Endpoint
    from trealtime.endpoints.twilio.endpoint import TwilioEndpoint as TwilioEndpoint
    from trealtime.endpoints.twilio.endpoint import accept_twilio_stream as accept_twilio_stream
    from trealtime.endpoints.wav import WavEndpoint as WavEndpoint
    from trealtime.errors import ConnectFailed as ConnectFailed
    from trealtime.errors import ConnectionLost as ConnectionLost
    from trealtime.errors import ServerRefused as ServerRefused
    from trealtime.errors import SettingsError as SettingsError
    from trealtime.errors import TrealtimeError as TrealtimeError
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
    from trealtime.items import AssistantAudio as AssistantAudio
    from trealtime.items import AssistantMessageItem as AssistantMessageItem
    from trealtime.items import AssistantText as AssistantText
    from trealtime.items import InputAudio as InputAudio
    from trealtime.items import InputText as InputText
    from trealtime.items import RealtimeItem as RealtimeItem
    from trealtime.items import RealtimeToolCallItem as RealtimeToolCallItem
    from trealtime.items import SystemMessageItem as SystemMessageItem
    from trealtime.items import UserMessageItem as UserMessageItem
    from trealtime.mcp.hosted import HostedMCPTool as HostedMCPTool
    from trealtime.mcp.kinds import MCPServerStdio as MCPServerStdio
    from trealtime.mcp.kinds import MCPServerStreamableHttp as MCPServerStreamableHttp
    from trealtime.observability.settings import instrument as instrument
    from trealtime.tools.context import RunContext as RunContext
    from trealtime.tools.context import RunContextWrapper as RunContextWrapper
    from trealtime.tools.context import ToolContext as ToolContext
    from trealtime.tools.function_tool import FunctionTool as FunctionTool
    from trealtime.tools.function_tool import function_tool as function_tool
    from trealtime.tools.guardrails import ToolGuardrailFunctionOutput as ToolGuardrailFunctionOutput
    from trealtime.tools.guardrails import ToolInputGuardrail as ToolInputGuardrail
    from trealtime.tools.guardrails import ToolInputGuardrailData as ToolInputGuardrailData
    from trealtime.tools.guardrails import ToolOutputGuardrail as ToolOutputGuardrail
    from trealtime.tools.guardrails import ToolOutputGuardrailData as ToolOutputGuardrailData
    from trealtime.tools.guardrails import tool_input_guardrail as tool_input_guardrail
    from trealtime.tools.guardrails import tool_output_guardrail as tool_output_guardrail
    from trealtime.transport.models import AzureRealtimeModel as AzureRealtimeModel
    from trealtime.transport.models import OpenAIRealtimeModel as OpenAIRealtimeModel
    from trealtime.transport.models import OpenAIRealtimeSIPModel as OpenAIRealtimeSIPModel
    from trealtime.transport.models import OpenAIRealtimeWebSocketModel as OpenAIRealtimeWebSocketModel
    from trealtime.transport.models import RealtimeModel as RealtimeModel
else:
    _public, __getattr__, __dir__ = _lazy.namespace(__name__)
    __all__ = ["__version__", *_public]
