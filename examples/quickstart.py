"""A voice agent with one tool, and what it says to a greeting.

    python examples/quickstart.py             the session's events, one by one
    python examples/quickstart.py --scoped    the same, and a question that needs the tool, as answers in a scope

With OPENAI_API_KEY it talks to OpenAI's service; without, to an emulator in this process.
"""

import argparse
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from trealtime import RealtimeAgent, RealtimeRunner, TrealtimeError, function_tool, open_emulator
from trealtime.settings import ModelConfigDict


@function_tool
async def order_status(order_id: int) -> str:
    """Look up an order.

    Args:
        order_id: The number printed on the receipt.
    """
    return f"Order {order_id} is on its way."


agent = RealtimeAgent(name="Assistant", instructions="You are brief and friendly.", tools=[order_status])
runner = RealtimeRunner(agent)


async def by_events(connection: ModelConfigDict) -> None:
    session = await runner.run(model_config=connection)
    async with session:
        await session.send_message("Say hello in one short sentence.")
        spoken_ms = 0.0
        async for event in session:
            if event.type == "audio":
                spoken_ms += session.output_format.duration_ms(len(event.audio.data))  # a player would play it
            elif event.type == "history_added":
                print(f"{event.type}: {event.item}")
            elif event.type == "error":
                print(f"{event.type}: {event.error}")
            elif event.type == "agent_end":
                print(f"{event.type}: {event.status}")
                break
        print()
        print(session.history[-1])
        print(f"({spoken_ms / 1000:.1f} s of audio)")


async def by_scopes(connection: ModelConfigDict) -> None:
    async with runner.session(model_config=connection) as session:
        async with session.respond("Say hello in one short sentence.") as response:
            async for piece in response.text:  # or response.audio, or response for all its events
                print(piece, end="", flush=True)
            print()

        turn = await session.ask("Where is order 1234?")
        print(turn.text)
        print(f"({session.output_format.duration_ms(len(turn.audio)) / 1000:.1f} s of audio)")

        print("\nThe history:")
        for item in session.history:
            print(f"  {item}")


@asynccontextmanager
async def service_or_emulator() -> AsyncIterator[ModelConfigDict]:
    """Yield how to connect: the `model_config` of a session."""
    if os.environ.get("OPENAI_API_KEY"):
        yield {}
        return
    print("No OPENAI_API_KEY: talking to an emulator, whose voice is a signal, not speech.", file=sys.stderr)
    async with open_emulator() as emulator:
        yield {"url": emulator.url, "api_key": "any"}


async def main(talk: Callable[[ModelConfigDict], Awaitable[None]]) -> None:
    async with service_or_emulator() as connection:
        await talk(connection)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A voice agent with one tool says hello.")
    parser.add_argument("--scoped", action="store_true", help="answers in a scope, in place of the session's events")
    talk = by_scopes if parser.parse_args().scoped else by_events
    try:
        trio.run(main, talk)
    except TrealtimeError as error:
        sys.exit(f"{type(error).__name__}: {error}")
