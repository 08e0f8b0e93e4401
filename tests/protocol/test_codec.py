"""Frames are read leniently and never raise; what is written is valid by the schema."""

import base64
import json
from types import MappingProxyType

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trealtime.protocol.client_events import CLIENT_EVENT_TYPES
from trealtime.protocol.codec import MAX_DEPTH, decode_server_event, encode, encode_append, read_server_event
from trealtime.protocol.server_events import (
    SERVER_EVENT_TYPES,
    ConversationItemInputAudioTranscriptionDelta,
    ErrorEvent,
    InputAudioBufferSpeechStarted,
    RawServerEvent,
    ResponseFunctionCallArgumentsDone,
    ResponseOutputAudioDelta,
    ResponseOutputAudioTranscriptDelta,
    ResponseOutputItemAdded,
    ResponseOutputTextDelta,
    wire_fields,
)


def example(value_of: str) -> object:
    """A value for a field of an event class, by its annotation."""
    return {
        "str": "text",
        "int": 7,
        "float": 1.5,
        "bytes": b"\x01\x02",
        "Mapping[str, Any]": {"id": "x", "new": [1, None]},
        "Sequence[Mapping[str, Any]]": ({"name": "tokens"},),
    }[value_of.removesuffix(" | None")]


def filled(cls):
    return cls(**{f.name: example(f.annotation) for f in wire_fields(cls)})


EVERY_SERVER_TYPE = pytest.mark.parametrize("cls", SERVER_EVENT_TYPES.values(), ids=list(SERVER_EVENT_TYPES))


def to_wire(event) -> dict[str, object]:
    """The JSON object of a server event: audio as base64, None left out."""
    values = {"type": event.type, **{f.name: getattr(event, f.name) for f in wire_fields(type(event))}}
    text = {k: base64.b64encode(v).decode() if isinstance(v, bytes) else v for k, v in values.items()}
    return {key: value for key, value in text.items() if value is not None}


def audio_frame(**changes) -> dict[str, object]:
    frame = {
        "type": "response.output_audio.delta",
        "event_id": "event_1",
        "response_id": "resp_1",
        "item_id": "item_1",
        "output_index": 2,
        "content_index": 3,
        "delta": base64.b64encode(b"\x00\x01\x02\x03").decode(),
    }
    return {key: value for key, value in {**frame, **changes}.items() if value is not ...}


# ---- every event ----------------------------------------------------------------------------------------------------


def test_there_is_a_class_for_every_event_of_the_schema_and_no_other(schema):
    assert set(SERVER_EVENT_TYPES) == set(schema.event_types("server"))
    assert set(CLIENT_EVENT_TYPES) == set(schema.event_types("client"))


def test_official_examples_are_read_as_their_own_class(schema):
    seen = set()
    for path in sorted((schema.HERE / "examples" / "server").glob("*.json")):
        if f"server/{path.name}" in schema.KNOWN_BAD_EXAMPLES:
            continue
        text = path.read_text(encoding="utf-8")
        if json.loads(text).get("delta") == "Base64EncodedAudioDelta":  # a placeholder, no base64
            text = text.replace("Base64EncodedAudioDelta", "AAAA")
        event = decode_server_event(text)[0]
        assert type(event) is SERVER_EVENT_TYPES[path.stem], getattr(event, "problem", "")
        seen.add(path.stem)
    assert len(seen) >= 43


@pytest.mark.parametrize("kind", CLIENT_EVENT_TYPES)
def test_a_client_event_has_the_keys_of_the_schema_and_requires_the_same(schema, kind):
    cls = CLIENT_EVENT_TYPES[kind]
    definition = schema.load()["$defs"][schema.event_types("client")[kind]]
    assert cls.__required_keys__ | cls.__optional_keys__ == set(definition["properties"])
    assert cls.__required_keys__ == set(definition["required"])
    assert cls.__annotations__["type"].__args__ == (kind,)


@EVERY_SERVER_TYPE
def test_a_server_event_survives_the_way_to_the_wire_and_back(cls):
    event = filled(cls)
    back, _ = decode_server_event(encode(to_wire(event)))
    assert back == event


@EVERY_SERVER_TYPE
def test_a_missing_or_null_event_id_and_unknown_fields_do_no_harm(cls):
    wire = to_wire(filled(cls))
    del wire["event_id"]
    for extra in ({}, {"event_id": None}, {"brand_new": {"x": 1}}):
        event, _ = decode_server_event(encode({**wire, **extra}))
        assert type(event) is cls
        assert event.event_id is None


