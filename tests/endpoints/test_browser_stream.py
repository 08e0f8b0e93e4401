"""The messages between a page and its endpoint, and their order, without a clock and without a socket."""

from __future__ import annotations

import json
import struct

import pytest

from trealtime.audio.formats import pcm16
from trealtime.endpoints.browser.stream import (
    AppMessage,
    BrowserStream,
    HeardReport,
    OutgoingMessages,
    PageHello,
    UserAudio,
)
from trealtime.errors import BrowserStreamError

HELLO = '{"type": "hello", "protocol": 1, "rate": 48000, "name": "Ada"}'


def greeted() -> BrowserStream:
    stream = BrowserStream(2**20)
    stream.receive(HELLO)
    return stream


def test_a_hello_says_the_rate_and_whatever_else_the_app_wants() -> None:
    event = BrowserStream(2**20).receive(HELLO)
    assert event == PageHello(pcm16(48_000), json.loads(HELLO))


@pytest.mark.parametrize(
    "message, event",
    [
        (b"\1\0\2\0", UserAudio(b"\1\0\2\0")),
        (b"", UserAudio(b"")),
        ('{"type": "heard", "epoch": 3, "samples": 4800}', HeardReport(3, 4800)),
        ('{"type": "say", "text": "ü"}', AppMessage({"type": "say", "text": "ü"}, 29)),
    ],
)
def test_what_a_page_says(message, event) -> None:
    assert greeted().receive(message) == event


@pytest.mark.parametrize(
    "message, words",
    [
        ("junk", "expected JSON, got 'junk'"),
        ("[" * 100_000, "expected JSON, got '[[["),
        ("[1]", "expected a JSON object, got [1]"),
        ("{}", "type: expected a string, got None"),
        ('{"type": 7}', "type: expected a string, got 7"),
        (HELLO, "'hello' does not fit: a page says hello once, and before anything else"),
        ('{"type": "flush", "epoch": 1}', "'flush' is for the server to say"),
        ('{"type": "heard", "epoch": 0}', "samples: expected a whole number from 0 on, got None"),
        ('{"type": "heard", "epoch": -1, "samples": 1}', "epoch: expected a whole number from 0 on, got -1"),
        ('{"type": "heard", "epoch": 0, "samples": 1.5}', "samples: expected a whole number from 0 on, got 1.5"),
        ('{"type": "heard", "epoch": true, "samples": 1}', "epoch: expected a whole number from 0 on, got True"),
        (b"\1\0\2", "audio: expected whole samples of PCM16, got 3 bytes"),
        (b"\0" * (2**20 + 2), "a message of 1048578 bytes is too long: at most 1048576 are taken"),
        ("x" * (2**20 + 1), "a message of 1048577 bytes is too long: at most 1048576 are taken"),
    ],
)
def test_what_is_refused_names_what_is_wrong_and_changes_nothing(message, words) -> None:
    stream = greeted()
    with pytest.raises(BrowserStreamError) as caught:
        stream.receive(message)
    assert str(caught.value).startswith(words)
    assert stream.receive(b"\1\0") == UserAudio(b"\1\0")


@pytest.mark.parametrize(
    "message, words",
    [
        (b"\1\0", "audio does not fit: a page says hello before anything else"),
        ('{"type": "say"}', "'say' does not fit: a page says hello once, and before anything else"),
        ('{"type": "hello", "rate": 48000}', "protocol: expected 1, got None; a page of another version"),
        ('{"type": "hello", "protocol": 2, "rate": 48000}', "protocol: expected 1, got 2"),
        ('{"type": "hello", "protocol": 1}', "rate must be a whole number from 8000 to 192000 samples per second"),
        ('{"type": "hello", "protocol": 1, "rate": "48000"}', "rate must be a whole number"),
        ('{"type": "hello", "protocol": 1, "rate": 1000000}', "rate must be a whole number"),
    ],
)
def test_who_does_not_say_hello_first_is_refused_and_may_still_say_it(message, words) -> None:
    stream = BrowserStream(2**20)
    with pytest.raises(BrowserStreamError) as caught:
        stream.receive(message)
    assert str(caught.value).startswith(words)
    assert isinstance(stream.receive(HELLO), PageHello)


