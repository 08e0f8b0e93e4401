"""A telephone number that a voice agent answers, over Twilio Media Streams.

    python examples/twilio_call.py

plays a call from end to end, with nothing but this machine: a fake Twilio asks the webhook what to do, opens the stream
and talks to the agent, which is on OpenAI's service with OPENAI_API_KEY and on an emulator without.

    python examples/twilio_call.py --public-url https://YOUR-NAME.ngrok.app

answers real calls. It needs TWILIO_AUTH_TOKEN (Twilio's console, "Account Info"), OPENAI_API_KEY, a tunnel to port 8000
(``ngrok http 8000``), and in the console, for your number: "A call comes in", webhook, https://YOUR-NAME.ngrok.app/voice,
HTTP POST. Both need: pip install "trealtime[web]"
"""

import argparse
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import NoReturn
from urllib.parse import urlencode
from urllib.request import Request, urlopen
from xml.etree import ElementTree as ET

import trio

from trealtime import (
    RealtimeAgent,
    RealtimeRunner,
    RealtimeSession,
    TrealtimeError,
    TwilioEndpoint,
    accept_twilio_stream,
    open_emulator,
)
from trealtime.audio.g711 import encode_ulaw
from trealtime.audio.resample import resample
from trealtime.emulator.local import speech_engines
from trealtime.endpoints import check_twilio_signature
from trealtime.endpoints.twilio import sign_twilio_request
from trealtime.errors import WebhookRefused
from trealtime.settings import ModelConfigDict
from trealtime.terminal import printable
from trealtime.testing import open_fake_twilio

try:
    from hypercorn.config import Config
    from hypercorn.trio import serve
    from quart import Response, request, websocket
    from quart_trio import QuartTrio
except ImportError:
    sys.exit('twilio_call needs Quart-Trio and Hypercorn: pip install "trealtime[web]"')

agent = RealtimeAgent(name="Receptionist", instructions="You answer the telephone. Be brief and friendly.")
runner = RealtimeRunner(
    agent,
    config={
        "model_settings": {
            # The format of telephones: no audio has to be converted on the way.
            "input_audio_format": "g711_ulaw",
            "output_audio_format": "g711_ulaw",
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 500},
        }
    },
)


# ---- the server -----------------------------------------------------------------------------------------------------


def call_app(auth_token: str, connection: ModelConfigDict) -> QuartTrio:
    """Return the webhook and the stream, for Twilio alone, at the PUBLIC_URL of the app's config."""
    app = QuartTrio(__name__)

    def stream_url() -> str:
        return f"{app.config['PUBLIC_URL'].replace('http', 'ws', 1)}/stream"

    @app.post("/voice")
    async def voice() -> Response:
        form = await request.form
        check_twilio_signature(
            f"{app.config['PUBLIC_URL']}/voice",
            auth_token=auth_token,
            signature=request.headers.get("X-Twilio-Signature"),
            params=form.to_dict(flat=False),
        )
        return Response(twiml(stream_url(), caller=form.get("From", "somebody")), content_type="text/xml")

    @app.websocket("/stream")
    async def stream() -> None:
        check_twilio_signature(
            stream_url(), auth_token=auth_token, signature=websocket.headers.get("X-Twilio-Signature")
        )
        await websocket.accept()
        await answer(await accept_twilio_stream(websocket), connection)

    @app.errorhandler(WebhookRefused)
    async def refuse(error: WebhookRefused) -> Response:
        print(f"Refused: {printable(error)}", flush=True)
        return Response(str(error), status=403)

    return app


def twiml(stream_url: str, **parameters: str) -> bytes:
    """Return what Twilio is to do with a call: connect it to the stream."""
    response = ET.Element("Response")
    stream = ET.SubElement(ET.SubElement(response, "Connect"), "Stream", url=stream_url)
    for name, value in parameters.items():
        ET.SubElement(stream, "Parameter", name=name, value=value)
    document: bytes = ET.tostring(response, encoding="utf-8")
    return document


async def answer(endpoint: TwilioEndpoint, connection: ModelConfigDict) -> None:
    """One call, until the caller hangs up."""
    print(f"{printable(endpoint.call.custom_parameters.get('caller', 'Somebody'))} calls.", flush=True)
    try:
        async with runner.session(model_config=connection) as session, session.attach(endpoint) as attachment:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(show, session)
                    await session.send_message("Somebody is on the line: greet them in one short sentence.")
                    await attachment.wait_closed()
                    nursery.cancel_scope.cancel()
            finally:  # Quart-Trio cancels the handler when the socket closes
                print("The call is over. What was said and heard:")
                for item in session.history:
                    print(f"  {printable(item)}", flush=True)
    except* TrealtimeError as group:
        for error in group.exceptions:
            print(f"{type(error).__name__}: {printable(error)}", flush=True)


async def show(session: RealtimeSession) -> None:
    async for event in session:
        if event.type in ("speech_started", "speech_stopped", "agent_start", "agent_end"):
            print(f"  {event.type}", flush=True)
        elif event.type == "audio_interrupted":
            print(f"  {event.type}: {event.heard_ms} ms of it were heard", flush=True)
        elif event.type == "dtmf_received":
            print(f"  {event.type}: {event.digit}", flush=True)
        elif event.type == "error":
            print(f"  {event.type}: {printable(event.error)}", flush=True)


