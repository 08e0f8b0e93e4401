"""``trealtime emulate``: a Realtime server in a shell, with a line for each session and turn."""

from __future__ import annotations

import argparse
import logging
import math
import os
import random
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trealtime._secrets import without_keys
from trealtime.cli.options import add_speech_option, make_folder, number
from trealtime.terminal import printable

if TYPE_CHECKING:
    import ssl

    from trealtime.emulator import Cut, EmulatedSession, Faults, LoggedEvent
    from trealtime.emulator.chat_brain import ChatBrain
    from trealtime.emulator.dialogue import DialogueBrain
    from trealtime.transport.wire import Side

__all__ = ["add_parser"]

_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of `trealtime`."""
    parser = commands.add_parser(
        "emulate",
        help="run a server that speaks the OpenAI Realtime protocol",
        description="Run a server that speaks the OpenAI Realtime protocol, with no key and no internet, until Ctrl-C.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port",
        type=number(int, least=0, most=65_535, what="a port from 0 to 65535"),
        default=8765,
        help="0 takes a free one (default: %(default)s)",
    )
    parser.add_argument("--api-key", help="ask this key of every client (default: any or none will do)")
    parser.add_argument("--seed", type=int, help="make ids and small talk the same in each run")
    parser.add_argument(
        "--model", default="gpt-realtime", help="model of clients that name none (default: %(default)s)"
    )
    parser.add_argument(
        "--realtime-factor",
        type=number(float, least=math.ulp(0.0), what="a number above 0"),
        default=8.0,
        help="how much faster than it plays speech is sent (default: %(default)s)",
    )
    parser.add_argument(
        "--max-session",
        type=number(float, least=math.ulp(0.0), what="a number above 0"),
        default=3_600.0,
        metavar="SECONDS",
        help="end a session after that long (default: %(default)s)",
    )
    parser.add_argument(
        "--expiry-error",
        action="store_true",
        help="send an error, session_expired, before a session that lasted too long is closed",
    )
    parser.add_argument("--record", metavar="DIR", help="record each session in a file of its own in this folder")
    parser.add_argument("--debug", action="store_true", help="show the tracebacks of errors")
    add_speech_option(parser)
    parser.add_argument(
        "--brain",
        metavar="URL",
        help="a server with OpenAI's chat completions that answers in place of the rules, such as "
        "http://localhost:11434/v1 (its key: CHAT_API_KEY)",
    )
    parser.add_argument("--brain-model", default="default", help="the model to ask it for (default: %(default)s)")
    parser.add_argument(
        "--tls",
        nargs=2,
        metavar=("CERTIFICATE", "KEY"),
        help="PEM files: listen with TLS, at wss://",
    )
    share = number(float, least=0, most=1, what="a share from 0 to 1")
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let browsers use it from pages of this origin, such as http://localhost:3000 (repeatable; '*': all)",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="on a loopback address, a name by which clients may call it besides localhost (repeatable; '*': any)",
    )
    faults = parser.add_argument_group(
        "faults", "what the real service does on a bad day, as --seed decides; a SHARE is from 0 to 1"
    )
    faults.add_argument(
        "--errors-without-ids",
        type=share,
        nargs="?",
        const=1.0,
        default=0.0,
        metavar="SHARE",
        help="errors that do not say which event they are about (without a SHARE: all)",
    )
    for name, text in (
        ("--errors-with-other-ids", "errors about an event that the client has never sent"),
        ("--lost", "answers to requests that never come"),
        ("--late-acknowledgements", "acknowledgements that come --late-by seconds late"),
        ("--doubled-acknowledgements", "acknowledgements that come twice"),
    ):
        faults.add_argument(name, type=share, default=0.0, metavar="SHARE", help=text)
    faults.add_argument(
        "--late-by",
        type=number(float, least=math.ulp(0.0), what="a number above 0"),
        default=1.0,
        metavar="SECONDS",
        help="(default: %(default)s)",
    )
    faults.add_argument("--drops", type=share, default=0.0, metavar="SHARE", help="connections cut at an event")
    faults.add_argument(
        "--cut",
        type=_cut,
        action="append",
        default=[],
        metavar="PLACE",
        help="cut the first connection at one event (repeatable): 'after response.created', "
        "'before client input_audio_buffer.append 40', 'after server any 12 1011' ([before|after] [server|client] "
        "TYPE|any [NUMBER] [CLOSE CODE])",
    )
    faults.add_argument(
        "--refuse-every",
        type=number(int, least=2, most=sys.maxsize, what="a whole number, 2 or more"),
        metavar="N",
        help="refuse every Nth connection, with --refuse-with",
    )
    faults.add_argument(
        "--refuse-with",
        type=number(int, least=300, most=599, what="an HTTP status from 300 to 599"),
        default=503,
        metavar="STATUS",
        help="(default: %(default)s)",
    )
    faults.add_argument(
        "--retry-after",
        type=number(float, least=0.0, what="a number, 0 or more"),
        metavar="SECONDS",
        help="the Retry-After of refusals (default: none)",
    )
    faults.add_argument(
        "--slow-accepts",
        type=share,
        default=0.0,
        metavar="SHARE",
        help="connections accepted --accept-after seconds late",
    )
    faults.add_argument(
        "--accept-after",
        type=number(float, least=0.0, what="a number, 0 or more"),
        default=5.0,
        metavar="SECONDS",
        help="(default: %(default)s)",
    )
    parser.add_argument(
        "--queue-turns",
        action="store_true",
        help="answer a turn that ends while a response runs after it (default: not at all, as OpenAI documents)",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import trio

    try:
        trio.run(_serve, arguments)
    except _CannotStart as error:
        print(f"trealtime emulate: {printable(error)}", file=sys.stderr)
        return 1
    except OSError as error:
        why = printable(f"cannot listen on {arguments.host}:{arguments.port}: {error}")
        print(f"trealtime emulate: {why}", file=sys.stderr)
        return 1
    return 0


class _CannotStart(Exception):
    """An option cannot be met; the message is for the shell."""


def _tls(files: list[str] | None) -> ssl.SSLContext | None:
    import ssl

    if files is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(*files)
    except OSError as error:
        raise _CannotStart(f"--tls {' '.join(files)}: {error}") from None
    return context


def _brain(arguments: argparse.Namespace) -> ChatBrain | DialogueBrain:
    from trealtime.emulator.chat_brain import ChatBrain
    from trealtime.emulator.dialogue import DialogueBrain
    from trealtime.errors import MissingDependency, SettingsError

    if arguments.brain is None:
        return DialogueBrain(random.Random(arguments.seed))
    try:
        return ChatBrain(arguments.brain, model=arguments.brain_model, api_key=os.environ.get("CHAT_API_KEY"))
    except (SettingsError, MissingDependency) as error:
        raise _CannotStart(f"--brain {without_keys(arguments.brain)}: {error}") from None


async def _serve(arguments: argparse.Namespace) -> None:
    import trio

    from trealtime.emulator import open_emulator
    from trealtime.emulator.local import speech_engines
    from trealtime.errors import MissingDependency

    tls = _tls(arguments.tls)
    brain = _brain(arguments)
    if arguments.record is not None and (why := make_folder(Path(arguments.record))) is not None:
        raise _CannotStart(f"--record {arguments.record}: {why}")
    try:
        speech = await speech_engines(arguments.speech)
    except MissingDependency as error:
        raise _CannotStart(str(error)) from None

    def tell(session: EmulatedSession, entry: LoggedEvent) -> None:
        line = _line(entry)
        if line is not None:
            log.say(f"{session.id}: {line}")
        if entry.event.get("type") == "response.done" and session.turns:
            turn = session.turns[-1]
            if turn.response_id == entry.event["response"]["id"]:
                log.say(f"{session.id}: {turn}")

    # Before the socket is open: a program that reads the address may end us at once.
    with trio.open_signal_receiver(*_ENDING_SIGNALS) as signals:
        async with (
            _open_log() as log,
            _failures_told(log, debug=arguments.debug),
            open_emulator(
                host=arguments.host,
                port=arguments.port,
                api_key=arguments.api_key,
                seed=arguments.seed,
                default_model=arguments.model,
                realtime_factor=arguments.realtime_factor,
                max_session_s=arguments.max_session,
                brain=brain,
                speech=speech,
                ssl_context=tls,
                allow_origins=arguments.allow_origin,
                allow_hosts=arguments.allow_host,
                queue_turns=arguments.queue_turns,
                expiry="error" if arguments.expiry_error else "close",
                faults=_faults(arguments),
                record=arguments.record,
                on_event=tell,
            ) as emulator,
        ):
            log.say(f"Listening at {emulator.url} (Ctrl-C ends it)")
            key = "any" if arguments.api_key is None else "..."
            log.say(f"For clients: OPENAI_BASE_URL={emulator.url.removesuffix('/realtime')} OPENAI_API_KEY={key}")
            log.say(speech.description)
            answers = "a set of rules" if arguments.brain is None else f"{arguments.brain_model} at {arguments.brain}"
            log.say(f"What answers: {answers}.")
            async for _ in signals:
                break
            statistics = emulator.statistics()
            log.say(f"{statistics.sessions_opened} session(s), {statistics.responses_done} response(s)")


def _faults(arguments: argparse.Namespace) -> Faults:
    from trealtime.emulator import Faults

    return Faults(
        errors_without_ids=arguments.errors_without_ids,
        errors_with_other_ids=arguments.errors_with_other_ids,
        lost=arguments.lost,
        late_acknowledgements=arguments.late_acknowledgements,
        doubled_acknowledgements=arguments.doubled_acknowledgements,
        late_s=arguments.late_by,
        drops=arguments.drops,
        cuts=arguments.cut,
        refused_dials=range(arguments.refuse_every, sys.maxsize, arguments.refuse_every)
        if arguments.refuse_every
        else (),
        refused_with=arguments.refuse_with,
        retry_after_s=arguments.retry_after,
        slow_accepts=arguments.slow_accepts,
        accept_after_s=arguments.accept_after,
    )


_PLACE: Final = re.compile(
    r"(?:(?P<when>before|after)\s+)?(?:(?P<sender>server|client)\s+)?(?P<event>[a-z_][a-z_.]*)"
    r"(?:\s+(?P<nth>\d+))?(?:\s+(?P<code>\d+))?"
)


def _cut(place: str) -> Cut:
    """Read a place of ``--cut``."""
    from trealtime.emulator import Cut
    from trealtime.errors import SettingsError

    found = _PLACE.fullmatch(place.strip())
    if found is None:
        raise argparse.ArgumentTypeError(
            f"expected [before|after] [server|client] TYPE|any [NUMBER] [CLOSE CODE], got {place!r}"
        )
    sender: Side = "client" if found["sender"] == "client" else "server"
    if found["event"] != "any":
        _check_type(found["event"], sender)
    try:
        return Cut(
            event=None if found["event"] == "any" else found["event"],
            sender=sender,
            when="before" if found["when"] == "before" else "after",
            nth=int(found["nth"] or 1),
            code=None if found["code"] is None else int(found["code"]),
        )
    except SettingsError as error:
        raise argparse.ArgumentTypeError(f"{place!r}: {error}") from None


def _check_type(event: str, sender: Side) -> None:
    """Refuse a type that never comes: the server's are all known. A client may have some of its vendor's, so that only
    those are refused which look like a slip of the pen."""
    import difflib

    from trealtime.protocol.client_events import CLIENT_EVENT_TYPES
    from trealtime.protocol.server_events import SERVER_EVENT_TYPES

    own, others = SERVER_EVENT_TYPES.keys(), CLIENT_EVENT_TYPES.keys()
    if sender == "client":
        own, others = others, own
    if event in own:
        return
    problem = f"the {sender} sends no event of type {event!r}"
    if event in others:
        other = "server" if sender == "client" else "client"
        raise argparse.ArgumentTypeError(f"{problem}; the {other} does: write '{other} {event}'")
    near = difflib.get_close_matches(event, sorted(own), cutoff=0.8)
    if near:
        raise argparse.ArgumentTypeError(f"{problem}; did you mean {' or '.join(map(repr, near))}?")
    if sender == "server":
        raise argparse.ArgumentTypeError(f"{problem}. It sends: any, {', '.join(sorted(own))}")


def _line(entry: LoggedEvent) -> str | None:
    """Return a line for the events that are worth one, None for the rest."""
    event = entry.event
    if entry.direction == "client":
        return None
    match event["type"]:
        case "session.created":
            return f"opened, {event['session'].get('model', event['session']['type'])}"
        case "conversation.item.done" if event["item"].get("role") == "user":
            return f"user: {_words(event['item']) or '(audio)'}"
        case "conversation.item.input_audio_transcription.completed":
            return f"heard: {event['transcript']}"
        case "response.done":
            response = event["response"]
            said = " ".join(filter(None, map(_words, response["output"])))
            return f"agent ({response['status']}): {said}"
        case "error":
            return f"error: {event['error']['message']}"
        case _:
            return None


def _words(item: dict[str, Any]) -> str:
    if item["type"] == "function_call":
        return f"{item['name']}({item['arguments']})"
    parts = item.get("content", ())
    return " ".join(part.get("text") or part.get("transcript") or "" for part in parts).strip()


# ---- standard output -------------------------------------------------------------------------------------------------

_STDOUT: Final = 1
_MOST_LINES: Final = 1_000
_MOST_CHARACTERS: Final = 1_000
_LAST_WORDS_S: Final = 1.0


class _Log:
    """Lines for standard output, written by a thread: a program that started us may not read its pipe, or close it.

    Lines that find no room are dropped and counted. Clients have sent most of the text, so control characters in it are
    escaped and long lines are cut.
    """

    def __init__(self) -> None:
        import trio

        self._send, self._receive = trio.open_memory_channel[str](_MOST_LINES)
        self._dropped = 0
        self.written = trio.Event()
        """Set when no more lines are written."""

    def say(self, line: str) -> None:
        """Write a line when there is room for it. Never waits."""
        import trio

        shown = printable(line if len(line) <= _MOST_CHARACTERS else f"{line[: _MOST_CHARACTERS - 3]}...")
        try:
            self._send.send_nowait(shown)
        except trio.WouldBlock:
            self._dropped += 1

    async def write(self) -> None:
        """Write lines until `end`, or until standard output is closed."""
        import trio

        async for line in self._receive:
            dropped, self._dropped = self._dropped, 0
            note = f"({dropped} lines were dropped)\n" if dropped else ""
            try:
                # Past Python's buffer, whose lock a blocked thread would hold when the program ends.
                await trio.to_thread.run_sync(_write, f"{note}{line}\n".encode(), abandon_on_cancel=True)
            except OSError:
                self._send, self._receive = trio.open_memory_channel[str](0)  # from now on each line is dropped
                break
        self.written.set()

    def end(self) -> None:
        """No more lines."""
        self._send.close()


class _Failures(logging.Handler):
    """Tells the failures of engines in lines: one each, or with the traceback."""

    def __init__(self, log: _Log, *, debug: bool) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._debug = debug

    def emit(self, record: logging.LogRecord) -> None:
        lines = self.format(record).splitlines() if self._debug else [record.getMessage()]
        for line in lines:
            self._log.say(f"{record.levelname.lower()}: {line}")


@asynccontextmanager
async def _failures_told(log: _Log, *, debug: bool) -> AsyncIterator[None]:
    handler, logger = _Failures(log, debug=debug), logging.getLogger("trealtime")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(_STDOUT, data) :]


@asynccontextmanager
async def _open_log() -> AsyncIterator[_Log]:
    import trio

    from trealtime.transport.background import background_nursery

    log = _Log()
    async with background_nursery() as nursery:
        nursery.start_soon(log.write)
        try:
            yield log
        finally:
            log.end()
            with trio.move_on_after(_LAST_WORDS_S):
                await log.written.wait()
