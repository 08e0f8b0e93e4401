"""A page that one can talk to: the service desk of a bicycle shop, in the browser, over a WebSocket of this program.

    python examples/browser/server.py

and open http://127.0.0.1:8000. It needs: pip install "trealtime[web]". With OPENAI_API_KEY the agent is on OpenAI's
service; without, on an emulator in this process, which hears and speaks English if trealtime[local] is installed too.

    python examples/browser/server.py --check

needs no browser: it opens the page, talks to the agent, approves a refund, and says how that went.
"""

import argparse
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.request import urlopen

import trio

from trealtime import (
    BrowserEndpoint,
    RealtimeAgent,
    RealtimeRunner,
    RealtimeSession,
    SettingsError,
    Subscription,
    TrealtimeError,
    accept_browser_stream,
    function_tool,
    open_emulator,
)
from trealtime.endpoints import PAGE_EVENTS, PAGE_FILES, PageUpdates, obey_page
from trealtime.errors import BrowserStreamError
from trealtime.settings import ModelConfigDict
from trealtime.terminal import printable
from trealtime.testing import open_fake_page

try:
    from hypercorn.config import Config
    from hypercorn.protocol import ws_stream
    from hypercorn.trio import serve
    from quart import Response, request, websocket
    from quart_trio import QuartTrio
    from wsproto.extensions import PerMessageDeflate
except ImportError:
    sys.exit('browser/server.py needs Quart-Trio and Hypercorn: pip install "trealtime[web]"')

MAX_MESSAGE_BYTES = 4 * 2**20
"""Of one message of a page: an image, and room to spare."""


class NoCompression(PerMessageDeflate):
    """An extension that no connection gets.

    Hypercorn decompresses a message before it looks at its size: 400 KB of a page would cost half a gigabyte. It has no
    setting for that.
    """

    def accept(self, offer: str) -> bool | str | None:
        return None


ws_stream.PerMessageDeflate = NoCompression  # type: ignore[attr-defined]

MAX_SESSIONS = 8
"""At the same time: each costs what a conversation costs."""


# ---- the agent ------------------------------------------------------------------------------------------------------


@function_tool
async def order_status(order_id: int) -> str:
    """Look up where an order is.

    Args:
        order_id: The number printed on the receipt.
    """
    await trio.sleep(1)  # the shop's computer is old
    return f"Order {order_id} left the workshop this morning and arrives tomorrow"


@function_tool(needs_approval=True)
async def refund(order_id: int) -> str:
    """Give the money for an order back.

    Args:
        order_id: The number printed on the receipt.
    """
    return f"The money for order {order_id} is on its way"


agent = RealtimeAgent(
    name="Otto",
    instructions="You are Otto, at the service desk of a bicycle shop. You are brief and friendly. Use your tools.",
    tools=[order_status, refund],
)
GREETING = 'Say "Hello, this is Otto from the bicycle shop. What can I do for you?"'
runner = RealtimeRunner(
    agent,
    config={
        "model_settings": {
            "audio": {
                "input": {
                    "transcription": {"model": "gpt-4o-mini-transcribe"},
                    "turn_detection": {"type": "server_vad", "silence_duration_ms": 500},
                }
            }
        }
    },
)


# ---- one conversation -----------------------------------------------------------------------------------------------