# ---- without a telephone --------------------------------------------------------------------------------------------


async def fake_call(public_url: str, auth_token: str) -> float:
    """Do what Twilio and a caller do: ask the webhook, open the stream that it names, listen, speak, hang up.

    The caller has the emulator's voice: words where `trealtime[local]` is installed, else a signal. Return how many
    seconds of the agent the caller has heard.
    """
    engines = await speech_engines("auto")
    question = encode_ulaw(resample(await engines.say("What are your opening hours?"), 24_000, 8_000))
    form = {"CallSid": "CA00000000000000000000000000000001", "From": "+15550100", "To": "+15550199"}
    reply = ET.fromstring(await post(f"{public_url}/voice", form, auth_token))  # noqa: S314  (our own)
    stream = reply.find("Connect/Stream")
    assert stream is not None
    url, parameters = stream.attrib["url"], {each.attrib["name"]: each.attrib["value"] for each in stream}
    async with open_fake_twilio(url, custom_parameters=parameters, auth_token=auth_token) as caller:
        await caller.wait_heard(1_000)  # the greeting
        caller.say(question)  # interrupts it
        await caller.said()
        await caller.wait_heard(caller.heard_ms + 2_000)  # the answer
        caller.press("1")
        await trio.sleep(0.2)
        await caller.hang_up()
    return caller.heard_ms / 1000


async def post(url: str, form: Mapping[str, str], auth_token: str) -> str:
    signature = sign_twilio_request(url, auth_token=auth_token, params=form)
    webhook = Request(url, urlencode(form).encode(), {"X-Twilio-Signature": signature})  # noqa: S310  (our own)

    def fetch() -> str:
        with urlopen(webhook, timeout=10) as response:  # noqa: S310  (as above)
            return str(response.read(), "utf-8")

    return await trio.to_thread.run_sync(fetch)


# ---- the program ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def service_or_emulator() -> AsyncIterator[ModelConfigDict]:
    """Yield how to connect: the `model_config` of a session."""
    if os.environ.get("OPENAI_API_KEY"):
        yield {}
        return
    print("No OPENAI_API_KEY: starting an emulator ...", file=sys.stderr, flush=True)
    async with open_emulator(speech="auto") as emulator:
        print(emulator.speech.description, file=sys.stderr, flush=True)
        yield {"url": emulator.url, "api_key": "any"}


async def answer_calls(public_url: str, auth_token: str, port: int) -> None:
    async with service_or_emulator() as connection:
        app = call_app(auth_token, connection)
        app.config["PUBLIC_URL"] = public_url.rstrip("/")
        config = Config()
        config.bind = [f"127.0.0.1:{port}"]
        # As a signal: a KeyboardInterrupt that is raised while Hypercorn handles a request ends that request alone.
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:

            async def wait_ctrl_c() -> None:
                await signals.__anext__()

            print(f"Calls come in at {public_url}/voice. Ctrl-C ends it.", flush=True)
            await serve(app, config, shutdown_trigger=wait_ctrl_c)


async def play_a_call() -> float:
    auth_token = "any: nobody else signs here"  # noqa: S105  (no secret)
    async with service_or_emulator() as connection, trio.open_nursery() as nursery:
        app = call_app(auth_token, connection)
        config = Config()
        config.bind = ["127.0.0.1:0"]
        config.errorlog = None
        over = trio.Event()
        [app.config["PUBLIC_URL"]] = await nursery.start(partial(serve, app, config, shutdown_trigger=over.wait))
        heard_s = 0.0
        with trio.move_on_after(60):
            heard_s = await fake_call(app.config["PUBLIC_URL"], auth_token)
        over.set()
    return heard_s


def first_cause(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def refuse(why: str) -> NoReturn:
    print(f"twilio_call: {why}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A voice agent answers the telephone, over Twilio Media Streams.")
    parser.add_argument("--public-url", help="where Twilio reaches this program: https://...; without, a fake call")
    parser.add_argument("--port", type=int, default=8000, help="the port that the tunnel leads to (default 8000)")
    arguments = parser.parse_args()
    if arguments.public_url is not None:
        if not arguments.public_url.startswith("https://"):
            refuse(f"--public-url: expected https://..., which is all that Twilio calls, got {arguments.public_url!r}")
        if not os.environ.get("TWILIO_AUTH_TOKEN"):
            refuse('TWILIO_AUTH_TOKEN is not set: it stands in Twilio\'s console under "Account Info"')
    try:
        if arguments.public_url is None:
            heard_s = trio.run(play_a_call)
            print(f"The caller heard {heard_s:.1f} s of the agent.")
            sys.exit(heard_s < 2)
        trio.run(answer_calls, arguments.public_url, os.environ["TWILIO_AUTH_TOKEN"], arguments.port)
    except* KeyboardInterrupt:
        sys.exit(130)
    except* (TrealtimeError, OSError, OverflowError) as group:  # OverflowError: there is no such port
        refuse(str(first_cause(group)))
