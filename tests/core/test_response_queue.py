"""The response gate: each numbered rule of its theory."""

from __future__ import annotations

import pytest

from trealtime._core.response import Response
from trealtime._core.response_queue import METADATA_KEY, Request, ResponseQueue
from trealtime.agents.agent import RealtimeAgent
from trealtime.errors import ConnectionLost

OUT = {"conversation": "none"}


class Driver:
    """A gate and what it has let through, by key."""

    def __init__(self) -> None:
        self.response_queue = ResponseQueue()
        self.now = 10.0
        self.sent: list[str] = []
        self.turn_due = False

    def ask(self, key, params=None, *, automatic=False, reply_ids=()):
        request = Request(key, params, automatic=automatic, reply_ids=list(reply_ids))
        self.response_queue.submit(request)
        self.pump()
        return request

    def pump(self):
        while (request := self.response_queue.next(self.now)) is not None:
            request.event_id = f"evt_{request.key}_{request.refusals}"
            self.sent.append(request.key)

    def created(self, response_id, key=None, *, outside=None):
        due, self.turn_due = self.turn_due, False
        metadata = {METADATA_KEY: key} if key else None
        return self.response_queue.created(response_id, metadata, out_of_band=outside, turn_due=due)

    def done(self, response_id, key=None):
        served = self.response_queue.done(response_id, {METADATA_KEY: key} if key else None)
        self.pump()
        return served

    def refuse(self, event_id, *, collision=True):
        answer = self.response_queue.refused(event_id, collision=collision, now=self.now)
        self.pump()
        return answer


@pytest.fixture
def driver():
    return Driver()


# ---- 1 and 2: one at a time -----------------------------------------------------------------------------------------


def test_a_request_goes_at_once_when_nothing_else_is_there(driver):
    request = driver.ask("a")
    assert driver.sent == ["a"]
    assert request.sent_at == 10.0
    assert driver.response_queue.busy


def test_the_next_one_waits_for_created_and_for_done(driver):
    driver.ask("a")
    driver.ask("b")
    driver.created("r1", "a")
    driver.pump()
    assert driver.sent == ["a"]
    assert driver.response_queue.waiting == 1
    driver.done("r1")
    assert driver.sent == ["a", "b"]


def test_a_response_of_the_servers_own_is_waited_for(driver):
    driver.created("r1")
    driver.ask("a")
    assert driver.sent == []
    driver.done("r1")
    assert driver.sent == ["a"]


def test_the_end_of_another_response_opens_nothing(driver):
    driver.created("r1")
    driver.ask("a")
    driver.done("r0")
    assert driver.sent == []


# ---- 3: what goes as one --------------------------------------------------------------------------------------------


def test_automatic_requests_that_wait_together_go_as_one(driver):
    driver.created("r1")
    requests = [driver.ask(key, automatic=True, reply_ids=[f"t{key}"]) for key in "abc"]
    driver.done("r1")
    assert driver.sent == ["a"]
    assert requests[0].reply_ids == ["ta", "tb", "tc"]
    assert driver.response_queue.waiting == 0


def test_manual_requests_keep_to_themselves_and_their_order(driver):
    driver.created("r0")
    for key, automatic in (("a", True), ("b", True), ("m", False), ("n", False), ("c", True), ("d", True)):
        driver.ask(key, automatic=automatic)
    driver.done("r0")
    for number, key in enumerate("amnc", start=1):
        driver.created(f"r{number}", key)
        driver.done(f"r{number}")
    assert driver.sent == ["a", "m", "n", "c"]


def test_automatic_requests_for_different_things_do_not_mix(driver):
    driver.created("r0")
    driver.ask("a", automatic=True)
    driver.ask("b", {"instructions": "shout"}, automatic=True)
    driver.done("r0")
    driver.created("r1", "a")
    driver.done("r1")
    assert driver.sent == ["a", "b"]


def test_what_is_asked_after_the_create_was_sent_gets_a_response_of_its_own(driver):
    driver.ask("a", automatic=True)
    driver.ask("b", automatic=True)
    driver.created("r1", "a")
    driver.done("r1")
    assert driver.sent == ["a", "b"]