@EVERY_SERVER_TYPE
def test_an_event_without_what_it_is_about_becomes_raw_and_names_the_field(cls):
    wire = to_wire(filled(cls))
    for field in wire_fields(cls):
        if field.required:
            for changed in ({**wire, field.name: None}, {k: v for k, v in wire.items() if k != field.name}):
                event, data = decode_server_event(encode(changed))
                assert isinstance(event, RawServerEvent)
                assert event.type == wire["type"]
                assert field.name in event.problem
                assert data == event.data == json.loads(encode(changed))


@EVERY_SERVER_TYPE
def test_a_null_in_a_field_that_has_a_default_counts_as_absent(cls):
    optional = {f.name: None for f in wire_fields(cls) if not f.required}
    event, _ = decode_server_event(encode({**to_wire(filled(cls)), **optional}))
    assert type(event) is cls
    assert event == cls(**{f.name: example(f.annotation) for f in wire_fields(cls) if f.required})


@EVERY_SERVER_TYPE
def test_a_field_of_the_wrong_type_makes_the_event_raw(cls):
    wire = to_wire(filled(cls))
    for name in wire.keys() - {"type"}:
        event, _ = decode_server_event(encode({**wire, name: True}))
        assert isinstance(event, RawServerEvent)
        assert event.problem.startswith(f"field '{name}' must be ")
        assert event.problem.endswith("is a boolean")


def test_what_a_server_may_leave_out_has_a_default():
    assert read_server_event(
        {"type": "conversation.item.input_audio_transcription.delta", "item_id": "i"}
    ) == ConversationItemInputAudioTranscriptionDelta(item_id="i", delta="", content_index=0)
    done = read_server_event(
        {"type": "response.function_call_arguments.done", "response_id": "r", "item_id": "i", "arguments": "{}"}
    )
    assert done == ResponseFunctionCallArgumentsDone(response_id="r", item_id="i", arguments="{}", name=None)
    added = read_server_event({"type": "response.output_item.added", "response_id": "r", "item": {}})
    assert added == ResponseOutputItemAdded(response_id="r", item={}, output_index=0)
    assert read_server_event({"type": "input_audio_buffer.speech_started"}) == InputAudioBufferSpeechStarted()


def test_milliseconds_written_as_a_fraction_are_whole_ones():
    event = read_server_event({"type": "input_audio_buffer.speech_started", "audio_start_ms": 1234.5, "item_id": "i"})
    assert event == InputAudioBufferSpeechStarted(item_id="i", audio_start_ms=1234)


def test_an_unknown_type_becomes_raw_and_keeps_everything():
    frame = {"type": "response.telepathy.delta", "event_id": "e", "thought": {"deep": [1]}}
    event, data = decode_server_event(json.dumps(frame))
    assert event == RawServerEvent("response.telepathy.delta", frame, problem="unknown type")
    assert isinstance(event, RawServerEvent)
    assert event.event_id == "e"
    assert data == frame


def test_the_decoded_object_comes_with_the_event():
    frame = {"type": "error", "error": {"message": "no"}, "extra": 1}
    event, data = decode_server_event(json.dumps(frame))
    assert event == ErrorEvent(error={"message": "no"})
    assert data == frame


def test_events_compare_hash_and_show_by_value():
    one, same = (filled(SERVER_EVENT_TYPES["response.output_audio.delta"]) for _ in range(2))
    assert one == same
    assert hash(one) == hash(same)
    assert one != msgspec.structs.replace(one, item_id="other")
    assert one != msgspec.structs.replace(one, event_id=None)
    assert one != "one"
    assert read_server_event({"type": "input_audio_buffer.cleared"}) != ErrorEvent(error={})
    assert repr(one) == (
        "ResponseOutputAudioDelta(event_id='text', response_id='text', item_id='text', output_index=7, "
        "content_index=7, delta=<2 bytes>)"
    )
    with pytest.raises(AttributeError, match="immutable"):
        one.delta = b""


# ---- frames that are no events --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    ["", "{", "nonsense", '{"type": "error"', b"\xff\xfe\x00", b"", "\ud800", '{"a": "\ud800"}', "[" * 100_000, "NaN"],
)
def test_what_is_not_json_becomes_a_raw_event_without_a_type(frame):
    event, data = decode_server_event(frame)
    assert isinstance(event, RawServerEvent)
    assert (event.type, event.data, data) == ("", {}, {})
    assert event.problem.startswith("not JSON: ")


