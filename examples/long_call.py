"""A call of three hours that outlives its connections: two end at the service's limit of an hour, four are lost.

    python examples/long_call.py

It needs no key and takes a second: the emulator runs in this process, and the time is Trio's mock clock, which jumps
to whatever happens next. What happens to the connections is told as it goes; the two who talk notice nothing of it.
"""

import random
import sys

import numpy as np
import trio
import trio.testing

from trealtime import RealtimeAgent, RealtimeRunner, RealtimeSession, function_tool, open_emulator
from trealtime.emulator import Emulator, Faults, ToneVoice
from trealtime.settings import RunConfigDict

MINUTE = 60.0
RATE = 24_000


@function_tool
async def check_stock(article: str) -> str:
    """Look up how many of an article are in stock; it takes a while.

    Args:
        article: Its name.
    """
    await trio.sleep(20)
    return f"there are 12 {article} in stock"


agent = RealtimeAgent(name="Otto", instructions="You are Otto.", tools=[check_stock])


def tell(what: str) -> None:
    """Print a line with the time since the call began."""
    seconds = int(trio.current_time())
    print(f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}  {what}")


async def watch(session: RealtimeSession) -> None:
    """Tell what becomes of the connections."""
    kinds = ("connection_lost", "reconnecting", "reconnected", "expires_soon", "rolled_over")
    async with session.subscribe(*kinds) as events:
        async for event in events:
            match event.type:
                case "connection_lost":
                    tell(f"    connection lost: {event.code} {event.reason}".rstrip())
                case "reconnecting" if event.attempt > 1:
                    tell(f"    attempt {event.attempt}, in {event.delay_s:.1f} s")
                case "reconnected":
                    answer = "" if event.response is None else f", the answer is {event.response}"
                    audio = f", {event.audio_ms / 1000:.1f} s of her audio sent again" if event.audio_ms else ""
                    tell(f"    back after {event.outage_ms / 1000:.1f} s: {event.items} items told{audio}{answer}")
                case "expires_soon":
                    tell(f"    this connection ends in {event.in_s:.0f} s: another one is opened beside it")
                case "rolled_over":
                    tell(f"    the other connection has taken over, {event.gap_ms:.0f} ms without one")


async def ask(session: RealtimeSession, question: str) -> None:
    """Ask in writing, and tell the whole answer."""
    tell(f"Martha: {question}")
    turn = await session.ask(question)
    tell(f"Otto:   {turn.text}")


async def speak(session: RealtimeSession, words: str) -> None:
    """Say `words` in real time, and tell what Otto has heard: he knows how long she spoke, and no words.

    The turn that he hears has some silence before and after her words.
    """
    chunks = [chunk.samples async for chunk in ToneVoice().speak(words, voice="marin", speed=1.0)]
    sound = np.concatenate([*chunks, np.zeros(RATE, np.int16)])
    tell(f"Martha speaks for {len(sound) / RATE - 1:.1f} s: {words}")

    async def microphone() -> None:
        for begin in range(0, len(sound), RATE // 10):
            await session.send_audio(sound[begin : begin + RATE // 10])
            await trio.sleep(0.1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(microphone)
        turn = await session.listen()
    tell(f"Otto:   {turn.text}")


async def later(minutes: float, seconds: float = 0.0) -> None:
    """Wait until so long after the beginning of the call."""
    await trio.sleep_until(minutes * MINUTE + seconds)


async def lose_connections(emulator: Emulator) -> None:
    """Four losses, each at a bad moment."""
    await later(10, 2)
    tell("    [the network is gone for three seconds, in the middle of her sentence]")
    with emulator.outage():
        await trio.sleep(3)
    await later(75, 2)
    tell("    [the server fails in the middle of the answer]")
    emulator.sessions[-1].close(1011, "internal error")
    await later(140, 5)
    tell("    [the network is gone for ten seconds while a tool runs]")
    with emulator.outage():
        await trio.sleep(10)
    await later(165)
    tell("    [the server restarts while nobody speaks]")
    emulator.sessions[-1].close(1012, "service restart")


async def main() -> None:
    faults = Faults(refused_dials=[7], retry_after_s=2)  # after the restart it is busy for a moment
    async with (
        open_emulator(listen=False, seed=3, unix_time_s=1_800_000_000, realtime_factor=1, faults=faults) as emulator,
        trio.open_nursery() as nursery,
    ):
        config: RunConfigDict = {
            "model_settings": {"turn_detection": {"type": "server_vad"}},
            "reconnect": {"max_delay_s": 3},
        }
        runner = RealtimeRunner(agent, model=emulator.memory_model(), config=config, rng=random.Random(3))
        async with runner.session() as session:
            nursery.start_soon(watch, session)
            nursery.start_soon(lose_connections, emulator)
            await ask(session, "My name is Martha.")
            await later(10)
            await speak(session, "I would like to know how many bicycles you have, and what the blue one costs.")
            await later(75)
            await ask(session, "Count to twenty.")
            await later(140)
            await ask(session, 'How many are in stock? check_stock "bicycles"')
            await later(170)
            await ask(session, "What is my name?")
            await later(180)
            connections = session.statistics().connections
            nursery.cancel_scope.cancel()
    print(
        f"{connections.losses} losses, {connections.rollovers} rollovers, {connections.outage_s:.1f} s without a "
        f"connection in three hours; {len(session.history)} items in the history."
    )


if __name__ == "__main__":
    try:
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    except* KeyboardInterrupt:
        sys.exit(130)
