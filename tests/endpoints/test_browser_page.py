"""The messages between the page that comes with trealtime and a session."""

from __future__ import annotations

from typing import Any, get_args

import attrs
import pytest

from trealtime.agents.agent import RealtimeAgent
from trealtime.endpoints import PAGE_EVENTS, PAGE_FILES, PageUpdates, obey_page
from trealtime.events import (
    EventInfo,
    RealtimeAgentStartEvent,
    RealtimeAudioEnd,
    RealtimeHistoryUpdated,
    RealtimeSessionEvent,
    RealtimeTurnEnded,
)
from trealtime.items import AssistantAudio, AssistantMessageItem, InputImage, InputText, UserMessageItem
from trealtime.metrics import TurnMetrics

INFO = EventInfo(None)
IMAGE = "data:image/png;base64,AAAA"
ASKED = UserMessageItem(item_id="item_1", content=(InputText(text="What is this?"), InputImage(image_url=IMAGE)))
ANSWERED = AssistantMessageItem(item_id="item_2", content=(AssistantAudio(transcript="A wheel."),))


def history(*items: Any) -> RealtimeHistoryUpdated:
    return RealtimeHistoryUpdated(history=items, info=INFO)


def test_the_page_is_told_each_change_of_the_history_once() -> None:
    updates = PageUpdates()
    (asked,) = updates.of(history(ASKED))
    assert asked == {
        "type": "item",
        "item_id": "item_1",
        "role": "user",
        "text": "What is this?",
        "heard_ms": None,
        "after": None,
        "images": [IMAGE],
    }
    (answered,) = updates.of(history(ASKED, ANSWERED))
    assert (answered["item_id"], answered["after"]) == ("item_2", "item_1")
    assert "images" not in answered
    cut = attrs.evolve(ANSWERED, content=(AssistantAudio(transcript="A wh", heard_ms=300),))
    (changed,) = updates.of(history(ASKED, cut))
    assert (changed["text"], changed["heard_ms"]) == ("A wh", 300)
    assert updates.of(history(ASKED, cut)) == []
    assert updates.of(history(cut)) == [
        {**changed, "after": None},
        {"type": "item_gone", "item_id": "item_1"},
    ]


def test_events_have_the_fields_that_the_page_shows_and_agents_their_names() -> None:
    event = RealtimeAgentStartEvent(agent=RealtimeAgent(name="Otto"), info=INFO, response_id="resp_1")
    expected = {"type": "event", "name": "agent_start", "response_id": "resp_1", "agent": "Otto"}
    assert PageUpdates().of(event) == [expected]


def test_a_turn_has_its_figures_in_milliseconds() -> None:
    metrics = TurnMetrics(
        turn_id="turn_1",
        number=1,
        source="speech",
        agent="Otto",
        status="completed",
        item_ids=("item_1", "item_2"),
        speech_ended_at=1.0,
        first_heard_at=1.25,
        heard_until_at=3.0,
    )
    (turn,) = PageUpdates().of(RealtimeTurnEnded(metrics=metrics, info=INFO))
    assert (turn["latency_ms"], turn["heard_ms"], turn["item_ids"]) == (250, 1750, ["item_1", "item_2"])


def test_the_page_shows_events_that_there_are_and_refuses_others() -> None:
    types = {attrs.fields_dict(kind)["type"].default for kind in get_args(RealtimeSessionEvent)}
    assert set(PAGE_EVENTS) <= types
    audio_end = RealtimeAudioEnd(item_id="item_1", content_index=0, response_id="resp_1", info=INFO)
    with pytest.raises(ValueError, match="expected one of the types in PAGE_EVENTS, got 'audio_end'"):
        PageUpdates().of(audio_end)


def test_the_files_of_the_page_are_there() -> None:
    names = {"index.html", "app.js", "audio.js", "worklet.js", "style.css", "icon.svg"}
    assert {path.name for path in PAGE_FILES.iterdir()} == names


class Session:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    async def interrupt(self) -> None:
        self.calls.append(("interrupt",))

    async def send_message(self, message: Any) -> None:
        self.calls.append(("send_message", message))

    async def approve_tool_call(self, call_id: str) -> bool:
        self.calls.append(("approve", call_id))
        return True

    async def reject_tool_call(self, call_id: str) -> bool:
        self.calls.append(("reject", call_id))
        return True


@pytest.mark.parametrize(
    "message, calls",
    [
        ({"type": "say", "text": "Hi"}, [("interrupt",), ("send_message", "Hi")]),
        ({"type": "interrupt"}, [("interrupt",)]),
        ({"type": "decide", "call_id": "call_1", "approve": True}, [("approve", "call_1")]),
        ({"type": "decide", "call_id": "call_1", "approve": False}, [("reject", "call_1")]),
    ],
)
async def test_a_message_of_the_page_becomes_calls_of_the_session(message: Any, calls: Any) -> None:
    session = Session()
    await obey_page(message, session)
    assert session.calls == calls


@pytest.mark.parametrize("text", ["", "What is this?"])
async def test_an_image_is_sent_with_its_words(text: str) -> None:
    session = Session()
    await obey_page({"type": "image", "url": IMAGE, "text": text}, session)
    words = [{"type": "input_text", "text": text}] if text else []
    content = [*words, {"type": "input_image", "image_url": IMAGE}]
    message = {"type": "message", "role": "user", "content": content}
    assert session.calls == [("interrupt",), ("send_message", message)]


@pytest.mark.parametrize(
    "message",
    [
        {"type": "dance"},
        {"type": "say", "text": 7},
        {"type": "say", "text": " "},
        {"type": "image", "url": "https://shop.example/wheel.png", "text": ""},
        {"type": "decide", "call_id": "call_1", "approve": "yes"},
    ],
)
async def test_any_other_message_is_refused(message: Any) -> None:
    session = Session()
    with pytest.raises(ValueError, match="expected"):
        await obey_page(message, session)
    assert session.calls == []
