"""Failures: each is logged with its traceback, counted, and told in an event; and no log has anybody's words."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, NamedTuple

import pytest
import trio
import trio.testing

from trealtime._secrets import said, stand_in, withheld
from trealtime._session.playback_tracker import RealtimePlaybackTracker
from trealtime._session.runner import RealtimeRunner
from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.guardrails import input_guardrail, output_guardrail
from trealtime.agents.handoffs import realtime_handoff
from trealtime.agents.hooks import RealtimeAgentHooks, RealtimeRunHooks
from trealtime.errors import (
    EndpointFailed,
    GuardrailFailed,
    HookFailed,
    MCPServerFailed,
    PlaybackTrackerFailed,
    ProtocolError,
    RequestTimedOut,
    ServerRefused,
    SessionNotOpen,
    StuckDeadline,
    ToolFailed,
    ToolRoundsExceeded,
)
from trealtime.events import EventInfo, RealtimeError, ServerErrorInfo
from trealtime.metrics import FailureCounters
from trealtime.testing import MemoryEndpoint
from trealtime.tools.function_tool import FunctionTool
from trealtime.tools.guardrails import tool_input_guardrail, tool_output_guardrail

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
WORDS = "Grandma's pin is 4711"
KEY = "sk-proj-0123456789abcdef"


class Trouble(Exception):
    """What the callables of these tests raise."""


def _raise(*_: object, **__: object) -> Any:
    raise Trouble(f"{WORDS}, and the key is {KEY}")


async def _raise_async(*_: object, **__: object) -> Any:
    _raise()


def _none(*_: object, **__: object) -> Any:
    return None


async def _none_async(*_: object) -> Any:
    return None


def _wrong(*_: object, **__: object) -> Any:
    return WORDS


def search(function: Callable[..., Any] = lambda *_: "found", **options: Any) -> FunctionTool:
    return FunctionTool("search", "", params_json_schema={"type": "object"}, on_invoke_tool=function, **options)


class Case(NamedTuple):
    """A callable that fails. `scene` lets it be called; `setup` is what the runner gets."""

    counter: str
    logger: str
    error: type[Exception]
    setup: Callable[[], dict[str, Any]]
    scene: Callable[[Any, Any], Awaitable[None]]
    cause: type[Exception] = Trouble
    call_id: str | None = None
    response_id: str | None = None
    ends: type[BaseException] | None = None
    """What comes out of the session, if its end does."""


async def call_of_search(session: Any, connection: Any) -> None:
    await connection.begin()
    await connection.call("search", "{}")
    await connection.done()
    await trio.testing.wait_all_tasks_blocked()


async def handover(session: Any, connection: Any) -> None:
    await connection.begin()
    await connection.call("transfer_to_other", "{}")
    await connection.done()
    await trio.testing.wait_all_tasks_blocked()


async def answer(session: Any, connection: Any) -> None:
    await session.send_message("Hello.")
    await connection.reply()
    await trio.testing.wait_all_tasks_blocked()


async def failed_response(session: Any, connection: Any) -> None:
    await connection.begin()
    error = {"type": "server_error", "code": "overloaded", "message": WORDS}
    response = {"id": "resp_1", "status": "failed", "output": [], "status_details": {"error": error}}
    await connection.emit("response.done", response=response)
    await trio.testing.wait_all_tasks_blocked()


async def server_error(session: Any, connection: Any) -> None:
    await connection.emit("error", error={"code": "odd", "message": WORDS, "param": "x.y", "event_id": None})
    await trio.testing.wait_all_tasks_blocked()


async def barge_in(session: Any, connection: Any) -> None:
    await connection.begin()
    await connection.begin_item()
    await connection.audio(2)
    await connection.emit("input_audio_buffer.speech_started", item_id="item_user", audio_start_ms=0)
    await trio.testing.wait_all_tasks_blocked()


class BadRunHooks(RealtimeRunHooks[Any]):
    on_tool_start = _raise_async


class BadAgentHooks(RealtimeAgentHooks[Any]):
    on_response_end = _raise


class BadTracker(RealtimePlaybackTracker):
    position = _raise


class LostTracker(RealtimePlaybackTracker):
    position = _wrong


class DeafTracker(RealtimePlaybackTracker):
    on_interrupted = _raise


def _endpoint(**methods: Callable[..., Any]) -> Any:
    return type("Phone", (MemoryEndpoint,), methods)()


async def attached(session: Any, connection: Any, **methods: Callable[..., Any]) -> None:
    with suppress(EndpointFailed, Trouble):
        async with session.attach(_endpoint(**methods)) as attachment:
            await answer(session, connection)
            await attachment.wait_closed()


async def attached_play(session: Any, connection: Any) -> None:
    await attached(session, connection, play=_raise_async)


async def attached_open(session: Any, connection: Any) -> None:
    await attached(session, connection, open=_raise)


async def attached_receive(session: Any, connection: Any) -> None:
    await attached(session, connection, receive=_raise_async)


CALL = {"call_id": "call_1", "response_id": "resp_1"}
TOOL = {"counter": "tools", "logger": "trealtime.tools", "error": ToolFailed, "scene": call_of_search, **CALL}
APPROVAL = {**TOOL, "counter": "approval_handlers"}
CHECK = {"logger": "trealtime.agents", "counter": "guardrails", "error": GuardrailFailed}
HOOK = {"counter": "hooks", "logger": "trealtime.agents", "error": HookFailed, "ends": Trouble}
PATH = {"counter": "endpoints", "logger": "trealtime.endpoints", "error": EndpointFailed}
TRACKER = {"counter": "playback_trackers", "logger": "trealtime.endpoints", "error": PlaybackTrackerFailed}
OTHER = RealtimeAgent(name="Other")


def approving(handler: Callable[..., Any]) -> Callable[[], dict[str, Any]]:
    return lambda: {"tools": [search(needs_approval=True)], "approval_handler": handler}


CASES = {
    "a tool": Case(**TOOL, setup=lambda: {"tools": [search(_raise)]}),
    "an async tool": Case(**TOOL, setup=lambda: {"tools": [search(_raise_async)]}),
    "a needs_approval": Case(**TOOL, setup=lambda: {"tools": [search(needs_approval=_raise)]}),
    "a formatter": Case(
        **TOOL,
        setup=lambda: approving(_false)() | {"tool_error_formatter": _raise},
    ),
    "a handler": Case(**APPROVAL, setup=approving(_raise)),
    "an async handler": Case(**APPROVAL, setup=approving(_raise_async)),
    "a handler without a decision": Case(**APPROVAL, setup=approving(_none), cause=TypeError),
    "a handler with another answer": Case(**APPROVAL, setup=approving(_wrong), cause=TypeError),
    "an on_handoff": Case(
        counter="handoffs",
        logger="trealtime.agents",
        error=ToolFailed,
        setup=lambda: {"handoffs": [realtime_handoff(OTHER, on_handoff=_raise_one)]},
        scene=handover,
        **CALL,
    ),
    "an output guardrail": Case(
        **CHECK,
        setup=lambda: {"output_guardrails": [output_guardrail(_raise_async)]},
        scene=answer,
        response_id="resp_1",
    ),
    "a sync output guardrail": Case(
        **CHECK, setup=lambda: {"output_guardrails": [output_guardrail(_raise)]}, scene=answer, response_id="resp_1"
    ),
    "an output guardrail without a verdict": Case(
        **CHECK,
        setup=lambda: {"output_guardrails": [output_guardrail(_none)]},
        scene=answer,
        cause=TypeError,
        response_id="resp_1",
    ),
    "an input guardrail": Case(
        **CHECK, setup=lambda: {"input_guardrails": [input_guardrail(_raise_async)]}, scene=answer
    ),
    "a guardrail before a tool": Case(
        **CHECK,
        setup=lambda: {"tools": [search(tool_input_guardrails=[tool_input_guardrail(_raise)])]},
        scene=call_of_search,
        **CALL,
    ),
    "a guardrail after a tool": Case(
        **CHECK,
        setup=lambda: {"tools": [search(tool_output_guardrails=[tool_output_guardrail(_none)])]},
        scene=call_of_search,
        cause=TypeError,
        **CALL,
    ),
    "a hook of the run": Case(
        **HOOK, setup=lambda: {"hooks": BadRunHooks(), "tools": [search()]}, scene=call_of_search
    ),
    "a hook of an agent": Case(**HOOK, setup=lambda: {"agent_hooks": BadAgentHooks()}, scene=answer),
    "an endpoint that plays": Case(**PATH, setup=dict, scene=attached_play),
    "an endpoint that opens": Case(**PATH, setup=dict, scene=attached_open),
    "an endpoint that listens": Case(**PATH, setup=dict, scene=attached_receive),
    "a tracker": Case(**TRACKER, setup=lambda: {"tracker": BadTracker()}, scene=barge_in),
    "a tracker with another answer": Case(
        **TRACKER, setup=lambda: {"tracker": LostTracker()}, scene=barge_in, cause=TypeError
    ),
    "a tracker that is interrupted": Case(**TRACKER, setup=lambda: {"tracker": DeafTracker()}, scene=barge_in),
}


def _false(request: Any) -> bool:
    return False


def _raise_one(context: Any) -> None:
    _raise()


def runner_of(service: Any, *, tools: Any = (), handoffs: Any = (), agent_hooks: Any = None, **config: Any) -> Any:
    agent = RealtimeAgent(name="Desk", tools=list(tools), handoffs=list(handoffs), hooks=agent_hooks)
    return RealtimeRunner(agent, model=service, config=config)


async def play(service: Any, case: Case, seen: list[Any], *, fails: bool = True, **more: Any) -> Any:
    """Let the case happen and return the session; `seen` gets its ``error`` events."""
    setup = case.setup() | more
    tracker = setup.pop("tracker", None)
    model_config = {} if tracker is None else {"playback_tracker": tracker}
    async with AsyncExitStack() as stack:
        if case.ends is not None:
            stack.enter_context(pytest.raises(case.ends))
        session = await stack.enter_async_context(runner_of(service, **setup).session(model_config=model_config))
        with session.subscribe("error") as subscription:
            try:
                with trio.fail_after(30):
                    await case.scene(session, service.last)
                    if fails:
                        seen.append(await subscription.receive())
                    if case.ends is not None:
                        await session.wait_closed()
                await trio.testing.wait_all_tasks_blocked()
            finally:
                with suppress(trio.WouldBlock, trio.EndOfChannel):
                    while True:
                        seen.append(subscription.receive_nowait())
    return session


@pytest.mark.parametrize("name", CASES)
async def test_a_failing_callable_is_logged_with_its_traceback_counted_and_told(service, caplog, name) -> None:
    # On the real clock: a virtual one would pass every deadline while a callable runs in a thread.
    case, seen = CASES[name], []
    session = await play(service, case, seen)

    (event,) = seen
    assert type(event.error) is case.error
    assert isinstance(event.error.__cause__, case.cause)
    assert event.response_id == case.response_id

    (record,) = caplog.records
    assert (record.name, record.levelno) == (case.logger, logging.ERROR)
    assert record.exc_info[0].__name__ == case.cause.__name__
    assert ("in _raise\n" in caplog.text) is (case.cause is Trouble)
    fields = {"session_id": session.id, "agent": "Desk", "call_id": case.call_id, "response_id": case.response_id}
    assert {field: getattr(record, field) for field in fields} == fields
    assert record.error_type == case.cause.__name__
    assert WORDS not in caplog.text
    assert KEY not in caplog.text

    counted = session.statistics().failures
    assert getattr(counted, case.counter) >= 1
    assert counted.total == getattr(counted, case.counter)


@pytest.mark.parametrize("name", CASES)
async def test_with_log_content_the_texts_are_in_the_log_and_keys_are_not(service, caplog, name) -> None:
    case = CASES[name]
    await play(service, case, [], log_content=True)
    (record,) = caplog.records
    assert record.exc_info is not None
    if case.cause is Trouble:
        assert WORDS in record.getMessage()
        assert f"Trouble: {WORDS}, and the key is <removed>" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    "scene, level, line, response_id, counter",
    [
        (failed_response, logging.ERROR, "a response failed: overloaded", "resp_1", "responses"),
        (server_error, logging.WARNING, "the server sent an error: odd at x.y", None, "server"),
    ],
)
@pytest.mark.parametrize("content", [False, True])
async def test_what_the_server_says_of_itself(
    autojump_clock, service, caplog, scene, level, line, response_id, counter, content
) -> None:
    case, seen = Case(counter, "trealtime.session", ServerErrorInfo, dict, scene), []
    session = await play(service, case, seen, log_content=content)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("trealtime.session", level)
    assert record.getMessage() == (f"{line} ({WORDS})" if content else line)
    assert record.response_id == seen[0].response_id == response_id
    assert getattr(session.statistics().failures, counter) == 1


async def test_a_call_of_a_tool_that_is_not_there_is_a_warning_without_its_name(
    autojump_clock, service, caplog
) -> None:
    session = await play(service, Case("tools", "trealtime.tools", ToolFailed, dict, call_of_search), [])
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("WARNING", "the model called a tool that is not there")
    assert session.statistics().failures.tools == 1


async def test_a_call_without_trouble_logs_nothing_above_info(autojump_clock, service, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        session = await play(
            service, Case("", "", Exception, lambda: {"tools": [search()]}, call_of_search), [], fails=False
        )
    assert caplog.records == []
    assert session.statistics().failures == FailureCounters()


async def test_a_failing_tracker_is_told_once_and_counted_each_time(autojump_clock, service, caplog) -> None:
    async def talk(session: Any, connection: Any) -> None:
        await barge_in(session, connection)
        for _ in range(5):
            await session.interrupt()
        await connection.done(status="cancelled")

    case = CASES["a tracker"]._replace(scene=talk, setup=lambda: {"tracker": BadTracker()})
    seen: list[Any] = []
    session = await play(service, case, seen)
    assert (len(seen), len(caplog.records)) == (1, 1)
    assert session.statistics().failures.playback_trackers > 1
    assert session.outcome.clean


@pytest.mark.parametrize(
    "scene, details",
    [
        (call_of_search, {"Desk begins a response", "tool search begins", "tool search has ended"}),
        (barge_in, {"the user begins to speak at 0 ms", "interrupted by speech, 0 ms were heard"}),
    ],
)
async def test_the_course_of_a_session_is_logged_at_info_and_its_details_at_debug(
    autojump_clock, service, caplog, scene, details
) -> None:
    case = Case("", "", Exception, lambda: {"tools": [search()]}, scene)
    with caplog.at_level(logging.DEBUG, "trealtime"):
        session = await play(service, case, [], fails=False)
    lines = {level: [each.getMessage() for each in caplog.records if each.levelname == level] for level in LEVELS}
    assert lines["INFO"][0].startswith("a session with Desk is open, model ")
    assert lines["INFO"][-1] == "the session is over: closed by the client with code 1000"
    assert details <= set(lines["DEBUG"])
    assert lines["WARNING"] == lines["ERROR"] == []
    assert {record.session_id for record in caplog.records} == {session.id}
    assert all(hasattr(record, "call_id") and hasattr(record, "agent") for record in caplog.records)


async def test_a_session_that_nobody_logs_has_no_log(autojump_clock, service, caplog) -> None:
    with caplog.at_level(logging.WARNING, "trealtime"):
        async with runner_of(service).session() as session:
            assert session._opening.log is None
    assert caplog.records == []


@pytest.mark.parametrize(
    "error, response_id, counter, level, line",
    [
        (ServerErrorInfo(message=WORDS, code="x"), "r", "responses", "ERROR", "a response failed: x"),
        (
            ServerErrorInfo(message=WORDS, code="x\nERROR forged \x1b[2J"),
            None,
            "server",
            "WARNING",
            "the server sent an error: x\\nERROR forged \\x1b[2J",
        ),
        (ServerErrorInfo(message=WORDS), None, "server", "WARNING", "the server sent an error: no code"),
        (
            ServerErrorInfo(message=WORDS, code="x", request="session.update", fatal=True),
            None,
            "server",
            "ERROR",
            "the server sent an error about session.update: x, the session cannot go on",
        ),
        (
            ServerErrorInfo(message=WORDS, type="recording_error", code="recording_failed"),
            None,
            "recordings",
            None,
            "",
        ),
        (
            RequestTimedOut(request="response.create", timeout_s=30),
            None,
            "responses",
            "ERROR",
            "response.create: the server has not answered within 30 s",
        ),
        (
            RequestTimedOut(request="session.update", timeout_s=10),
            None,
            "server",
            "WARNING",
            "session.update: the server has not answered within 10 s",
        ),
        (
            ServerRefused(WORDS, code="x", param="a.b", request="response.create"),
            None,
            "responses",
            "ERROR",
            "the server refused response.create: x at a.b",
        ),
        (ServerRefused(WORDS, type="y"), None, "server", "WARNING", "the server refused a request: y"),
        (
            ToolRoundsExceeded(10),
            "r",
            "responses",
            "ERROR",
            "the model called functions in more than 10 responses of one turn",
        ),
        (ToolFailed(WORDS, tool_name="x", call_id="c"), "r", "tools", "WARNING", "a call of a tool was not made"),
        (GuardrailFailed("no verdict", guardrail_name="x"), "r", "guardrails", "ERROR", "no verdict"),
        (MCPServerFailed(WORDS, server_name="files"), None, "mcp_servers", "ERROR", "the MCP server files failed"),
        (ProtocolError(WORDS), None, "server", "WARNING", "a message of the server cannot be used"),
        (LookupError(WORDS), None, "responses", "ERROR", "a response did not come to be: LookupError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception | ServerErrorInfo) else "",
)
async def test_errors_that_the_core_tells_are_logged_and_counted_by_their_kind(
    autojump_clock, service, caplog, error, response_id, counter, level, line
) -> None:
    async with runner_of(service).session() as session:
        info = EventInfo(session.context)
        session._driver.emit(RealtimeError(error=error, info=info, response_id=response_id))
        counted = session.statistics().failures
        assert (getattr(counted, counter), counted.total) == (1, 1)
    found = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert found == ([] if level is None else [(level, line)])
    assert WORDS not in caplog.text


# ---- a turn ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["tool", "input guardrail", "output guardrail", "approval", "response"])
async def test_a_turn_has_the_errors_that_happened_in_it(autojump_clock, nursery, service, place) -> None:
    setups: dict[str, dict[str, Any]] = {
        "tool": {"tools": [search(_raise)]},
        "approval": {"tools": [search(needs_approval=True)], "approval_handler": _none_async},
        "input guardrail": {"input_guardrails": [input_guardrail(_raise_async)]},
        "output guardrail": {"output_guardrails": [output_guardrail(_raise_async)]},
        "response": {},
    }

    async def serve() -> None:
        connection = service.last
        await connection.begin(await connection.expect("response.create"))
        if place in ("tool", "approval"):
            await connection.call("search", "{}")
            await connection.done()
            await connection.begin(await connection.expect("response.create", count=2), id="resp_2")
            await connection.done(id="resp_2")
        elif place == "response":
            await failed_response(None, _Begun(connection))
        else:
            await connection.begin_item()
            await connection.transcript("Hello.")
            item = {"id": "item_a", "role": "assistant", "content": [{"type": "output_audio", "transcript": "Hello."}]}
            await connection.emit("response.output_item.done", response_id="resp_1", item=item)
            await trio.testing.wait_all_tasks_blocked()
            await connection.done()

    async with runner_of(service, **setups[place]).session() as session:
        nursery.start_soon(serve)
        turn = await session.ask("Hello.")
        (error,) = turn.errors
        expected = {"tool": ToolFailed, "approval": ToolFailed, "response": ServerErrorInfo}
        assert type(error) is expected.get(place, GuardrailFailed)
        assert session.statistics().failures.total == 1


class _Begun:
    """A connection whose response has begun already."""

    def __init__(self, connection: Any) -> None:
        self.emit = connection.emit

    async def begin(self) -> None:
        pass


@pytest.mark.parametrize("place", ["tracker", "endpoint"])
async def test_a_turn_has_the_failures_of_tracker_and_endpoint_that_happened_meanwhile(
    autojump_clock, nursery, service, place
) -> None:
    model_config = {"playback_tracker": BadTracker()} if place == "tracker" else {}
    async with runner_of(service).session(model_config=model_config) as session:
        if place == "endpoint":
            nursery.start_soon(attached_until_it_fails, session)
            await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(service.last.reply)
        turn = await session.ask("Hello.")
        await trio.testing.wait_all_tasks_blocked()
        (error,) = turn.errors
        assert type(error) is {"tracker": PlaybackTrackerFailed, "endpoint": EndpointFailed}[place]
        nursery.start_soon(answer_again, service.last)
        assert (await session.ask("Hello again.")).errors == ()


async def answer_again(connection: Any) -> None:
    await connection.begin(await connection.expect("response.create", count=2), id="resp_2")
    await connection.done(id="resp_2")


async def attached_until_it_fails(session: Any) -> None:
    with suppress(EndpointFailed):
        async with session.attach(_endpoint(play=_raise_async)) as attachment:
            await attachment.wait_closed()


async def test_a_turn_without_trouble_has_no_errors(autojump_clock, nursery, service) -> None:
    async with runner_of(service).session() as session:
        nursery.start_soon(service.last.reply)
        assert (await session.ask("Hello.")).errors == ()


# ---- the id of a session --------------------------------------------------------------------------------------------


async def test_a_session_has_an_id_of_ours_from_entry_on(autojump_clock, service) -> None:
    agent = RealtimeAgent(name="Desk")
    ids = []
    for _ in range(2):
        runner = RealtimeRunner(agent, model=service, rng=random.Random(7))
        session = await runner.run()
        with pytest.raises(SessionNotOpen, match="entering it makes one"):
            _ = session.id
        async with session:
            ids.append(session.id)
        assert session.id == ids[-1]
    assert ids[0] == ids[1]
    assert ids[0].startswith("session_")


# ---- stand-ins for exceptions ---------------------------------------------------------------------------------------


def test_a_stand_in_has_the_types_and_tracebacks_of_a_whole_chain_and_no_text() -> None:
    def fail() -> None:
        try:
            try:
                raise KeyError(WORDS)
            except KeyError as error:
                raise ExceptionGroup(WORDS, [ValueError(WORDS), Trouble()]) from error
        except ExceptionGroup as group:
            raise Trouble(WORDS) from group

    with pytest.raises(Trouble) as caught:
        fail()
    caught.value.__context__ = caught.value  # a circle, as careless code makes them
    shown = stand_in(caught.value, text_of=lambda error: "...")
    assert (type(shown).__name__, str(shown), shown.__traceback__) == ("Trouble", "...", caught.value.__traceback__)
    group = shown.__cause__
    assert isinstance(group, ExceptionGroup)
    assert [type(each).__name__ for each in group.exceptions] == ["ValueError", "Trouble"]
    assert type(group.__cause__).__qualname__ == "KeyError"
    assert WORDS not in repr((shown, group, group.exceptions, group.__cause__))


def test_a_chain_of_any_length_has_a_stand_in() -> None:
    error: BaseException = Trouble(WORDS)
    for _ in range(5_000):
        later = Trouble(WORDS)
        later.__context__, error = error, later
    shown: BaseException | None = stand_in(error, text_of=withheld)
    length = 0
    while shown is not None:
        length, shown = length + 1, shown.__context__
    assert length == 51
    while error.__context__ is not None:  # a chain of that length is freed by recursion
        error.__context__, error = None, error.__context__


def test_an_exception_whose_text_cannot_be_made_is_logged_all_the_same() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert str(stand_in(Odd(), text_of=withheld)) == ""
    assert str(stand_in(Odd(), text_of=said)) == ""


async def test_a_deadline_that_nothing_ends_is_logged_counted_and_told_and_the_session_goes_on(
    autojump_clock, service, runner, caplog, monkeypatch
) -> None:
    """It may not make the session spin: the time of the mock clock would stand still."""
    async with runner.session() as session:
        errors = session.subscribe("error")
        with monkeypatch.context() as fault:
            fault.setattr("trealtime._core.deadlines.pending_until", lambda _: 0.0)
            await session.interrupt()
            await trio.sleep(100)
        event = await errors.receive()
        assert isinstance(event.error, StuckDeadline)
        assert event.error.deadline == "pending interruption"
        counted = session.statistics()
        assert counted.conversation.stuck_deadlines == counted.failures.deadlines == len(caplog.records) == 7
        assert {record.levelname for record in caplog.records} == {"ERROR"}
        assert "pending interruption" in caplog.records[0].getMessage()
        async with session.respond("And now?") as response:
            await service.last.reply("Well.")
            assert await response.transcript() == "Well."