@pytest.mark.parametrize(
    "frame, kind", [("null", "null"), ("[]", "an array"), ("3", "an integer"), ('"error"', "a string")]
)
def test_json_that_is_no_object_becomes_a_raw_event_without_a_type(frame, kind):
    event, _ = decode_server_event(frame)
    assert event == RawServerEvent("", {}, problem=f"not a JSON object but {kind}")


@pytest.mark.parametrize("frame", ["{}", '{"type": null}', '{"type": 7}', '{"type": ["error"]}'])
def test_an_object_without_a_type_becomes_raw(frame):
    event, data = decode_server_event(frame)
    assert event == RawServerEvent("", json.loads(frame), problem="it has no type")
    assert data == json.loads(frame)


def test_a_binary_frame_with_an_event_in_it_is_read():
    assert decode_server_event(b'{"type":"input_audio_buffer.cleared"}')[0].type == "input_audio_buffer.cleared"


# ---- audio deltas ---------------------------------------------------------------------------------------------------

AUDIO = ResponseOutputAudioDelta(
    response_id="resp_1",
    item_id="item_1",
    output_index=2,
    content_index=3,
    delta=b"\x00\x01\x02\x03",
    event_id="event_1",
)


def test_an_audio_delta_arrives_as_bytes():
    event, data = decode_server_event(json.dumps(audio_frame()))
    assert event == AUDIO
    assert event.type == "response.output_audio.delta"
    assert hash(event) == hash(AUDIO)
    assert repr(event) == repr(AUDIO)
    assert data == {}


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("kind", [str, bytes])
def test_an_audio_delta_reads_the_same_by_the_fast_and_the_general_path(order, kind):
    silence = bytes(4800)
    frame = audio_frame(delta=base64.b64encode(silence).decode())
    text = json.dumps(dict(list(frame.items())[::order]))
    event, data = decode_server_event(text if kind is str else text.encode())
    assert event == msgspec.structs.replace(AUDIO, delta=silence)
    assert data == {}


@pytest.mark.parametrize("name", ["output_index", "content_index", "event_id"])
@pytest.mark.parametrize("value", [None, ...])
def test_an_audio_delta_does_without_indexes_and_id(name, value):
    event, _ = decode_server_event(json.dumps(audio_frame(**{name: value})))
    assert event == msgspec.structs.replace(AUDIO, **{name: None if name == "event_id" else 0})


@pytest.mark.parametrize(
    "changes",
    [
        {"delta": "!!!!"},
        {"delta": "AAA"},
        {"delta": "AA AA"},
        {"delta": "AAé="},
        {"delta": None},
        {"delta": ...},
        {"delta": 4},
        {"response_id": None},
        {"item_id": ...},
        {"content_index": "0"},
    ],
)
def test_an_audio_delta_that_cannot_be_read_becomes_raw(changes):
    frame = audio_frame(**changes)
    event, data = decode_server_event(json.dumps(frame))
    assert isinstance(event, RawServerEvent)
    assert event.type == "response.output_audio.delta"
    assert next(iter(changes)) in event.problem
    assert event.data == data == frame


def test_a_text_that_mentions_audio_deltas_is_still_a_text():
    frame = {
        "type": "response.output_text.delta",
        "response_id": "r",
        "item_id": "i",
        "delta": '"response.output_audio.delta"',
    }
    event, _ = decode_server_event(json.dumps(frame))
    assert event == ResponseOutputTextDelta(response_id="r", item_id="i", delta='"response.output_audio.delta"')


# ---- whatever comes -------------------------------------------------------------------------------------------------

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(list(SERVER_EVENT_TYPES)), st.data())
def test_any_mutation_of_an_event_is_typed_or_raw_and_never_raises(kind, data):
    cls = SERVER_EVENT_TYPES[kind]
    wire = to_wire(filled(cls))
    for name in data.draw(st.lists(st.sampled_from(sorted(wire)), max_size=3)):
        if data.draw(st.booleans()):
            wire.pop(name, None)
        else:
            wire[name] = data.draw(anything)
    wire.update(data.draw(st.dictionaries(st.text(max_size=8), anything, max_size=2)))
    event, decoded = decode_server_event(json.dumps(wire))
    if isinstance(event, RawServerEvent):
        assert event.problem
        assert event.data == decoded == json.loads(json.dumps(wire))
    else:
        assert event.type == wire["type"]
        for field in wire_fields(type(event)):  # nothing in a typed event has a type that its class does not promise
            value = getattr(event, field.name)
            if field.annotation in ("str", "int", "float", "bytes"):
                assert type(value).__name__ == field.annotation


