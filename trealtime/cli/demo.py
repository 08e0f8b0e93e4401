"""``trealtime demo``: a page with an agent to talk to, and the timeline of the call when it has ended."""

from __future__ import annotations

import argparse
import html
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trealtime.cli.options import add_speech_option, number
from trealtime.terminal import printable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    import trio

    from trealtime._session.config_dicts import ModelConfigDict
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.protocol.settings_dicts import SessionSettingsDict

__all__ = ["add_parser"]

_HINT = "Ask Otto where order 1234 is, have it refunded, or tell him to count to fifty and interrupt him."
_DEMO_HINT = (
    "Say <q>Where is order 42?</q>, <q>Please refund order 42</q>, or <q>Transfer me to the workshop</q>, where Rosa "
    "searches the shelves: <q>Search the shelves for a wheel</q>. Interrupt them when you like."
)
_ANY_HINT = "Say something, or type it. Interrupt the agent when you like."
_TOOLS_HINT = "What Otto does in the shop's computer appears here. Refunds wait for your approval."


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of `trealtime`."""
    parser = commands.add_parser(
        "demo",
        help="talk to an agent on a page in the browser",
        description="Open a page with an agent to talk to: it calls tools, asks for your approval, hands over, and "
        "does slow work while you talk. When the call has ended, its timeline is beside it. With OPENAI_API_KEY it is "
        "on OpenAI's service; without, on an emulator in this process.",
    )
    parser.add_argument(
        "agent", nargs="?", metavar="MODULE:AGENT", help="an agent of yours in place of the demo's, as in `talk`"
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: %(default)s)")
    parser.add_argument(
        "--port",
        type=number(int, least=0, most=65_535, what="a port from 0 to 65535"),
        help="the port to listen on, 0 for any (default: 8000, or any where that is taken)",
    )
    parser.add_argument("--no-open", action="store_true", help="print the address, and open no browser")
    parser.add_argument("--model", help="the model to talk to")
    parser.add_argument("--url", help="a Realtime server, such as that of `trealtime emulate`")
    parser.add_argument(
        "--record", type=Path, metavar="FOLDER", help="keep the recordings (default: while this program runs)"
    )
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let pages of this origin talk too, such as https://shop.example (repeatable)",
    )
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="answer to this name too (repeatable)"
    )
    add_speech_option(parser)
    parser.set_defaults(run=_run, quiet_ctrl_c=True)


def _run(arguments: argparse.Namespace) -> int:
    import trio

    from trealtime.cli.options import AgentNotFound, load_agent, make_folder
    from trealtime.errors import TrealtimeError

    if arguments.record is not None and (why := make_folder(arguments.record)) is not None:
        return _refuse(f"--record {arguments.record}: {why}")
    try:
        agent = None if arguments.agent is None else load_agent(arguments.agent)
        trio.run(_serve, arguments, agent)
    except AgentNotFound as error:
        return _refuse(str(error))
    except TrealtimeError as error:
        return _refuse(f"{type(error).__name__}: {error}")
    except OSError as error:
        return _refuse(f"{arguments.host}:{arguments.port or 8000}: {error.strerror or error}")
    return 0


def _refuse(why: str) -> int:
    print(f"trealtime demo: {printable(why, newlines=True)}", file=sys.stderr)
    return 2


async def _serve(arguments: argparse.Namespace, agent: RealtimeAgent[Any] | None) -> None:
    import signal
    import tempfile
    import webbrowser
    from contextlib import AsyncExitStack
    from functools import partial

    import trio

    from trealtime._session.runner import RealtimeRunner
    from trealtime.cli.demo_agents import GREETING, demo_agent
    from trealtime.cli.page_server import Calls, PageServer
    from trealtime.cli.page_session import converse
    from trealtime.transport.background import background_nursery

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with AsyncExitStack() as stack:
            folder = arguments.record
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trealtime-demo-")))
            nursery = await stack.enter_async_context(background_nursery())
            listeners = await _listeners(arguments)
            connection = await stack.enter_async_context(_connected(arguments))
            shown = agent if agent is not None else demo_agent()
            settings: SessionSettingsDict = {
                "audio": {
                    "input": {
                        "transcription": {"model": "gpt-4o-mini-transcribe"},
                        "turn_detection": {"type": "server_vad", "silence_duration_ms": 500},
                    }
                }
            }
            if arguments.model is not None:
                settings["model_name"] = arguments.model
            runner: RealtimeRunner[Any] = RealtimeRunner(
                shown,
                config={"model_settings": settings, "record": str(folder / "{session_id}.jsonl.gz")},
            )
            greeting = GREETING if agent is None else None
            server = PageServer(
                lambda page: converse(page, runner, connection, greeting),
                Calls(folder),
                _texts(shown, arguments),
                names=frozenset(name.lower() for name in arguments.allow_host),
                origins=frozenset(origin.rstrip("/") for origin in arguments.allow_origin),
            )
            nursery.start_soon(trio.serve_listeners, server.serve, listeners)
            host, port = listeners[0].socket.getsockname()[:2]
            name = "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host  # noqa: S104
            address = f"http://{name}:{port}"
            print(f"Open {address} in a browser. Ctrl-C ends it.", flush=True)
            if not arguments.no_open:
                show = partial(webbrowser.open, address)
                nursery.start_soon(partial(trio.to_thread.run_sync, abandon_on_cancel=True), show)
            async for _ in signals:
                break
            print("Goodbye.", flush=True)


def _texts(agent: RealtimeAgent[Any], arguments: argparse.Namespace) -> dict[str, str]:
    """Return words of the page, and those that take their place."""
    if arguments.agent is None:
        return {_HINT: _DEMO_HINT}
    return {
        _HINT: _ANY_HINT,
        _TOOLS_HINT: "Calls of tools appear here, and wait for your approval where they need it.",
        "Talk to Otto": html.escape(f"Talk to {agent.name}"),
        "The service desk of a bicycle shop": html.escape(arguments.agent),
    }


async def _listeners(arguments: argparse.Namespace) -> list[trio.SocketListener]:
    """Listen before anything is loaded, so that a port which is taken is an error at once."""
    import trio

    try:
        return await trio.open_tcp_listeners(8000 if arguments.port is None else arguments.port, host=arguments.host)
    except OSError:
        if arguments.port is not None:
            raise
        return await trio.open_tcp_listeners(0, host=arguments.host)


def _connected(arguments: argparse.Namespace) -> AbstractAsyncContextManager[ModelConfigDict]:
    """Return a context with the `model_config` of sessions."""
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def connected() -> AsyncIterator[ModelConfigDict]:
        has_key = bool(os.environ.get("OPENAI_API_KEY"))
        if arguments.url is not None:
            print(f"Talking to {printable(arguments.url)}.", flush=True)
            yield {"url": arguments.url} if has_key else {"url": arguments.url, "headers": {}}
        elif has_key:
            print("Talking to OpenAI's service.", flush=True)
            yield {}
        else:
            from trealtime.emulator import open_emulator

            print("No OPENAI_API_KEY: starting an emulator ...", flush=True)
            async with open_emulator(speech=arguments.speech) as emulator:
                print(emulator.speech.description, flush=True)
                yield {"url": emulator.url, "headers": {}}

    return connected()