# ---- 4: out of band -------------------------------------------------------------------------------------------------


def test_out_of_band_requests_wait_for_nothing(driver):
    driver.created("r1")
    driver.ask("a")
    driver.ask("o", OUT)
    driver.ask("p", OUT)
    assert driver.sent == ["o", "p"]


def test_an_out_of_band_response_holds_nobody_up(driver):
    driver.ask("o", OUT)
    driver.created("ro", "o")
    driver.ask("a")
    assert driver.sent == ["o", "a"]
    assert driver.done("ro") is None


# ---- 5: whose response ----------------------------------------------------------------------------------------------


def test_the_key_tells_whose_response_it_is(driver):
    request, out = driver.ask("a"), driver.ask("o", OUT)
    assert driver.created("ro", "o") is out
    assert driver.created("ra", "a") is request


def test_a_server_that_echoes_made_what_has_no_key_by_itself(driver):
    driver.ask("a")
    driver.created("r1", "a")
    driver.done("r1")
    request = driver.ask("b")
    assert driver.created("r2") is None
    assert driver.done("r2") is None
    assert driver.created("r3", "b") is request


def test_a_key_of_somebody_else_is_not_ours(driver):
    request = driver.ask("a")
    assert driver.created("r1", "theirs") is None
    assert driver.created("r2", "a") is request


def test_a_server_that_echoes_nothing_answers_the_request_on_its_way(driver):
    request = driver.ask("a")
    assert driver.created("r1") is request


def test_without_keys_requests_are_answered_in_the_order_of_sending(driver):
    request, out = driver.ask("a"), driver.ask("o", OUT)
    assert driver.created("r1") is request
    assert driver.created("r2") is out


def test_without_keys_a_server_that_names_the_conversation_says_which_kind_it_answers(driver):
    request, out = driver.ask("a"), driver.ask("o", OUT)
    assert driver.created("r1", outside=True) is out
    assert driver.created("r2", outside=True) is None
    assert driver.created("r3", outside=False) is request


def test_without_keys_a_turn_of_the_user_is_answered_first(driver):
    driver.turn_due = True
    request = driver.ask("a")
    assert driver.created("r1") is None
    assert driver.created("r2") is request


def test_a_response_that_took_a_requests_place_has_answered_it(driver):
    driver.turn_due = True
    request = driver.ask("a")
    driver.created("r1")
    assert driver.done("r1") is request
    assert not driver.response_queue.busy


def test_the_end_of_a_response_that_never_began_tells_its_request_by_key(driver):
    request = driver.ask("a")
    driver.response_queue.adopt("r1")
    assert driver.done("r1", "a") is request
    assert not driver.response_queue.busy


def test_output_before_created_holds_the_gate(driver):
    driver.response_queue.adopt("r1")
    driver.ask("a")
    assert driver.sent == []
    driver.done("r1")
    assert driver.sent == ["a"]


def test_a_response_adopted_before_it_turned_out_to_be_out_of_band_holds_nobody_up(driver):
    driver.ask("o", OUT)
    driver.response_queue.adopt("ro")
    driver.created("ro", "o")
    driver.ask("a")
    assert driver.sent == ["o", "a"]


# ---- 6: collisions --------------------------------------------------------------------------------------------------


def test_a_collided_request_goes_again_after_the_response_that_it_met(driver):
    driver.turn_due = True
    request = driver.ask("a", reply_ids=["t"])
    driver.ask("b")
    driver.created("r1")
    assert driver.refuse("evt_a_0") == (request, True)
    assert driver.sent == ["a"]
    driver.done("r1")
    assert driver.sent == ["a", "a"]
    assert driver.created("r2", "a") is request
    driver.done("r2")
    assert driver.sent == ["a", "a", "b"]


def test_where_no_response_is_known_the_pause_doubles(driver):
    driver.ask("a")
    pauses = []
    for collisions in range(8):
        driver.refuse(f"evt_a_{collisions}")
        pauses.append(driver.response_queue.due_at - driver.now)
        driver.now = driver.response_queue.due_at - 0.001
        driver.pump()
        assert len(driver.sent) == collisions + 1
        driver.now = driver.response_queue.due_at
        driver.pump()
    assert pauses == pytest.approx([0.2 * 2**n for n in range(8)])