async def converse(page: BrowserEndpoint, connection: ModelConfigDict) -> None:
    """Run one session for as long as its page is open."""
    try:
        async with (
            runner.session(model_config=connection) as session,
            session.subscribe(*PAGE_EVENTS) as subscription,
            session.attach(page) as attachment,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(tell, page, subscription)
            nursery.start_soon(obey, page, session)
            await session.create_response(instructions=GREETING)
            await attachment.wait_closed()
            nursery.cancel_scope.cancel()
    except* trio.BrokenResourceError:
        pass  # the page has left while something was said to it
    except* TrealtimeError as group:
        reason = "; ".join(f"{type(error).__name__}: {error}" for error in group.exceptions)
        print(printable(reason), flush=True)
        await page.refuse(reason)  # unless it is closed already


async def tell(page: BrowserEndpoint, subscription: Subscription) -> None:
    """Send the page the events of the session."""
    updates = PageUpdates()
    async for event in subscription:
        for message in updates.of(event):
            await page.send(message)


async def obey(page: BrowserEndpoint, session: RealtimeSession[Any]) -> None:
    """Carry out the page's messages: words and images of the user, interrupts, decisions about calls of tools.

    A page of yours has messages of its own; here is the place for them.
    """
    async for message in page.messages:
        try:
            await obey_page(message, session)
        except (ValueError, SettingsError) as error:
            await page.send({"type": "problem", "text": str(error)})


# ---- the server -----------------------------------------------------------------------------------------------------


def page_app(connection: ModelConfigDict) -> QuartTrio:
    """Return the page and its WebSocket, for pages of the ORIGINS of the app's config alone."""
    # The page of `trealtime demo`: copy the folder, and make it yours.
    app = QuartTrio(__name__, static_folder=str(PAGE_FILES), static_url_path="")
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 0
    sessions = trio.CapacityLimiter(MAX_SESSIONS)

    @app.get("/")
    async def index() -> Response:
        return await app.send_static_file("index.html")

    @app.after_request
    async def add_headers(response: Response) -> Response:
        # The page loads nothing from elsewhere, and connects to its own server alone. Some browsers do not take 'self'
        # for its WebSocket.
        host = request.host if re.fullmatch(r"[\w.:\[\]-]+", request.host, re.ASCII) else ""
        sockets = f" ws://{host} wss://{host}" if host else ""
        response.headers["Content-Security-Policy"] = (
            f"default-src 'self'; connect-src 'self'{sockets}; img-src 'self' data: blob:; frame-ancestors 'none'"
        )
        response.headers["Permissions-Policy"] = "microphone=(self)"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @app.websocket("/talk")
    async def talk() -> Response | None:
        origin = websocket.headers.get("Origin")
        if origin not in app.config["ORIGINS"]:
            # Browsers let any page open a WebSocket here, and tell us which one does.
            reason = f"Refused: a page of {origin!r}; --allow-origin allows it"
            print(printable(reason), flush=True)
            return Response(reason, status=403)
        await websocket.accept()
        try:
            page = await accept_browser_stream(websocket, max_message_bytes=MAX_MESSAGE_BYTES)
        except BrowserStreamError as error:
            print(f"Refused: {printable(error)}", flush=True)
            return None
        if sessions.available_tokens == 0:
            await page.refuse("Everybody is busy: try again later.", code=1013)
            return None
        async with sessions:
            await converse(page, connection)
        return None

    return app


@asynccontextmanager
async def service_or_emulator(*, tones: bool) -> AsyncIterator[ModelConfigDict]:
    """Yield how to connect: the `model_config` of a session."""
    if os.environ.get("OPENAI_API_KEY"):
        yield {}
        return
    print("No OPENAI_API_KEY: starting an emulator ...", file=sys.stderr, flush=True)
    async with open_emulator(speech="tones" if tones else "auto") as emulator:
        print(emulator.speech.description, file=sys.stderr, flush=True)
        yield {"url": emulator.url, "api_key": "any"}


async def main(host: str, port: int, allowed: Sequence[str], *, tones: bool, check: bool) -> None:
    async with service_or_emulator(tones=tones) as connection, trio.open_nursery() as nursery:
        app = page_app(connection)
        config = Config()
        config.bind = [f"{host}:{port}"]
        config.errorlog = None
        config.graceful_timeout = 1
        config.websocket_max_message_size = MAX_MESSAGE_BYTES
        config.websocket_ping_interval = 20
        over = trio.Event()
        # As a signal: a KeyboardInterrupt that is raised while Hypercorn handles a request ends that request alone.
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            [address] = await nursery.start(partial(serve, app, config, shutdown_trigger=over.wait))
            port = int(address.rpartition(":")[2])
            app.config["ORIGINS"] = {f"http://{name}:{port}" for name in (host, "localhost", "127.0.0.1", "[::1]")}
            app.config["ORIGINS"].update(origin.rstrip("/") for origin in allowed)
            if not check:
                print(f"Open {address} in a browser. Ctrl-C ends it.", flush=True)
                await signals.__anext__()
        if check:
            with trio.fail_after(60):
                await look_at_the_page(address)
        over.set()


# ---- without a browser ----------------------------------------------------------------------------------------------


def fetch(url: str) -> bytes:
    with urlopen(url, timeout=10) as response:  # noqa: S310  (our own)
        return bytes(response.read())


async def look_at_the_page(address: str) -> None:
    for name in ("", "app.js", "audio.js", "worklet.js", "style.css", "icon.svg"):
        assert await trio.to_thread.run_sync(fetch, f"{address}/{name}"), name
    async with open_fake_page(f"{address.replace('http', 'ws', 1)}/talk", headers={"Origin": address}) as page:
        await page.wait_heard(1_000)
        page.post({"type": "say", "text": "Please refund order 1234."})
        while (event := await page.wait_received("event"))["name"] != "tool_approval_required":
            pass
        print(f"{event['tool']} {event['arguments']} needs approval, and gets it.")
        page.post({"type": "decide", "call_id": event["call_id"], "approve": True})
        while (event := await page.wait_received("event"))["name"] != "tool_end":
            pass
        print(f"{event['tool']}: {event['output']}.")
        await page.wait_heard(page.heard_ms + 1_000)
    print(f"The page heard {page.heard_ms / 1000:.1f} s of the agent.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A voice agent to talk to in a browser.")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="default %(default)s; 0: any free one")
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let pages of this origin talk too, such as https://shop.example; may be given again",
    )
    parser.add_argument(
        "--tones", action="store_true", help="without a key: no words, even where trealtime[local] is installed"
    )
    parser.add_argument("--check", action="store_true", help="talk to the agent without a browser, and end")
    given = parser.parse_args()
    try:
        trio.run(partial(main, tones=given.tones, check=given.check), given.host, given.port, given.allow_origin)
    except* KeyboardInterrupt:
        sys.exit(130)
    except* (TrealtimeError, trio.TooSlowError, OSError, OverflowError) as group:  # OverflowError: no such port
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        sys.exit(f"browser/server.py: {error}")
