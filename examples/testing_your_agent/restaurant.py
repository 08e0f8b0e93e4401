"""The agent that the tests and scenarios of this folder are about: it books tables, and hands complaints over."""

from __future__ import annotations

from trealtime import RealtimeAgent, function_tool


@function_tool
async def find_tables(day: str, guests: int) -> list[str]:
    """Find free tables.

    Args:
        day: The day of the visit.
        guests: How many people come.
    """
    raise ConnectionError("the booking system is not connected")  # your own code; tests put something in its place


@function_tool(needs_approval=True)
async def cancel_booking(booking_id: int) -> str:
    """Cancel a booking.

    Args:
        booking_id: The number of the booking.
    """
    raise ConnectionError("the booking system is not connected")


manager = RealtimeAgent(
    name="Manager",
    handoff_description="Complaints about food, service or a bill.",
    instructions="You are Ines, the manager. Listen, and apologise.",
)

host = RealtimeAgent(
    name="Host",
    instructions="You are Otto, the host of a restaurant. Find tables for guests. Be brief.",
    tools=[find_tables, cancel_booking],
    handoffs=[manager],
)