# ---- what goes out --------------------------------------------------------------------------------------------------


def outgoing(lead_ms: float = 500) -> OutgoingMessages:
    return OutgoingMessages(pcm16(8_000), lead_ms)


def sent(queue: OutgoingMessages) -> list[object]:
    """All that there is to send, audio as (epoch, bytes)."""
    found: list[object] = []
    while (message := queue.next()) is not None:
        if isinstance(message, bytes):
            found.append((struct.unpack_from("<I", message)[0], message[4:]))
        else:
            found.append(json.loads(message))
    return found


def speech(ms: int) -> bytes:
    return b"\1\0" * 8 * ms


def test_a_flush_goes_first_then_what_the_app_says_then_audio() -> None:
    queue = outgoing()
    queue.speak(speech(20), 20)
    queue.say('{"type": "a"}')
    queue.flush()
    queue.speak(speech(10), 30)
    assert sent(queue) == [{"type": "flush", "epoch": 1}, {"type": "a"}, (1, speech(10))]


def test_a_flush_with_nothing_unheard_sends_nothing() -> None:
    queue = outgoing()
    queue.flush()
    queue.speak(speech(20), 20)
    sent(queue)
    assert queue.heard(0, 160) == 20
    queue.flush()
    assert (sent(queue), queue.epoch) == ([], 0)


def test_a_lead_of_unheard_audio_is_full_until_the_page_reports() -> None:
    queue = outgoing(lead_ms=40)
    for end_ms in (20, 40):
        assert not queue.full
        queue.speak(speech(20), end_ms)
    assert (queue.full, queue.unheard_ms) == (True, 40)
    sent(queue)
    assert queue.full
    queue.heard(0, 8)
    assert (queue.full, queue.unheard_ms) == (False, 39)


def test_reports_become_positions_of_the_stream() -> None:
    queue = outgoing()
    queue.speak(speech(20), 20)
    queue.speak(speech(20), 40)
    queue.speak(speech(20), 1060)  # what lies between was never given
    sent(queue)
    assert [queue.heard(0, samples) for samples in (8, 160, 160, 100, 320, 328, 480)] == [
        *(1, 20, None, None, 40, 1041, 1060)
    ]


def test_each_epoch_counts_its_own_samples_and_reports_of_earlier_ones_say_nothing() -> None:
    queue = outgoing()
    queue.speak(speech(100), 100)
    sent(queue)
    assert queue.heard(0, 80) == 10
    queue.flush()
    queue.speak(speech(20), 120)
    sent(queue)
    assert queue.heard(0, 160) is None
    assert queue.heard(1, 8) == 101


@pytest.mark.parametrize(
    "epoch, samples, words",
    [(1, 1, "epoch: expected at most 0, got 1"), (0, 161, "samples: 160 of epoch 0 were sent, got 161")],
)
def test_a_report_of_what_was_never_sent_is_refused(epoch, samples, words) -> None:
    queue = outgoing()
    queue.speak(speech(20), 20)
    assert queue.next() is not None
    queue.speak(speech(20), 40)  # given, and still here
    with pytest.raises(BrowserStreamError, match=words):
        queue.heard(epoch, samples)
    assert queue.heard(0, 160) == 20


@pytest.mark.parametrize("letter", ["a", "ü", "你"])
def test_the_bound_of_a_message_is_in_bytes(letter: str) -> None:
    def message(n_bytes: int) -> str:
        text = '{"type": "say", "text": ""}'
        letters, rest = divmod(n_bytes - len(text), len(letter.encode()))
        return text[:-2] + letter * letters + "." * rest + text[-2:]

    stream = greeted()
    stream.max_message_bytes = 3_000
    assert stream.receive(message(3_000)).n_bytes == 3_000
    with pytest.raises(BrowserStreamError, match="3001 bytes is too long: at most 3000"):
        stream.receive(message(3_001))
