"""Asking for a response, as every rule does it that wants one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trealtime._core.response_queue import Request
from trealtime._core.turn_answers import turn_to_answer

if TYPE_CHECKING:
    from trealtime._core.state import State
    from trealtime._core.turn_records import TurnRecord
    from trealtime.tools.function_tool import FunctionTool

__all__ = ["submit"]


def submit(
    state: State,
    *,
    params: Mapping[str, Any] | None = None,
    automatic: bool = False,
    reply_ids: list[str] | None = None,
    event_id: str | None = None,
    tools: Sequence[FunctionTool | Mapping[str, Any]] = (),
    answers: TurnRecord | None = None,
    rounds: int = 0,
    turn: bool = False,
    for_app: bool = False,
    record: TurnRecord | None = None,
    continues: str | None = None,
    reconnected: bool = False,
    refusals: int = 0,
) -> Request:
    """Ask for a response; `pump` sends the request when its time has come. It is of the answer to the turn `record`,
    else to the newest turn of the user that waits for one and that the server does not answer by itself. `refusals`: so
    often the server has refused or failed to make it, for its own sake."""
    key = state.ids.new("req")  # other clients of the same session may have keys of their own
    record = record if record is not None else answers
    if record is None and (params is None or params.get("conversation") != "none"):
        record = turn_to_answer(state)
    request = Request(
        key,
        params,
        automatic=automatic,
        reply_ids=reply_ids or [],
        event_id=event_id,
        tools=tools,
        answers=answers,
        about=state.items.confirmed if turn else state.items.sent if automatic else 0,
        rounds=rounds,
        turn=turn,
        for_app=for_app or not reply_ids,
        record=record,
        continues=continues,
        reconnected=reconnected or continues is not None,
        refusals=refusals,
    )
    state.response_queue.submit(request)
    return request