def test_a_request_that_collides_for_ever_is_refused_in_the_end(driver):
    request = driver.ask("a")
    for collisions in range(8):
        assert driver.refuse(f"evt_a_{collisions}") == (request, True)
        driver.now += 100
        driver.pump()
    assert driver.refuse("evt_a_8") == (request, False)
    assert not driver.response_queue.busy


def test_a_collided_automatic_request_takes_along_what_has_been_asked_since(driver):
    request = driver.ask("a", automatic=True, reply_ids=["ta"])
    driver.ask("b", automatic=True, reply_ids=["tb"])
    driver.refuse("evt_a_0")
    driver.now += 1
    driver.pump()
    assert driver.sent == ["a", "a"]
    assert request.reply_ids == ["ta", "tb"]


def test_a_late_refusal_takes_a_guessed_answer_back(driver):
    request = driver.ask("a")
    assert driver.created("r1") is request
    assert driver.refuse("evt_a_0") == (request, True)
    driver.done("r1")
    assert driver.sent == ["a", "a"]
    assert driver.created("r2") is request


def test_a_refusal_that_comes_after_the_guessed_answer_is_over_still_sends_it_again(driver):
    driver.turn_due = True
    request = driver.ask("a")
    driver.created("r1")
    assert driver.done("r1") is request
    assert driver.refuse("evt_a_0") == (request, True)
    driver.now += 1
    driver.pump()
    assert driver.sent == ["a", "a"]


def test_a_key_shows_that_what_came_without_one_answered_nothing(driver):
    request = driver.ask("a", reply_ids=["t"])
    driver.ask("o", OUT)
    driver.response_queue.adopt("vad")
    assert driver.done("vad") is request  # no key seen yet: it took the request's place
    driver.created("r_o", "o")
    driver.ask("b")
    assert driver.sent == ["a", "o"], "the server has not answered the first one yet"
    assert request.reply_ids == [], "the callers who waited for it have been served"
    assert driver.created("r_a", "a") is request
    driver.done("r_a", "a")
    assert driver.sent == ["a", "o", "b"]


def test_a_request_that_is_refused_for_another_reason_is_gone_and_the_next_goes(driver):
    request = driver.ask("a")
    driver.ask("b")
    assert driver.refuse("evt_a_0", collision=False) == (request, False)
    assert driver.sent == ["a", "b"]


def test_a_refusal_without_an_id_needs_a_single_request_on_its_way(driver):
    assert driver.refuse(None) is None
    request = driver.ask("a")
    out = driver.ask("o", OUT)
    assert driver.refuse(None, collision=False) is None
    assert driver.refuse("evt_o_0") == (out, False)
    assert driver.refuse(None, collision=False) == (request, False)


def test_an_id_that_is_not_ours_refuses_nothing(driver):
    driver.ask("a")
    assert driver.refuse("evt_other") is None
    assert driver.response_queue.busy


# ---- 7: the dead ----------------------------------------------------------------------------------------------------


def test_a_dead_request_still_takes_its_response(driver):
    request = driver.ask("a")
    assert driver.response_queue.kill_sent() is request
    assert driver.response_queue.kill_sent() is None
    driver.ask("b")
    assert driver.sent == ["a"]
    assert driver.created("r1", "a") is request
    assert request.interrupted


def test_a_dead_request_that_collides_is_not_sent_again(driver):
    request = driver.ask("a")
    driver.response_queue.kill_sent()
    assert driver.refuse("evt_a_0") == (request, False)
    assert driver.sent == ["a"]


def test_there_is_nothing_to_kill_when_nothing_is_on_its_way(driver):
    assert driver.response_queue.kill_sent() is None
    driver.ask("o", OUT)
    assert driver.response_queue.kill_sent() is None


