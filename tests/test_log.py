"""A handler or a filter of the program that raises ends nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from trealtime import RealtimeAgent, RealtimeRunner, function_tool, open_emulator
from trealtime._log import Log
from trealtime.emulator import CallFunction, ScriptedBrain


class Raising(logging.Handler):
    def __init__(self, error: BaseException) -> None:
        super().__init__(1)
        self.error = error
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record.getMessage())
        raise self.error


@pytest.fixture(params=["handler", "filter"])
def raising(request: pytest.FixtureRequest) -> Iterator[Raising]:
    logger, raising = logging.getLogger("trealtime"), Raising(RuntimeError("the program's own mistake"))
    before, level = logging.root.level, logger.level
    logger.setLevel(logging.DEBUG)
    if request.param == "handler":
        logger.addHandler(raising)
    else:
        quiet = logging.NullHandler()
        quiet.handle = raising.emit  # type: ignore[assignment, method-assign]  # where its filters are asked
        logger.addHandler(quiet)
    yield raising
    for handler in list(logger.handlers):
        if handler is raising or isinstance(handler, logging.NullHandler):
            logger.removeHandler(handler)
    logger.setLevel(level)
    logging.root.setLevel(before)


async def test_a_handler_that_raises_ends_no_session(
    raising: Raising, autojump_clock: object, capsys: pytest.CaptureFixture[str]
) -> None:
    @function_tool
    async def look() -> str:
        raise ValueError("not found")

    brain = ScriptedBrain([CallFunction("look"), "I could not look.", "Here I am."])
    async with open_emulator(listen=False, brain=brain) as emulator:
        agent = RealtimeAgent(name="Desk", tools=[look])
        async with RealtimeRunner(agent, model=emulator.memory_model()).session() as session:
            assert (await session.ask("Look.")).text == "I could not look."
            assert (await session.ask("Are you there?")).text == "Here I am."
    assert "tool look failed: ValueError" in raising.seen
    assert "RuntimeError: the program's own mistake" in capsys.readouterr().err


def test_a_record_names_the_code_that_logs_it(caplog: pytest.LogCaptureFixture) -> None:
    log = Log("trealtime.somewhere")
    with caplog.at_level(logging.DEBUG, "trealtime.somewhere"):
        for say in (log.debug, log.info, log.warning, log.error, log.exception):
            say("%s", "words", extra={"call_id": "call_1"})
        log.log(logging.INFO, "words")
    assert {(record.name, record.filename, record.getMessage()) for record in caplog.records} == {
        ("trealtime.somewhere", "test_log.py", "words")
    }
    assert [record.levelname for record in caplog.records] == ["DEBUG", "INFO", "WARNING", "ERROR", "ERROR", "INFO"]
    assert log.isEnabledFor(logging.ERROR)


def test_what_is_no_exception_comes_out() -> None:
    logger, raising = logging.getLogger("trealtime.elsewhere"), Raising(KeyboardInterrupt())
    logger.addHandler(raising)
    try:
        with pytest.raises(KeyboardInterrupt):
            Log("trealtime.elsewhere").error("words")
    finally:
        logger.removeHandler(raising)


def test_nothing_is_printed_where_logging_is_told_not_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger, raising = logging.getLogger("trealtime.elsewhere"), Raising(RuntimeError())
    logger.addHandler(raising)
    try:
        Log("trealtime.elsewhere").error("words")
        assert "Logging error of trealtime.elsewhere" in capsys.readouterr().err
        monkeypatch.setattr(logging, "raiseExceptions", False)
        Log("trealtime.elsewhere").error("words")
        monkeypatch.setattr("sys.stderr", None)
        monkeypatch.setattr(logging, "raiseExceptions", True)
        Log("trealtime.elsewhere").error("words")
    finally:
        logger.removeHandler(raising)
    assert capsys.readouterr().err == ""
    assert raising.seen == ["words"] * 3