@given(st.text() | st.binary() | anything.map(json.dumps))
def test_any_frame_gives_an_event_and_never_raises(frame):
    event, data = decode_server_event(frame)
    assert isinstance(event, RawServerEvent) or event.type in SERVER_EVENT_TYPES
    assert isinstance(data, (dict, MappingProxyType))


# ---- numbers and depths ---------------------------------------------------------------------------------------------

LARGE = st.integers(2**63) | st.integers(max_value=-(2**63) - 1) | st.just(10**400) | st.just(-(10**4000))


@given(LARGE)
def test_an_integer_past_64_bits_is_null_inside_an_object_and_makes_an_event_raw_as_its_field(number):
    frame = {"type": "session.updated", "session": {"expires_at": number, "list": [number, 5], "kept": 2**63 - 1}}
    event, data = decode_server_event(json.dumps(frame))
    assert data["session"] == {"expires_at": None, "list": [None, 5], "kept": 2**63 - 1}
    assert event.session == data["session"]
    for wire in (audio_frame(output_index=number), {**audio_frame(), "type": "response.output_audio_transcript.delta"}):
        event, _ = decode_server_event(json.dumps({**wire, "content_index": number}), with_data=False)
        assert event.type == wire["type"]
        assert getattr(event, "content_index", 0) == 0
    read = read_server_event({"type": "input_audio_buffer.speech_started", "audio_start_ms": number})
    assert isinstance(read, RawServerEvent)
    assert read.problem == "field 'audio_start_ms' must be an integer of 64 bits, is beyond"


@pytest.mark.parametrize("kind", ["array", "object"])
def test_what_is_nested_too_deeply_becomes_a_raw_event(kind):
    opened, closed = {"array": ("[", "]"), "object": ('{"a":', "}")}[kind]
    for levels, fits in ((MAX_DEPTH - 1, True), (MAX_DEPTH, False), (400, False), (100_000, False)):
        frame = f'{{"type":"error","error":{opened * levels}1{closed * levels}}}'
        event, _ = decode_server_event(frame)
        if kind == "object" and fits:
            assert isinstance(event, ErrorEvent)
        elif fits:
            assert event.type == "error"
        else:
            assert isinstance(event, RawServerEvent)
            assert event.type == ""
    wide = {"type": "error", "error": {"all": [[{}]] * 1000}}
    assert decode_server_event(json.dumps(wide))[0] == ErrorEvent(error=wide["error"])


# ---- the two paths agree --------------------------------------------------------------------------------------------

HOT = {"response.output_audio.delta": ResponseOutputAudioDelta,
       "response.output_audio_transcript.delta": ResponseOutputAudioTranscriptDelta}  # fmt: skip
# Larger numbers are null to both ways of reading a frame, and not to `read_server_event`.
whole_numbers = st.integers(-(2**63), 2**63 - 1)
ids = st.text(max_size=8) | st.sampled_from(['"delta":"', '\\"', '"response.output_audio.delta"', "}"])
payloads = st.binary(max_size=30).map(lambda audio: base64.b64encode(audio).decode()) | st.text(max_size=12)


