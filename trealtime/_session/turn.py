"""A whole turn of the agent: what `RealtimeSession.ask` returns."""

from __future__ import annotations

from collections.abc import Callable, Collection

import attrs

from trealtime._session.response import SessionResponse
from trealtime.events import RealtimeAudio, ResponseStatus
from trealtime.items import RealtimeItem
from trealtime.usage import Usage

__all__ = ["Turn", "collect"]


@attrs.frozen(kw_only=True)
class Turn:
    """One answer, whole.

    `text` is what was written or said, `audio` its sound in the session's output format, `items` the items of history
    that came of it, `usage` all that it took, `status` and `reason` how it ended (``"cancelled"`` after a barge-in).
    """

    text: str
    audio: bytes
    items: tuple[RealtimeItem, ...]
    usage: Usage | None
    status: ResponseStatus
    reason: str | None = None
    response_id: str | None = None


async def collect(response: SessionResponse, items: Callable[[Collection[str]], tuple[RealtimeItem, ...]]) -> Turn:
    """The turn that `response` becomes; `items` finds items of history by their ids.

    The audio counts as handed out when the turn is complete: nobody can have played it before.
    """
    response.collect()
    heard: list[RealtimeAudio] = []
    while (event := await response.next_event()) is not None:
        if isinstance(event, RealtimeAudio):
            heard.append(event)
    result = await response.result()
    text = await response.transcript()
    for event in heard:
        response.take_as_played(event)
    output = [str(item.get("id")) for item in result.output]
    return Turn(
        text=text,
        audio=b"".join(event.audio.data for event in heard),
        items=items({*response.item_ids, *output}),
        usage=response.usage,
        status=result.status,
        reason=result.reason,
        response_id=result.response_id,
    )
