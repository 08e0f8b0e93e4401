"""The agents of ``trealtime demo``: the desk of a bicycle shop and its workshop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import trio

from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.handoffs import realtime_handoff
from trealtime.tools.function_tool import function_tool

__all__ = ["GREETING", "demo_agent"]

GREETING = 'Say "Hello, this is Otto from the bicycle shop. What can I do for you?"'


@function_tool
async def order_status(order_id: int) -> str:
    """Look up where an order is.

    Args:
        order_id: The number printed on the receipt.
    """
    await trio.sleep(1)  # the shop's computer is old
    return f"Order {order_id} left the workshop this morning and arrives tomorrow."


@function_tool(needs_approval=True)
async def refund(order_id: int) -> str:
    """Refund an order: give the money back.

    Args:
        order_id: The number printed on the receipt.
    """
    return f"The money for order {order_id} is on its way."


@function_tool
async def search_shelves(part: str) -> AsyncIterator[str]:
    """Search the shelves for a spare part, which takes a while.

    Args:
        part: The part, such as "wheel".
    """
    for shelf in range(1, 5):
        yield f"shelf {shelf} of 4"
        await trio.sleep(2)
    yield f"I found the {part} on the third shelf, for 40 euros."


def demo_agent() -> RealtimeAgent[Any]:
    """Return Otto, who looks up orders, refunds them if you approve, and hands over to Rosa, whose search is slow."""
    workshop: RealtimeAgent[Any] = RealtimeAgent(
        name="Rosa",
        instructions="You are Rosa, in the workshop of a bicycle shop. You are brief. Use your tools.",
        handoff_description="Knows bicycles and their parts.",
        tools=[search_shelves],
    )
    return RealtimeAgent(
        name="Otto",
        instructions="You are Otto, at the service desk of a bicycle shop. You are brief and friendly. Use your tools.",
        tools=[order_status, refund],
        handoffs=[
            realtime_handoff(
                workshop,
                tool_name_override="transfer_to_workshop",
                tool_description_override="Transfer the user to the workshop.",
            )
        ],
    )
