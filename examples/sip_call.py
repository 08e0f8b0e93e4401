"""A telephone number that a voice agent answers, over SIP: OpenAI's service carries the call, this program steers it.

    python examples/sip_call.py

plays a call from end to end, with nothing but this machine: an emulator rings, this program accepts the call, watches
it, and puts the caller through to a person who presses 0.

    python examples/sip_call.py --port 8000 --transfer-to tel:+14155550123

answers real calls. It needs OPENAI_API_KEY; OPENAI_WEBHOOK_SECRET of a webhook for realtime.call.incoming (platform
settings, "Webhooks") that leads to /webhook of this program, through a tunnel to its port (``ngrok http 8000``); and a
SIP trunk that dials sip:PROJECT_ID@sip.api.openai.com;transport=tls. Both need: pip install "trealtime[web,http]"
"""

import argparse
import os
import signal
import sys
from functools import partial
from typing import Any, NoReturn

import attrs
import trio

from trealtime import (
    ConnectionLost,
    OpenAIRealtimeSIPModel,
    RealtimeAgent,
    RealtimeRunner,
    RunContext,
    TrealtimeError,
    function_tool,
    open_emulator,
)
from trealtime.calls import IncomingCall, RealtimeRestClient, RealtimeWebhooks
from trealtime.errors import CallGone, WebhookRefused
from trealtime.settings import ModelConfigDict, SessionSettingsDict
from trealtime.terminal import printable

try:
    import httpx  # noqa: F401  (what RealtimeRestClient works with)
    from hypercorn.config import Config
    from hypercorn.trio import serve
    from quart import Response, request
    from quart_trio import QuartTrio
except ImportError:
    sys.exit('sip_call needs Quart-Trio, Hypercorn and httpx: pip install "trealtime[web,http]"')


@attrs.frozen
class Call:
    """The call, as the agent's tools know it."""

    id: str
    rest: RealtimeRestClient
    transfer_to: str


@function_tool
async def hang_up(context: RunContext[Call]) -> None:
    """End the call, after both sides have said goodbye."""
    await context.context.rest.hang_up_call(context.context.id)


@function_tool
async def put_through(context: RunContext[Call]) -> None:
    """Put the caller through to a person, when they ask for one."""
    await context.context.rest.refer_call(context.context.id, context.context.transfer_to)


agent = RealtimeAgent[Call](
    name="Receptionist",
    instructions="You answer the telephone. Be brief and friendly.",
    tools=[hang_up, put_through],
)
MODEL_SETTINGS: SessionSettingsDict = {"turn_detection": {"type": "server_vad", "silence_duration_ms": 500}}
GREETING = 'Say "Hello! Press zero to talk to a person."'


# ---- one call -------------------------------------------------------------------------------------------------------


async def answer(incoming: IncomingCall, call: Call, runner: RealtimeRunner[Call], api_key: str | None) -> None:
    """Accept a call and watch it until it is over. No failure of it ends the program."""
    print(f"{printable(incoming.sip_header('From') or 'Somebody')} calls.", flush=True)
    try:
        connection: ModelConfigDict = (
            {"call_id": call.id} if api_key is None else {"call_id": call.id, "api_key": api_key}
        )
        await call.rest.accept_call(call.id, agent, context=call, run_config={"model_settings": MODEL_SETTINGS})
        async with runner.session(context=call, model_config=connection) as session:
            await session.create_response(instructions=GREETING)
            async for event in session:
                if event.type == "dtmf_received":
                    print(f"  {event.type}: {event.digit}", flush=True)
                    if event.digit == "0":
                        await call.rest.refer_call(call.id, call.transfer_to)
                elif event.type in ("speech_started", "speech_stopped", "agent_start", "agent_end"):
                    print(f"  {event.type}", flush=True)
                elif event.type == "error":
                    print(f"  {event.type}: {printable(event.error)}", flush=True)
            print("The call is over. What was said and heard:")
            for item in session.history:
                print(f"  {printable(item)}", flush=True)
    except* CallGone:
        print("The caller has hung up.", flush=True)
    except* ConnectionLost as lost:
        # The service does not close the connection of every call in order: the caller has hung up all the same.
        print(f"The call is over: {printable(lost.exceptions[0])}", flush=True)
    except* TrealtimeError as group:
        for error in group.exceptions:
            print(f"{type(error).__name__}: {printable(error)}", flush=True)


