"""Events that come late, twice, or never."""

from __future__ import annotations

import random

import pytest

from trealtime._core.ids import IdSource
from trealtime._core.reconnection import Link, ReconnectPolicy

SESSION = {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad"}}}}


@pytest.fixture
def losing(make_talk):
    """A conversation whose connections are replaced."""
    talk = make_talk(link=Link(ReconnectPolicy()), ids=IdSource(random.Random(7)))
    talk.open(type="server_vad")
    return talk


def replace_connection(talk) -> None:
    talk.app.connection_lost(code=1006, reason="gone")
    talk.app.connected()
    talk.server("session.created", session=SESSION)
    talk.forget()


# ---- late -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", [True, False])
def test_a_piece_of_the_users_words_that_comes_after_all_of_them_is_in_them(losing, shown) -> None:
    talk, words = losing, "conversation.item.input_audio_transcription"
    if shown:
        talk.item("u", content=[{"type": "input_audio", "transcript": None}])
    talk.server(f"{words}.delta", item_id="u", content_index=0, delta="Good ")
    talk.server(f"{words}.completed", item_id="u", content_index=0, transcript="Good day.")
    talk.server(f"{words}.delta", item_id="u", content_index=0, delta="day.")
    assert talk.core.history()[0].text == "Good day."


@pytest.mark.parametrize("kind, key", [("output_audio_transcript", "transcript"), ("output_text", "text")])
def test_a_piece_of_the_agents_words_that_comes_after_all_of_them_is_in_them(losing, kind, key) -> None:
    talk = losing
    talk.created("r")
    talk.output_item("r", "a")
    place = {"response_id": "r", "item_id": "a", "output_index": 0, "content_index": 0}
    talk.server(f"response.{kind}.delta", **place, delta="Good ")
    talk.server(f"response.{kind}.done", **place, **{key: "Good day."})
    talk.server(f"response.{kind}.delta", **place, delta="day.")
    assert talk.core.history()[0].text == "Good day."


# ---- twice, or never ------------------------------------------------------------------------------------------------


def retold(talk) -> None:
    """What the agent has said was told to a new connection, and is told anew, because it is cut where it plays."""
    talk.created("r")
    talk.speak("r", "a", 2000)
    talk.transcript("r", "a", "One, two, three, four.")
    talk.output_item("r", "a", done=True)
    replace_connection(talk)
    talk.now += 1
    talk.app.interrupt()
    assert [event["item_id"] for event in talk.sent_of("conversation.item.delete")] == ["a"]
    assert [event["item"]["id"] for event in talk.sent_of("conversation.item.create")] == ["a"]


@pytest.mark.parametrize("times", [1, 2])
def test_an_item_that_is_told_anew_stays_however_often_the_server_says_that_it_has_deleted_it(losing, times) -> None:
    talk = losing
    retold(talk)
    for _ in range(times):
        talk.server("conversation.item.deleted", item_id="a")
    assert [item.item_id for item in talk.core.history()] == ["a"]
    talk.app.delete_item("a", reply_id="delete")
    assert [each.reply_id for each in talk.server("conversation.item.deleted", item_id="a").settled] == ["delete"]
    assert talk.core.history() == []


def test_a_deletion_that_the_app_asks_for_counts_also_after_the_server_has_not_confirmed_one_of_ours(losing) -> None:
    talk = losing
    retold(talk)
    talk.wait(60)
    talk.app.delete_item("a", reply_id="delete")
    assert [each.reply_id for each in talk.server("conversation.item.deleted", item_id="a").settled] == ["delete"]
    assert talk.core.history() == []