@given(st.data())
def test_a_hot_event_is_read_the_same_by_the_fast_and_the_general_path(data):
    kind = data.draw(st.sampled_from(list(HOT)))
    members = {
        "type": kind,
        "event_id": data.draw(st.none() | ids | whole_numbers),
        "response_id": data.draw(st.none() | ids),
        "item_id": data.draw(ids | st.booleans()),
        "output_index": data.draw(st.none() | whole_numbers | st.floats(allow_nan=False, allow_infinity=False)),
        "content_index": data.draw(st.none() | st.integers(0, 3)),
        "delta": data.draw(payloads | st.none() | whole_numbers),
        "new": data.draw(anything | st.fixed_dictionaries({"delta": payloads})),
    }
    left = data.draw(st.lists(st.sampled_from(list(members)), unique=True, min_size=5))
    frame = {
        key: members[key]
        for key in (
            data.draw(st.permutations(left)) if data.draw(st.booleans()) else sorted(left, key=list(members).index)
        )
    }
    text = json.dumps(
        frame, ensure_ascii=data.draw(st.booleans()), separators=data.draw(st.sampled_from([None, (",", ":")]))
    )
    if any("\ud800" <= c <= "\udfff" for c in text):
        return
    general = read_server_event(json.loads(text))
    for form in (text, text.encode()):
        for with_data in (True, False):
            fast, told = decode_server_event(form, with_data=with_data)
            assert told == ({} if isinstance(fast, ResponseOutputAudioDelta) else frame) or not with_data
            if isinstance(general, RawServerEvent):
                assert isinstance(fast, RawServerEvent)
                assert (fast.type, fast.problem) == (general.type, general.problem)
            else:
                assert fast == general
                assert type(fast) is type(general) is HOT[kind]


@pytest.mark.parametrize("new, told", [(2**70, None), ([2**70, 1], [None, 1]), ("2" * 30, "2" * 30)])
def test_large_numbers_of_a_transcript_delta_are_null_in_its_data_too(new, told):
    frame = {**audio_frame(delta="word"), "type": "response.output_audio_transcript.delta", "new": new}
    event, data = decode_server_event(json.dumps(frame))
    assert isinstance(event, ResponseOutputAudioTranscriptDelta)
    assert data == {**frame, "new": told}


@pytest.mark.parametrize("new", [r'"\ud800"', "[" * 2000 + "]" * 2000, "[" * 200_000, "{" * 150 + "}" * 150])
@pytest.mark.parametrize("with_data", [True, False])
def test_a_transcript_delta_with_something_unreadable_in_an_unknown_field_raises_nothing(new, with_data):
    text = json.dumps({**audio_frame(delta="word"), "type": "response.output_audio_transcript.delta", "new": 0})
    assert text.endswith('"new": 0}')
    event, data = decode_server_event(f"{text[:-2]}{new}}}", with_data=with_data)
    if with_data or isinstance(event, RawServerEvent):
        assert isinstance(event, RawServerEvent)
        assert event.problem
    assert data == {}


def test_data_comes_with_a_transcript_delta_where_it_is_wanted():
    frame = {**audio_frame(delta="word"), "type": "response.output_audio_transcript.delta", "new": 1}
    event, data = decode_server_event(json.dumps(frame))
    assert data == frame
    bare, nothing = decode_server_event(json.dumps(frame), with_data=False)
    assert (bare, nothing) == (event, {})
    assert repr(bare) == repr(event)


@pytest.mark.parametrize("tail", [" ", "\n", ',"new":"AAAA"}', ',"delta":"AAAA"}'])
def test_an_audio_delta_that_does_not_end_the_object_is_read_all_the_same(tail):
    text = json.dumps(audio_frame(), separators=(",", ":"))
    text = text + tail if tail.isspace() else text[:-1] + tail
    event, _ = decode_server_event(text)
    assert event == read_server_event(json.loads(text))
    assert isinstance(event, ResponseOutputAudioDelta)


# ---- out ------------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=200), st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_an_append_is_json_with_the_audio_in_base64(audio, event_id):
    frame = json.loads(encode_append(audio, event_id))
    assert base64.b64decode(frame.pop("audio")) == audio
    assert frame == {"type": "input_audio_buffer.append"} | ({"event_id": event_id} if event_id is not None else {})


def test_an_append_takes_any_buffer():
    assert encode_append(memoryview(b"\1\2")) == encode_append(bytearray(b"\1\2")) == encode_append(b"\1\2")


def test_nulls_inside_an_object_are_kept():
    update = {"type": "session.update", "session": {"audio": {"input": {"turn_detection": None}}}}
    assert json.loads(encode(update)) == update


def test_a_string_of_any_subclass_is_text():
    class Markup(str):
        def __str__(self) -> str:
            return "something else"

    assert encode({"output": Markup("<b>")}) == '{"output":"<b>"}'


def test_mappings_of_any_class_are_objects_and_not_a_number_is_null():
    assert encode(MappingProxyType({"a": MappingProxyType({"b": float("nan")})})) == '{"a":{"b":null}}'
    with pytest.raises(TypeError, match="object has no JSON form"):
        encode({"a": object()})
