"""Phone calls over SIP, on FastAPI: a webhook accepts a call, and a session talks to the caller.

Changed beside the imports: the calls live in a nursery that the app's lifespan opens, `AgentsException`, of which
`ConnectionLost` is one, takes the place of websockets' exception, and ``hypercorn --worker-class trio`` serves in
place of uvicorn.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio
from fastapi import FastAPI, HTTPException, Request, Response
from openai import APIStatusError, AsyncOpenAI, InvalidWebhookSignatureError

from trealtime.compat import AgentsException
from trealtime.compat.realtime.config import RealtimeSessionModelSettings
from trealtime.compat.realtime.items import AssistantAudio, AssistantMessageItem, AssistantText, UserMessageItem
from trealtime.compat.realtime.model_inputs import RealtimeModelSendRawMessage
from trealtime.compat.realtime.openai_realtime import OpenAIRealtimeSIPModel
from trealtime.compat.realtime.runner import RealtimeRunner

from .airline import get_starting_agent

logger = logging.getLogger("twilio_sip")
client = AsyncOpenAI(webhook_secret=os.environ["OPENAI_WEBHOOK_SECRET"])
assistant = get_starting_agent()


class Calls:
    """The calls that are going on."""

    nursery: trio.Nursery

    def __init__(self) -> None:
        self.active: set[str] = set()

    def begin(self, call_id: str) -> None:
        """Talk to the caller, unless that goes on already."""
        if call_id not in self.active:
            self.active.add(call_id)
            self.nursery.start_soon(self.observe, call_id)

    async def observe(self, call_id: str) -> None:
        """Greet the caller, and write down what is said."""
        runner = RealtimeRunner(assistant, model=OpenAIRealtimeSIPModel())
        settings: RealtimeSessionModelSettings = {
            "turn_detection": {"type": "semantic_vad", "interrupt_response": True}
        }
        try:
            async with await runner.run(
                model_config={"call_id": call_id, "initial_model_settings": settings}
            ) as session:
                await session.model.send_event(
                    RealtimeModelSendRawMessage(
                        message={
                            "type": "response.create",
                            "other_data": {"response": {"instructions": "Say exactly: 'Good day.'"}},
                        }
                    )
                )
                async for event in session:
                    if event.type == "error":
                        logger.error("error: %s", event.error)
                    elif event.type == "history_updated":
                        for item in event.history[-1:]:
                            if isinstance(item, UserMessageItem | AssistantMessageItem):
                                self.write(item)
        except AgentsException as lost:
            logger.info("call %s has ended: %s", call_id, lost)
        finally:
            self.active.discard(call_id)

    def write(self, item: UserMessageItem | AssistantMessageItem) -> None:
        """Write the words of an item."""
        for part in item.content:
            if isinstance(part, AssistantText):
                logger.info("assistant: %s", part.text)
            elif isinstance(part, AssistantAudio):
                logger.info("assistant: %s", part.transcript)


calls = Calls()


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
    """Hold the nursery of the calls."""
    async with trio.open_nursery() as nursery:
        calls.nursery = nursery
        yield
        nursery.cancel_scope.cancel()


app = FastAPI(lifespan=lifespan)


async def accept_call(call_id: str) -> None:
    """Accept a call with the agent's instructions."""
    instructions = assistant.instructions if isinstance(assistant.instructions, str) else "Help the caller."
    try:
        await client.post(
            f"/realtime/calls/{call_id}/accept",
            body={"type": "realtime", "model": "gpt-realtime-2.1", "instructions": instructions},
            cast_to=dict[str, object],
        )
    except APIStatusError as error:
        if error.status_code != 404:  # the caller has hung up
            raise HTTPException(status_code=500, detail="The call could not be accepted") from error


@app.post("/openai/webhook")
async def openai_webhook(request: Request) -> Response:
    """Take a webhook of the service."""
    try:
        event = client.webhooks.unwrap(await request.body(), request.headers)
    except InvalidWebhookSignatureError as error:
        raise HTTPException(status_code=400, detail="Invalid signature") from error
    if event.type == "realtime.call.incoming":
        await accept_call(event.data.call_id)
        calls.begin(event.data.call_id)
    return Response(status_code=200)