def webhook_app(webhooks: RealtimeWebhooks, take: Any) -> QuartTrio:
    """Return the webhook. `take` is called with each new call and must not wait: the service waits for our answer."""
    app = QuartTrio(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 2**20

    @app.post("/webhook")
    async def webhook() -> Response:
        body = await request.body  # before any answer: an unread body would hold up the connection's next request
        if request.mimetype != "application/json":
            return Response("webhooks are application/json", status=415)
        event = webhooks.receive(dict(request.headers), body)
        if isinstance(event, IncomingCall):
            take(event)
        return Response("", status=200)

    @app.errorhandler(WebhookRefused)
    async def refuse(error: WebhookRefused) -> Response:
        print(f"Refused: {printable(error)}", flush=True)
        return Response(str(error), status=400)

    return app


# ---- the program ----------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Settings:
    """With `base_url` and `api_key` None: OpenAI's service, with the key of the environment."""

    transfer_to: str
    secret: str = attrs.field(repr=False)
    bind: str
    base_url: str | None = None
    api_key: str | None = attrs.field(default=None, repr=False)


async def answer_calls(settings: Settings, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
    """Answer calls until cancelled; the status is the address of the webhook."""
    model = OpenAIRealtimeSIPModel(base_url=settings.base_url)
    runner = RealtimeRunner(agent, model=model, config={"model_settings": MODEL_SETTINGS})
    config = Config()
    config.bind = [settings.bind]
    config.errorlog = None
    async with (
        RealtimeRestClient(api_key=settings.api_key, base_url=settings.base_url) as rest,
        trio.open_nursery() as nursery,
    ):

        def take(incoming: IncomingCall) -> None:
            call = Call(incoming.call_id, rest, settings.transfer_to)
            nursery.start_soon(answer, incoming, call, runner, settings.api_key)

        app = webhook_app(RealtimeWebhooks(settings.secret), take)
        [address] = await nursery.start(partial(serve, app, config, shutdown_trigger=trio.sleep_forever))
        task_status.started(f"{address}/webhook")


async def answer_real_calls(settings: Settings) -> None:
    # As a signal: a KeyboardInterrupt that is raised while Hypercorn handles a request ends that request alone.
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            webhook = await nursery.start(answer_calls, settings)
            print(f"Webhooks come in at {webhook}. Ctrl-C ends it.", flush=True)
            await signals.__anext__()
            nursery.cancel_scope.cancel()


async def play_a_call(transfer_to: str) -> float:
    """Ring, listen, ask something, press 0. Return how many seconds of the agent the caller heard; 0 if it failed."""
    secret = "whsec_bm9ib2R5IGVsc2Ugc2lnbnMgaGVyZQ=="  # noqa: S105  (no secret)
    print("Starting an emulator ...", file=sys.stderr, flush=True)
    async with open_emulator(speech="auto") as emulator, trio.open_nursery() as nursery:
        print(emulator.speech.description, file=sys.stderr, flush=True)
        question = await emulator.speech.say("What are your opening hours?")
        settings = Settings(
            transfer_to=transfer_to,
            secret=secret,
            bind="127.0.0.1:0",
            base_url=emulator.url.removesuffix("/realtime"),
            api_key="any",
        )
        webhook = await nursery.start(answer_calls, settings)
        heard_s = 0.0
        with trio.move_on_after(60):
            async with emulator.ring(webhook, secret=secret, sip_headers={"From": "sip:ada@example.com"}) as caller:
                await caller.wait_answered()
                await caller.listen(quiet_s=0.5)
                await caller.say(question)
                await caller.listen(quiet_s=0.5)
                caller.press("0")
                await caller.wait_ended()
                print(f"The caller was put through to {printable(caller.referred_to)}.", flush=True)
                if caller.referred_to == transfer_to:
                    heard_s = len(caller.heard()) / 24_000
        await trio.sleep(0.5)  # until the agent's side has printed what it has
        nursery.cancel_scope.cancel()
    return heard_s


def first_cause(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def refuse(why: str) -> NoReturn:
    print(f"sip_call: {why}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A voice agent answers the telephone, over SIP.")
    parser.add_argument(
        "--port", type=int, help="answer real calls: the port that webhooks reach; without, a fake call"
    )
    parser.add_argument(
        "--transfer-to", default="tel:+14155550123", help="whom 0 puts through to (tel: or sip: address)"
    )
    arguments = parser.parse_args()
    if not arguments.transfer_to.startswith(("tel:", "sip:", "sips:")):
        refuse(f"--transfer-to: expected tel:+14155550123 or sip:agent@example.com, got {arguments.transfer_to!r}")
    if arguments.port is not None:
        for name in ("OPENAI_API_KEY", "OPENAI_WEBHOOK_SECRET"):
            if not os.environ.get(name):
                refuse(f"{name} is not set: see the top of this file")
    try:
        if arguments.port is None:
            heard_s = trio.run(play_a_call, arguments.transfer_to)
            print(f"The caller heard {heard_s:.1f} s of the agent.")
            sys.exit(heard_s < 2)
        trio.run(
            answer_real_calls,
            Settings(
                transfer_to=arguments.transfer_to,
                secret=os.environ["OPENAI_WEBHOOK_SECRET"],
                bind=f"127.0.0.1:{arguments.port}",
            ),
        )
    except* KeyboardInterrupt:
        sys.exit(130)
    except* (TrealtimeError, OSError, OverflowError) as group:  # OverflowError: there is no such port
        refuse(str(first_cause(group)))
