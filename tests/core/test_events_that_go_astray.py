"""Events that come late, twice, or never, and refusals."""

from __future__ import annotations

import random

import pytest

from trealtime._core import effects as fx
from trealtime._core.ids import IdSource
from trealtime._core.reconnection import Link, ReconnectPolicy
from trealtime.items import InputText, UserMessageItem
from trealtime.protocol.codec import read_server_event

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


@pytest.mark.parametrize("key", ["transcript", "text"])
def test_a_piece_of_the_agents_words_that_comes_after_its_item_is_in_them(losing, key) -> None:
    talk = losing
    kind = {"transcript": "output_audio", "text": "output_text"}[key]
    talk.created("r")
    talk.output_item("r", "a", done=True, content=[{"type": kind, key: "Good day."}])
    place = {"response_id": "r", "item_id": "a", "output_index": 0, "content_index": 0}
    talk.server(f"response.{kind}{'_transcript' if key == 'transcript' else ''}.delta", **place, delta="day.")
    assert talk.core.history()[0].text == "Good day."


@pytest.mark.parametrize("interrupted", [False, True])
def test_items_that_only_the_end_of_their_response_shows_are_in_the_history(losing, interrupted) -> None:
    """An interrupted response may show words that the user has not heard."""
    talk = losing
    talk.created("r")
    if interrupted:
        talk.app.interrupt()
    said = {"id": "a", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Look."}]}
    call = {"id": "f", "type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
    talk.done("r", output=[said, call])
    assert talk.order() == ([] if interrupted else ["a", "f"])
    assert talk.events_of("agent_end")[0].item_ids == (() if interrupted else ("a", "f"))


@pytest.mark.parametrize("item_id", [[], {}, None, 5, ["a"]])
def test_an_item_whose_id_is_no_text_is_no_item_at_the_end_of_its_response_either(losing, item_id) -> None:
    losing.created("r")
    losing.done("r", output=[{"id": item_id, "type": "message", "role": "assistant", "content": []}])
    assert losing.order() == []
    assert losing.types.count("agent_end") == 1


# ---- twice, or never ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["delta", "completed"])
def test_words_of_an_item_that_is_not_named_are_of_no_item(losing, kind) -> None:
    words = {"delta": "Hello"} if kind == "delta" else {"transcript": "Hello."}
    losing.server(f"conversation.item.input_audio_transcription.{kind}", item_id="", **words)
    assert losing.core.history() == []


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


@pytest.mark.parametrize("shown", [True, False])
def test_an_item_that_is_told_anew_passes_other_messages_but_not_its_first_telling(losing, shown) -> None:
    talk = losing
    talk.created("r")
    talk.speak("r", "a", 2000)
    talk.transcript("r", "a", "One, two, three, four.")
    talk.output_item("r", "a", done=True)
    replace_connection(talk)
    if shown:
        talk.item("a", role="assistant")
    talk.now += 1
    told = [(each.event["type"], each.urgent) for each in talk.app.interrupt().send]
    assert told == [("conversation.item.delete", shown), ("conversation.item.create", shown)]


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


@pytest.mark.parametrize("confirmed", [True, False], ids=["confirmed", "on its way"])
@pytest.mark.parametrize("how", ["delete_item", "replace_history"])
def test_an_item_that_the_app_has_deleted_while_it_played_is_not_told_anew(losing, how, confirmed) -> None:
    talk = losing
    talk.created("r")
    talk.speak("r", "a", 2000)
    talk.transcript("r", "a", "One, two, three, four.")
    talk.output_item("r", "a", done=True)
    replace_connection(talk)
    talk.now += 1
    getattr(talk.app, how)("a" if how == "delete_item" else [], reply_id="gone")
    if confirmed:
        talk.server("conversation.item.deleted", item_id="a")
    talk.app.interrupt()
    assert [event.cause for event in talk.events_of("audio_interrupted")] == ["app"]
    assert talk.sent_of("conversation.item.create") == []
    talk.server("conversation.item.deleted", item_id="a")
    assert talk.core.history() == []


def test_a_deletion_that_the_app_asks_for_counts_also_after_the_server_has_not_confirmed_one_of_ours(losing) -> None:
    talk = losing
    retold(talk)
    talk.wait(60)
    talk.app.delete_item("a", reply_id="delete")
    assert [each.reply_id for each in talk.server("conversation.item.deleted", item_id="a").settled] == ["delete"]
    assert talk.core.history() == []


# ---- refused --------------------------------------------------------------------------------------------------------


HISTORY = ("a", "b", "c", "d")


def history(talk) -> None:
    previous = None
    for item_id in HISTORY:
        talk.item(item_id, previous, "done", content=[{"type": "input_text", "text": item_id}])
        previous = item_id


class Next:
    """What another connection knows: it refuses the items of `refuses`, and those that follow what it does not know.
    Where the refusal passes, it is in trouble itself, and takes the item the next time."""

    def __init__(self, refuses, *, names_events: bool = True, passes: bool = False) -> None:
        self.refuses, self.names_events, self.passes = set(refuses), names_events, passes
        self.items: list[str] = []

    def take(self, events) -> list[tuple[str, dict]]:
        """Take these, and return the answers."""
        answers: list[tuple[str, dict]] = []
        for event in events:
            if event["type"] != "conversation.item.create":
                continue
            item_id, previous = event["item"]["id"], event["previous_item_id"]
            if item_id in self.refuses or (previous != "root" and previous not in self.items):
                passes = self.passes and item_id in self.refuses
                kind, code = ("server_error", None) if passes else ("invalid_request_error", "item_create_invalid")
                if self.passes:
                    self.refuses.discard(item_id)
                error = {"type": kind, "code": code, "message": item_id}
                answers.append(
                    ("error", {"error": {**error, "event_id": event["event_id"] if self.names_events else None}})
                )
                continue
            self.items.insert(0 if previous == "root" else self.items.index(previous) + 1, item_id)
            shown = {"item": event["item"], "previous_item_id": None if previous == "root" else previous}
            answers += [("conversation.item.added", shown), ("conversation.item.done", shown)]
        return answers


def reconnect(talk) -> None:
    """Lose the connection, and open the next one, which is told the history."""
    talk.app.connection_lost(code=1006, reason="gone")
    talk.app.connected()
    talk.server("session.created", session=SESSION)


def reconnect_to(talk, server: Next) -> list[str]:
    """Do so with `server`, until it has no more to say; return the errors that the app is told."""
    reconnect(talk)
    told: list[str] = []
    answers = server.take(talk.sent)
    while answers:
        talk.forget()
        for kind, fields in answers:
            effects = talk.server(kind, **fields)
            told += [event.error.message for event in effects.emit if event.type == "error"]
        answers = server.take(talk.sent)
    return told


@pytest.mark.parametrize("refuses", [("a",), ("b",), ("b", "c"), ("d",), ("a", "c"), HISTORY])
@pytest.mark.parametrize("names_events", [True, False])
def test_a_new_connection_that_refuses_items_gets_all_others(losing, refuses, names_events) -> None:
    talk, server = losing, Next(refuses, names_events=names_events)
    history(talk)
    assert reconnect_to(talk, server) == list(refuses), "each once, and nothing of those that went again"
    assert server.items == [each for each in HISTORY if each not in refuses]
    assert talk.core.connection_counters().items_refused == len(refuses)


def test_what_a_new_connection_refuses_without_an_id_is_the_oldest_item_whatever_item_it_names(losing) -> None:
    """It may name the one before, or one that the error is a second sight of."""
    history(losing)
    reconnect(losing)
    losing.error("invalid_value", message="wrong: d")
    assert [each for each in HISTORY if losing.state.link.told.refused(each)] == ["a"]


@pytest.mark.parametrize("refuses", [("a",), ("b", "c"), ("d",), HISTORY])
def test_a_server_in_trouble_is_told_an_item_a_second_time(losing, refuses) -> None:
    talk, server = losing, Next(refuses, passes=True)
    history(talk)
    assert reconnect_to(talk, server) == []
    assert server.items == list(HISTORY)
    assert talk.core.connection_counters().items_refused == 0


@pytest.mark.parametrize("refuses", [("c",), ("d",), ("c", "d")])
def test_what_comes_after_a_refused_item_stays_after_it_in_the_history(losing, refuses) -> None:
    talk, server = losing, Next(refuses, names_events=True)
    history(talk)
    reconnect_to(talk, server)
    talk.item("new", server.items[-1])
    assert [item.item_id for item in talk.core.history()] == [*HISTORY, "new"]


@pytest.mark.parametrize("moved", [False, True])
def test_a_doubled_sight_of_an_item_does_not_move_it_before_what_was_told_again_meanwhile(losing, moved) -> None:
    """The server names the item before it as it was then; the items between were told after that."""
    talk, server = losing, Next(("c",), names_events=True)
    history(talk)
    reconnect(talk)
    answers = server.take(talk.sent)
    talk.forget()
    for kind, fields in answers:  # "c" is refused, and "d" with it
        talk.server(kind, **fields)
    talk.item("new", "b")
    for kind, fields in server.take(talk.sent):  # "d" is told after "b"
        talk.server(kind, **fields)
    talk.item("new", "b")
    assert [item.item_id for item in talk.core.history()] == [*HISTORY, "new"]
    if moved:  # the server's last word counts
        talk.item("new", "a")
        assert [item.item_id for item in talk.core.history()] == ["a", "new", *HISTORY[1:]]


@pytest.mark.parametrize("begun", [True, False])
def test_an_item_of_the_servers_own_comes_after_what_it_was_told_before_word_of_that_item_came(losing, begun) -> None:
    """The word is late: what was told again meanwhile is confirmed. The server has the item at its end all the same."""
    talk, server = losing, Next(("c",), passes=True)
    history(talk)
    reconnect(talk)
    answers = server.take(talk.sent)
    talk.forget()
    if begun:
        talk.created("r")
    for kind, fields in answers:  # "c" is refused, and "d" with it
        talk.server(kind, **fields)
    if begun:
        talk.output_item("r", "new")
    for kind, fields in server.take(talk.sent):
        talk.server(kind, **fields)
    talk.item("new", "b", role="assistant")
    talk.item("next", "new")
    assert [item.item_id for item in talk.core.history()] == [*HISTORY, "new", "next"]


def test_an_item_that_the_app_puts_between_two_that_were_told_is_shown_there(losing) -> None:
    history(losing)
    assert reconnect_to(losing, Next(())) == []
    losing.app.create_item(message("m"), previous_item_id="b")
    losing.item("m", "b", **message("m"))
    assert [item.item_id for item in losing.core.history()] == ["a", "b", "m", "c", "d"]


def test_an_item_that_was_put_first_comes_after_what_was_told_to_be_first_since(losing) -> None:
    losing.app.create_item(message("m"), previous_item_id="root")
    new = UserMessageItem(item_id="n", content=(InputText(text="Of before."),))
    losing.app.replace_history([new], reply_id="replaced")
    losing.item("m", None, **message("m"))
    assert losing.order() == ["n", "m"]
    losing.item("n", None)
    losing.app.create_item(message("o"), previous_item_id="root")
    losing.item("o", None, **message("o"))
    assert losing.order() == ["o", "n", "m"]


@pytest.mark.parametrize("names_events", [True, False])
@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("refuses", [("a",), ("b", "c"), ("d",), HISTORY])
def test_a_connection_that_is_to_take_over_gets_all_that_it_does_not_refuse(
    losing, refuses, late, names_events
) -> None:
    """Late: it has taken over before it says what it has refused."""
    talk, server = losing, Next(refuses, names_events=names_events)
    history(talk)
    talk.app.opened(server_time_s=1_000.0)
    talk.server("session.updated", session={**SESSION, "expires_at": 1_100})
    talk.wait(60)
    talk.forget()

    def ahead(kind: str, **fields) -> list:
        data = {"type": kind, "event_id": "event_x", **fields}
        effects = talk.app.receive_ahead(read_server_event(data))
        return [each.event for each in effects if isinstance(each, fx.SendAhead)]

    told = [
        each.event for each in talk.app.successor_connected(server_time_s=1_060.0) if isinstance(each, fx.SendAhead)
    ]
    answers = server.take(told)
    while answers and not late:
        sent = [event for kind, fields in answers for event in ahead(kind, **fields)]
        answers = server.take(sent)
    talk.forget()
    ahead("session.created", session=SESSION)
    assert len(talk.events_of("rolled_over")) == 1
    while answers:
        talk.forget()
        for kind, fields in answers:
            talk.server(kind, **fields)
        answers = server.take(talk.sent)
    assert server.items == [each for each in HISTORY if each not in refuses]
    assert talk.core.connection_counters().items_refused == len(refuses)
    talk.item("new", server.items[-1] if server.items else None)
    assert [item.item_id for item in talk.core.history()] == [*HISTORY, "new"]


@pytest.mark.parametrize(
    "error, tried_again",
    [
        ({"type": "server_error", "code": None}, True),
        ({"type": "invalid_request_error", "code": "rate_limit_exceeded"}, True),
        ({"type": "invalid_request_error", "code": "invalid_value"}, False),
        ({"type": "server_error", "code": "session_expired"}, False),
    ],
)
def test_settings_that_a_new_connection_refuses_for_its_own_sake_are_an_attempt_that_failed(
    make_talk, error, tried_again
) -> None:
    talk = make_talk(link=Link(ReconnectPolicy()), ids=IdSource(random.Random(7)))
    talk.app.open_session({"type": "realtime", "instructions": "Be kind."}, reply_id="open")
    talk.server("session.created", session=SESSION)
    talk.server("session.updated", session={**SESSION, "instructions": "Be kind."})
    talk.app.connection_lost(code=1006, reason="gone")
    talk.forget()
    talk.app.connected()
    (update,) = talk.sent_of("session.update")
    effects = talk.server("error", error={"message": "no", **error, "event_id": update["event_id"]})
    assert bool([each for each in effects if isinstance(each, fx.DropConnection)]) is tried_again
    assert bool([each for each in effects if isinstance(each, fx.GiveUp)]) is not tried_again


# ---- items of which the server has said nothing ---------------------------------------------------------------------


def message(item_id: str) -> dict:
    return {"id": item_id, "type": "message", "role": "user", "content": [{"type": "input_text", "text": item_id}]}


def told_to_the_next(talk, *, answers: bool = False) -> list[str]:
    """The items of a new connection, in their order; with its answers, where it gives them."""
    talk.app.connection_lost(code=1006, reason="gone")
    talk.forget()
    talk.app.connected()
    talk.server("session.created", session=SESSION)
    server = Next(())
    for event in talk.sent:
        last = server.items[-1] if server.items else "root"
        for kind, fields in server.take([{"previous_item_id": last, **event}]):
            if answers:
                talk.server(kind, **fields)
    return server.items


@pytest.mark.parametrize("before", [(), HISTORY])
@pytest.mark.parametrize("sent", [("m",), ("m", "n")])
@pytest.mark.parametrize("answered", [True, False])
def test_an_item_whose_word_is_late_comes_before_the_answer_that_knew_it(losing, before, sent, answered) -> None:
    talk = losing
    if before:
        history(talk)
    for item_id in sent:
        talk.app.create_item(message(item_id))
    if answered:
        talk.app.create_response()
        talk.created("r", answers=talk.creates[-1])
        talk.speak("r", "answer")
        talk.transcript("r", "answer", "Yes, because")
    expected = [*before, *sent, *(["answer"] if answered else [])]
    assert told_to_the_next(talk) == expected
    assert told_to_the_next(talk, answers=True) == expected, "as often as it is lost"
    assert talk.order() == expected


@pytest.mark.parametrize("shown", [True, False])
def test_an_item_of_which_the_server_never_tells_is_told_to_the_next_connection(losing, shown) -> None:
    talk = losing
    history(talk)
    talk.app.create_item(message("m"))
    talk.wait(60)
    if shown:
        talk.item("m", "d", "done", **message("m"))
    assert told_to_the_next(talk) == [*HISTORY, "m"]
    assert len([event for event in talk.sent if event.get("item", {}).get("id") == "m"]) == 1


@pytest.mark.parametrize("created", ["before", "after", "never"])
@pytest.mark.parametrize("shown", ["before", "after", "never"])
def test_a_call_is_made_once_wherever_the_end_of_its_response_comes(losing, created, shown) -> None:
    """Also where that is all that comes of the response."""
    talk = losing
    talk.turn("u")
    made = []
    for when in ("before", "now", "after"):
        if when == created:
            made += talk.created("r").calls
        if when == shown:
            made += talk.call("r", "c").calls
        if when == "now":
            call = {"id": "item_c", "type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
            made += talk.done("r", output=[call]).calls
    assert [call.call_id for call in made] == ["c"]
    talk.app.send_tool_output("c", "seen")
    talk.wait(5)  # the answer that the server owes to the turn may seem to be still to come
    assert [event["item"]["call_id"] for event in talk.sent_of("conversation.item.create")] == ["c"]
    assert len(talk.creates) == 1
