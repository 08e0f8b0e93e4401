"""What a response brings: the quick way of its audio, and lists of tools that do not come."""

from __future__ import annotations

import pybase64
import pytest

from trealtime._core.audio_event import audio_event
from trealtime._core.guardrails import GuardrailPolicy
from trealtime.events import AudioChunk, EventInfo, RealtimeAudio
from trealtime.protocol.codec import read_server_event
from trealtime.tools.context import RunContext


def test_audio_made_quickly_is_what_the_constructors_make():
    info = EventInfo(RunContext(None))
    quick = audio_event(b"\x01\x00", "resp_1", "item_1", 2, 40.0, info)
    slow = RealtimeAudio(AudioChunk(b"\x01\x00", "resp_1", "item_1", 2, 40.0), "item_1", 2, info)
    assert quick == slow
    assert repr(quick) == repr(slow)
    assert quick.type == quick.audio.type == "audio"


def nothing_happens(talk):
    pass


@pytest.mark.parametrize(
    "happens, options, quick",
    [
        (nothing_happens, {}, True),
        (lambda talk: talk.app.interrupt(), {}, False),
        (lambda talk: talk.done("r"), {}, False),
        (nothing_happens, {"guardrails": GuardrailPolicy(hold_back=True)}, False),
    ],
)
def test_audio_takes_the_quick_way_where_it_has_only_to_be_emitted(make_talk, happens, options, quick):
    talk = make_talk(**options)
    talk.created("r")
    talk.audio("r", "a", ms=100)
    happens(talk)
    data = {
        "type": "response.output_audio.delta",
        "event_id": "event_x",
        "response_id": "r",
        "item_id": "a",
        "output_index": 0,
        "content_index": 0,
        "delta": pybase64.b64encode_as_string(bytes(960)),
    }
    event = talk.core.receive_audio(talk.now, read_server_event(data))
    assert (event is not None) is quick
    if event is not None:
        assert (event.item_id, event.audio.start_ms, len(event.audio.data)) == ("a", 100, 960)
        assert talk.state.ledger.received_ms("a", 0) == 120


@pytest.mark.parametrize(
    "declared, listed, item_id, named",
    [
        (["docs", "mail"], {"l": "docs"}, "l", "docs"),
        (["docs", "mail"], {"l": "docs"}, None, "mail"),
        (["docs", "mail"], {}, None, ""),
        (["docs"], {}, "unknown", "docs"),
        (["docs"], {"l": "docs"}, None, ""),
        ([], {}, None, ""),
    ],
)
def test_an_mcp_server_without_a_list_of_tools_is_named_where_it_is_known(talk, declared, listed, item_id, named):
    tools = [{"type": "mcp", "server_label": label} for label in declared]
    talk.server("session.updated", session={"type": "realtime", "tools": [*tools, {"type": "function", "name": "f"}]})
    for each, label in listed.items():
        talk.item(each, type="mcp_list_tools", server_label=label, tools=[])
    talk.server("mcp_list_tools.failed", item_id=item_id or "none")
    (event,) = talk.events_of("error")
    assert event.error.server_name == named


@pytest.mark.parametrize("item_id", [None, 5, [], {}, ["item"], True, ""])
@pytest.mark.parametrize("kind", ["message", "function_call", "mcp_approval_request", [], None])
def test_an_item_whose_id_is_no_text_does_no_harm_at_the_end_of_a_response(talk, item_id, kind) -> None:
    talk.created("r1")
    item = {"id": item_id, "type": kind, "role": "assistant", "content": [], "call_id": item_id, "name": item_id}
    talk.done("r1", output=[item, {**item, "role": []}])
    assert [event.response_id for event in talk.events_of("agent_end")] == ["r1"]
    assert item_id not in talk.state.history
