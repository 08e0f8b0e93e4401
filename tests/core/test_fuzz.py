"""Whatever a server sends, in whatever order: the core never raises."""

from __future__ import annotations

import os
from operator import methodcaller
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trealtime._core.usage import SessionLimits
from trealtime.errors import ConnectionLost
from trealtime.protocol.codec import read_server_event
from trealtime.protocol.server_events import SERVER_EVENT_TYPES

_IDS = st.sampled_from(("a", "b", "resp_1", "resp_2", "item_1", "item_2", "call_1", "root", ""))
_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3000) | st.floats(-10, 10) | _IDS | st.just("x y z"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("type", "id", "x")), inner, max_size=3)
    ),
    max_leaves=4,
)


def _object(required: dict[str, Any], **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Mostly what the schema says, now and then anything."""
    mixed = {name: st.one_of(value, value, value, value, _ANY) for name, value in optional.items()}
    return st.fixed_dictionaries(required, optional=mixed)


_PART = _object(
    {},
    type=st.sampled_from(("input_text", "input_audio", "input_image", "output_text", "output_audio", "text", "audio")),
    text=st.just("some text"),
    transcript=st.just("some words"),
    audio=st.just("AAAA"),
    image_url=st.just("data:x"),
)
_ITEM = _object(
    {},
    id=_IDS,
    type=st.sampled_from(("message", "function_call", "function_call_output", "mcp_call")),
    role=st.sampled_from(("user", "assistant", "system")),
    status=st.sampled_from(("in_progress", "completed", "incomplete")),
    content=st.lists(_PART, max_size=3),
    call_id=_IDS,
    name=st.just("look"),
    arguments=st.just("{}"),
    output=st.just("42"),
)
_RESPONSE = _object(
    {},
    id=_IDS,
    status=st.sampled_from(("in_progress", "completed", "cancelled", "failed", "incomplete")),
    status_details=_object({}, reason=st.just("turn_detected"), error=_object({}, code=st.just("x"))),
    metadata=st.none() | st.dictionaries(st.just("trealtime_request"), _ANY, max_size=1),
    conversation_id=st.none() | _IDS,
    output=st.lists(_ITEM, max_size=2),
    usage=_object({}, input_tokens=_ANY, output_tokens=_ANY, total_tokens=_ANY, input_token_details=_ANY),
)
_DETECTION = _object({}, create_response=st.booleans(), interrupt_response=st.booleans())
_SIDE = _object({}, format=_object({}, type=st.sampled_from(("audio/pcm", "audio/pcmu"))), turn_detection=_DETECTION)
_ERROR = _object(
    {},
    code=st.sampled_from(("conversation_already_has_active_response", "invalid_value", "session_expired")),
    param=st.sampled_from(("session.voice", "response.create", "type")),
    event_id=st.integers(1, 12).map("evt_{}".format),
    message=st.just("no"),
)
_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "item": _ITEM,
    "part": _PART,
    "response": _RESPONSE,
    "session": _object({}, audio=_object({}, input=_SIDE, output=_SIDE)),
    "error": _ERROR,
    "item_id": _IDS,
    "response_id": _IDS,
    "previous_item_id": st.none() | _IDS,
    "content_index": st.integers(-1, 3),
    "output_index": st.integers(0, 2),
    "audio_end_ms": st.integers(-5, 5000),
    "delta": st.sampled_from(("AAAA", "words ", "")),
    "transcript": st.just("words"),
    "text": st.just("words"),
    "event_id": st.just("event_x"),
}


def _event(type: str, chosen: dict[str, Any]) -> dict[str, Any]:
    return {"type": type, **chosen}


EVENTS = st.builds(
    _event,
    st.sampled_from([*SERVER_EVENT_TYPES, "response.of.tomorrow"]),
    st.one_of(
        st.fixed_dictionaries(_FIELDS),
        st.fixed_dictionaries({}, optional={name: st.one_of(value, _ANY) for name, value in _FIELDS.items()}),
    ),
)


def _wish(name: str, *positional: Any, **named: Any) -> Any:
    """A call of an input of the core with such arguments, to be made on `talk.app`."""
    arguments = st.tuples(st.tuples(*positional), st.fixed_dictionaries(named))
    return arguments.map(lambda drawn: methodcaller(name, *drawn[0], **drawn[1]))


WISHES = st.one_of(
    _wish(
        "interrupt",
        cause=st.sampled_from(("speech", "app", "guardrail")),
        response_id=st.none() | _IDS,
        reply_id=st.none() | _IDS,
    ),
    _wish("create_response", st.none() | st.just({"conversation": "none"}), automatic=st.booleans()),
    _wish("cancel_response", st.none() | _IDS),
    _wish("send_tool_output", _IDS, st.just("42"), respond=st.booleans()),
    _wish(
        "report_heard",
        _IDS,
        st.integers(-1, 3),
        st.floats(-10, 5000),
        playing_to_ms=st.none() | st.floats(-10, 5000),
    ),
    _wish("use_reports", reporting=st.booleans()),
    _wish("shed", _IDS, st.integers(-1, 3), st.floats(0, 5000)),
    _wish("truncate_item", _IDS, st.integers(-1, 3), st.integers(-10, 5000)),
    _wish("update_session", st.just({"audio": {"input": {"format": {"type": "audio/pcm"}}}})),
)


HAND_OUTS = st.tuples(_IDS, st.integers(-1, 3), st.floats(0, 100), st.floats(0, 5000))


@settings(
    max_examples=300 * int(os.environ.get("TREALTIME_TIMES", "1")),
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(
    steps=st.lists(st.one_of(EVENTS, EVENTS, EVENTS, WISHES, HAND_OUTS), max_size=40),
    limits=st.sampled_from((None, SessionLimits(max_tokens=20, max_duration_s=7))),
)
def test_no_sequence_of_events_makes_the_core_raise(make_talk, steps, limits):
    talk = make_talk(raw_events=True, limits=limits)
    talk.app.open_session({"instructions": "x"}, reply_id="open")
    for step in steps:
        talk.now += 0.5
        if isinstance(step, dict):
            talk._keep(talk.core.receive(talk.now, read_server_event(step), step))
        elif isinstance(step, tuple):
            talk.core.hand_out(talk.now, *step)
        else:
            talk.do(step)
        talk.core.history()
        talk.core.counters()
        talk.core.playback_remaining(talk.now)
        talk.wait(0.1)
        assert talk.core.next_deadline is None or talk.core.next_deadline > talk.now
    talk.app.disconnect(ConnectionLost("gone"))
    assert "open" in talk.settled
