"""``session.model.send_event``: the action for each of the values that it takes."""

from __future__ import annotations

from typing import Any, cast

from trealtime._session.session import RealtimeSession as NativeSession
from trealtime.compat.exceptions import user_errors
from trealtime.compat.realtime import model_inputs as inputs
from trealtime.compat.realtime._leniency import known_settings
from trealtime.errors import RequestTimedOut, SettingsRefused
from trealtime.events import EventInfo, RealtimeError, ServerErrorInfo
from trealtime.protocol.settings_dicts import SessionSettingsDict

__all__ = ["send_event"]


async def send_event(session: NativeSession[Any], event: inputs.RealtimeModelSendEvent) -> None:
    """Do what `event` says; waits as the session's method that does the same.

    Raises TypeError for what is no such event, `trealtime.compat.UserError` for what cannot be sent.
    """
    with user_errors():
        match event:
            case inputs.RealtimeModelSendRawMessage():
                await session.send_raw(event.message)
            case inputs.RealtimeModelSendUserInput():
                await session.send_message(event.user_input)
            case inputs.RealtimeModelSendAudio():
                await session.send_audio(event.audio, commit=event.commit)
            case inputs.RealtimeModelSendToolOutput():
                await _send_output(session, event)
            case inputs.RealtimeModelSendInterrupt():
                await _interrupt(session, event)
            case inputs.RealtimeModelSendSessionUpdate():
                await _update(session, event)
            case _:
                raise TypeError(f"send_event takes one of the RealtimeModelSend... values, got {event!r}")


async def _update(session: NativeSession[Any], event: inputs.RealtimeModelSendSessionUpdate) -> None:
    try:
        await session.update_settings(cast("SessionSettingsDict", known_settings(event.session_settings)))
    except SettingsRefused as refused:  # the SDK does not wait for the answer: the program reads it in an event
        _tell(session, _refusal(refused))
    except RequestTimedOut as late:
        _tell(session, late)


def _refusal(refused: SettingsRefused) -> ServerErrorInfo:
    return ServerErrorInfo(
        message=str(refused),
        type=refused.type,
        code=refused.code,
        param=refused.param,
        event_id=refused.event_id,
        request=refused.request,
    )


def _tell(session: NativeSession[Any], error: ServerErrorInfo | Exception) -> None:
    session._parts.driver.emit(RealtimeError(error=error, info=EventInfo(session.context)))


async def _send_output(session: NativeSession[Any], event: inputs.RealtimeModelSendToolOutput) -> None:
    item = {"type": "function_call_output", "call_id": event.tool_call.call_id, "output": event.output}
    await session.send_raw({"type": "conversation.item.create", "item": item})
    if event.start_response:
        await session.create_response()


async def _interrupt(session: NativeSession[Any], event: inputs.RealtimeModelSendInterrupt) -> None:
    if event.cancel_response_only:
        named = {} if event.response_id is None else {"response_id": event.response_id}
        await session.send_raw({"type": "response.cancel", **named})
    elif event.response_id is not None:
        await session.cancel_response(event.response_id)
    else:
        await session.interrupt()