def test_leaving_takes_a_request_out_of_the_queue(driver):
    driver.created("r1")
    driver.ask("a", reply_ids=["t"])
    assert driver.response_queue.kill_reply("t")
    driver.done("r1")
    assert driver.sent == []


def test_leaving_kills_a_request_on_its_way(driver):
    request = driver.ask("a", reply_ids=["t"])
    out = driver.ask("o", OUT, reply_ids=["u"])
    assert not driver.response_queue.kill_reply("t")
    assert not driver.response_queue.kill_reply("u")
    assert not driver.response_queue.kill_reply("nobody")
    assert request.interrupted
    assert out.interrupted


def test_a_request_that_others_wait_for_only_loses_the_ticket(driver):
    request = driver.ask("a", reply_ids=["t", "u"])
    assert driver.response_queue.kill_reply("t")
    assert request.reply_ids == ["u"]
    assert not request.interrupted


# ---- giving up ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent_at", [0.1, 0.7, 1.1, 10.0, 1234.567, 86400.123])
def test_a_request_expires_at_its_deadline_to_the_last_bit(driver, sent_at):
    driver.now = sent_at
    request = driver.ask("a")
    assert driver.response_queue.oldest_sent_at == sent_at
    deadline = sent_at + 30.0
    assert driver.response_queue.expire(deadline - 0.001, 30.0) == []
    assert driver.response_queue.expire(deadline, 30.0) == [request]
    assert not driver.response_queue.busy
    assert driver.response_queue.oldest_sent_at is None


def test_an_expired_request_lets_the_next_one_go_and_is_known_when_it_is_answered_after_all(driver):
    out = driver.ask("o", OUT)
    request = driver.ask("a")
    driver.ask("b")
    driver.response_queue.expire(40.0, 30.0)
    driver.pump()
    assert driver.sent == ["o", "a", "b"]
    assert driver.created("r1", "a") is request
    assert driver.created("r2", "o") is out


def test_given_up_requests_do_not_add_up(driver):
    for index in range(100):
        driver.ask(f"key_{index}")
        driver.response_queue.expire(driver.now + 30.0, 30.0)
    assert len(driver.response_queue._given_up) == 16


def test_draining_returns_all_that_wait_and_leaves_a_gate_as_new(driver):
    requests = [driver.ask("o", OUT), driver.ask("a"), driver.ask("b")]
    assert driver.response_queue.drain() == requests
    assert not driver.response_queue.busy
    driver.ask("c")
    assert driver.sent[-1] == "c"


# ---- one response at a time ------------------------------------------------------------------------------------------


def test_b126_a_request_goes_at_once_with_an_event_id_of_its_own(talk):
    """With another spelling of the id."""
    talk.app.create_response(automatic=True)
    assert talk.creates[0]["event_id"]


def test_b127_requests_during_a_response_become_one(talk):
    talk.created("r1")
    for _ in range(3):
        talk.app.create_response(automatic=True)
    assert talk.creates == []
    talk.done("r1")
    assert len(talk.creates) == 1


def test_b128_requests_wait_while_a_create_is_on_its_way(talk):
    talk.app.create_response(automatic=True)
    talk.app.create_response(automatic=True)
    assert len(talk.creates) == 1


@pytest.mark.parametrize("number", ["b129", "b130"])
def test_b129_b130_what_is_asked_after_a_create_gets_a_turn_of_its_own(talk, number):
    """There is no moment between asking and writing, so the two are one."""
    talk.app.create_response(automatic=True)
    talk.app.create_response(automatic=True)
    talk.created("r1", talk.creates[0])
    talk.done("r1")
    assert len(talk.creates) == 2


def test_b131_a_raw_create_goes_through_the_same_gate_and_mixes_with_nothing(talk):
    talk.created("r0")
    for number in range(4):
        if number == 2:
            talk.app.send_raw({"type": "response.create"})
        else:
            talk.app.create_response(automatic=True)
    for number in range(1, 4):
        talk.done(f"r{number - 1}")
        talk.created(f"r{number}", talk.creates[-1])
    assert len(talk.creates) == 3


