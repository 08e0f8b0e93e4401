"""The messages of Twilio Media Streams, by table: what is read, what is refused with which words."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trealtime.endpoints.twilio.stream import (
    CallerAudio,
    KeyPressed,
    MarkReturned,
    StreamStarted,
    StreamStopped,
    TwilioCall,
    TwilioStream,
)
from trealtime.errors import ProtocolError, TwilioStreamError

FORMAT = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
START = {
    "accountSid": "AC1",
    "streamSid": "MZ1",
    "callSid": "CA1",
    "tracks": ["inbound"],
    "mediaFormat": FORMAT,
    "customParameters": {"Caller": "+15550001"},
}


def message(event: str, **body: object) -> str:
    return json.dumps({"event": event, "sequenceNumber": "1", "streamSid": "MZ1", **body})


def media(payload: object, **more: object) -> str:
    return message("media", media={"track": "inbound", "chunk": "1", "timestamp": "5", "payload": payload, **more})


CONNECTED = json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"})
STARTED = message("start", start=START)
STOP = message("stop", stop={"accountSid": "AC1", "callSid": "CA1"})
MEDIA = media(base64.b64encode(b"\xff\x7f").decode())
MARK = message("mark", mark={"name": "7"})
DTMF = message("dtmf", dtmf={"track": "inbound_track", "digit": "#"})


def stream_that_is(state: str) -> TwilioStream:
    stream = TwilioStream()
    before = {"opened": [], "connected": [CONNECTED], "started": [CONNECTED, STARTED]}
    before["stopped"] = [*before["started"], STOP]
    for each in before[state]:
        stream.receive(each)
    assert stream.state == state
    return stream


def test_a_call_from_connected_to_stop() -> None:
    stream = TwilioStream()
    assert [stream.receive(each) for each in (CONNECTED, STARTED, MEDIA, MARK, DTMF, STOP)] == [
        None,
        StreamStarted(
            TwilioCall(stream_sid="MZ1", call_sid="CA1", account_sid="AC1", custom_parameters={"Caller": "+15550001"})
        ),
        CallerAudio(b"\xff\x7f"),
        MarkReturned("7"),
        KeyPressed("#"),
        StreamStopped(),
    ]


@pytest.mark.parametrize("parameters", [{}, None, "missing"])
def test_a_call_without_parameters(parameters) -> None:
    start = {**START, "customParameters": parameters}
    if parameters == "missing":
        del start["customParameters"]
    event = stream_that_is("connected").receive(message("start", start=start))
    assert isinstance(event, StreamStarted)
    assert event.call.custom_parameters == {}


@pytest.mark.parametrize(
    "state, event",
    [
        ("opened", MEDIA),
        ("opened", MARK),
        ("opened", STOP),
        ("connected", CONNECTED),
        ("connected", MEDIA),
        ("connected", DTMF),
        ("connected", STOP),
        ("started", CONNECTED),
        ("started", STARTED),
        ("stopped", MEDIA),
        ("stopped", STARTED),
        ("stopped", STOP),
    ],
)
def test_what_comes_out_of_turn_is_refused_and_changes_nothing(state, event) -> None:
    stream = stream_that_is(state)
    with pytest.raises(
        TwilioStreamError, match=rf"^'{json.loads(event)['event']}' does not fit a stream that is {state}$"
    ):
        stream.receive(event)
    assert stream.state == state


@pytest.mark.parametrize("state", ["opened", "connected", "started", "stopped"])
def test_events_of_the_future_are_ignored_at_any_time(state) -> None:
    stream = stream_that_is(state)
    assert stream.receive(message("transcription", transcription={"text": "hello"})) is None
    assert stream.state == state


@pytest.mark.parametrize("track", ["outbound", "both"])
def test_audio_of_another_track_than_the_callers_is_ignored(track) -> None:
    assert stream_that_is("started").receive(media("/38=", track=track)) is None


def test_audio_without_a_track_is_the_callers() -> None:
    assert stream_that_is("started").receive(message("media", media={"payload": "/38="})) == CallerAudio(b"\xff\x7f")


def with_format(**change: object) -> str:
    return message("start", start={**START, "mediaFormat": {**FORMAT, **change}})


@pytest.mark.parametrize(
    "state, text, words",
    [
        ("opened", b"\0\1", "expected a text message, got a binary one"),
        ("opened", "", "expected JSON, got ''"),
        ("opened", "GET / HTTP/1.1", "expected JSON, got 'GET / HTTP/1.1'"),
        ("opened", STARTED[:-30], 'expected JSON, got \'{"event": "start"'),
        ("opened", "\ud800", "expected JSON, got"),
        ("opened", "[" * 60_000, "expected JSON, got"),
        ("started", media("/" * 70_000), "characters is too long: at most 65536"),
        ("opened", "[]", "expected a JSON object, got []"),
        ("opened", "null", "expected a JSON object, got None"),
        ("opened", "{}", "event: expected a string, got None"),
        ("opened", '{"event": 5}', "event: expected a string, got 5"),
        ("connected", message("start"), "start: expected an object, got None"),
        ("connected", message("start", start=[]), "start: expected an object, got []"),
        ("connected", message("start", start={**START, "streamSid": ""}), "start.streamSid: expected a string, got ''"),
        ("connected", message("start", start={**START, "callSid": 5}), "start.callSid: expected a string, got 5"),
        ("connected", message("start", start={"streamSid": "MZ1"}), "start.mediaFormat: expected an object, got None"),
        (
            "connected",
            with_format(encoding="audio/l16"),
            "expected encoding audio/x-mulaw, sampleRate 8000, channels 1",
        ),
        ("connected", with_format(sampleRate=16000), "got {'encoding': 'audio/x-mulaw', 'sampleRate': 16000"),
        ("connected", with_format(channels=2), "start.mediaFormat: expected encoding audio/x-mulaw"),
        (
            "connected",
            message("start", start={**START, "customParameters": {"a": 1}}),
            "start.customParameters: expected an object of strings, got {'a': 1}",
        ),
        ("started", message("media"), "media: expected an object, got None"),
        ("started", media(None), "media.payload: expected a string, got None"),
        ("started", media("not base64!"), "media.payload: expected base64, got 'not base64!'"),
        ("started", media("/38"), "media.payload: expected base64, got '/38'"),
        ("started", message("mark", mark={"name": 5}), "mark.name: expected a string, got 5"),
        ("started", message("dtmf", dtmf={"digit": "12"}), "dtmf.digit: expected one of 0123456789*#ABCD, got '12'"),
        ("started", message("dtmf", dtmf="1"), "dtmf: expected an object, got '1'"),
    ],
)
def test_what_twilio_would_not_send_is_refused_with_the_reason(state, text, words) -> None:
    stream = stream_that_is(state)
    with pytest.raises(TwilioStreamError) as caught:
        stream.receive(text)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 250
    assert isinstance(caught.value, ProtocolError)
    assert stream.state == state


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["event", "streamSid"]), inner),
    max_leaves=5,
)


@given(
    messages=st.lists(
        st.text()
        | st.binary()
        | st.fixed_dictionaries(
            {"event": st.sampled_from(["connected", "start", "media", "mark", "dtmf", "stop"]) | ANYTHING},
            optional={
                "start": ANYTHING | st.fixed_dictionaries({}, optional=dict.fromkeys(START, ANYTHING)),
                "media": ANYTHING | st.fixed_dictionaries({"payload": ANYTHING | st.just("/38=")}),
                "mark": ANYTHING | st.fixed_dictionaries({"name": ANYTHING}),
                "dtmf": ANYTHING | st.fixed_dictionaries({"digit": ANYTHING}),
            },
        ).map(json.dumps)
        | st.sampled_from([CONNECTED, STARTED, MEDIA, MARK, DTMF, STOP]),
        max_size=8,
    )
)
def test_whatever_comes_is_read_ignored_or_refused(messages) -> None:
    stream = TwilioStream()
    for message in messages:
        before = stream.state
        try:
            stream.receive(message)
        except TwilioStreamError:
            assert stream.state == before


def test_what_goes_out_carries_the_id_of_the_stream() -> None:
    stream = stream_that_is("started")
    assert [json.loads(each) for each in (stream.media(b"\xff\x7f"), stream.mark("7"), stream.clear())] == [
        {"event": "media", "streamSid": "MZ1", "media": {"payload": "/38="}},
        {"event": "mark", "streamSid": "MZ1", "mark": {"name": "7"}},
        {"event": "clear", "streamSid": "MZ1"},
    ]


def test_before_the_start_nothing_can_be_sent() -> None:
    with pytest.raises(RuntimeError, match="before the stream has started"):
        stream_that_is("connected").clear()