def test_b132_the_event_id_of_a_manual_create_is_kept(talk):
    talk.app.send_raw({"type": "response.create", "event_id": "mine"})
    assert talk.creates[0]["event_id"] == "mine"


def test_b133_requests_are_served_in_the_order_of_asking(talk):
    talk.created("r0")
    for name in "abc":
        talk.app.create_response({"instructions": name})
    for number in range(1, 4):
        talk.done(f"r{number - 1}")
        talk.created(f"r{number}", talk.creates[-1])
    assert [event["response"]["instructions"] for event in talk.creates] == ["a", "b", "c"]


def test_b134_creates_wait_for_the_end_of_a_cancelled_response(talk):
    """Not for ever where that end does not come."""
    talk.created("r1")
    talk.app.cancel_response()
    talk.app.create_response()
    assert talk.creates == []
    talk.done("r1", "cancelled")
    assert len(talk.creates) == 1


@pytest.mark.parametrize("code, with_id", [("invalid_value", True), ("bad_response_create", False)])
def test_b136_a_refused_create_makes_room_for_the_next(talk, code, with_id):
    """The callers who wait get the error."""
    talk.app.create_response(reply_id="t")
    talk.app.create_response()
    talk.error(code, talk.creates[0]["event_id"] if with_id else None)
    assert len(talk.creates) == 2
    assert talk.settled["t"].value.status == "failed"


@pytest.mark.parametrize("code, event_id", [("server_error", "evt_other"), ("input_audio_buffer_commit_empty", None)])
def test_b137_an_unrelated_error_drops_no_create(talk, code, event_id):
    talk.app.create_response()
    talk.app.create_response()
    talk.error(code, event_id)
    assert len(talk.creates) == 1


def test_b138_the_end_of_another_response_does_not_open_the_gate(talk):
    talk.created("r1")
    talk.app.create_response()
    talk.done("r0")
    assert talk.creates == []


@pytest.mark.parametrize("number", ["b139", "b140"])
def test_b139_b140_the_end_of_the_connection_cancels_all_that_wait(talk, number):
    """Each caller is told."""
    talk.created("r1")
    talk.app.create_response(reply_id="t")
    talk.app.disconnect(ConnectionLost("gone"))
    assert isinstance(talk.settled["t"].error, ConnectionLost)
    talk.done("r1")
    assert talk.creates == []


@pytest.mark.parametrize("late", [False, True])
def test_ws31_a_request_that_races_a_response_of_the_servers_is_not_forgotten(vad_talk, late):
    talk = vad_talk
    talk.created("r0")
    talk.call("r0", "c1")
    talk.done("r0")
    talk.app.send_tool_output("c1", "42")
    create = talk.creates[0]
    talk.silence("u")
    talk.created("r1")
    if late:
        talk.done("r1")
    talk.error("conversation_already_has_active_response", create["event_id"])
    talk.done("r1")
    talk.wait(0.2)
    assert len(talk.creates) == 2
    talk.created("r2", talk.creates[1])
    assert talk.events_of("error") == []


def test_ws32_out_of_band_responses_run_next_to_the_others(talk):
    talk.created("r1")
    for reply_id in ("t", "u"):
        talk.app.create_response({"conversation": "none"}, reply_id=reply_id)
    assert len(talk.creates) == 2
    for response_id, create in zip(("rt", "ru"), reversed(talk.creates), strict=True):
        talk.created(response_id, create)
    for response_id in ("ru", "r1", "rt"):
        talk.done(response_id)
    assert {reply_id: each.value.response_id for reply_id, each in talk.settled.items()} == {"u": "rt", "t": "ru"}


@pytest.mark.parametrize("about, answered", [(2, True), (0, False)])
def test_a_response_of_the_servers_own_answers_what_it_is_known_to_have_seen(about, answered):
    """Two requests that go as one are about all that both are about; of an unknown thing nothing is seen."""
    first, second = Request("a", automatic=True, about=3), Request("b", automatic=True, about=about)
    first.take_in(second)
    response = Response("r", RealtimeAgent(name="a"), began_at=0.0, seen=3)
    assert response.has_seen(first) is answered
