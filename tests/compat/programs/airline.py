"""Three agents that hand over to each other, declared as in the SDK."""

from __future__ import annotations

import trio

from trealtime.compat import RunContextWrapper
from trealtime.compat.decorators import tool
from trealtime.compat.extensions.handoff_prompt import RECOMMENDED_PROMPT_PREFIX
from trealtime.compat.realtime import RealtimeAgent, realtime_handoff


@tool(name_override="faq_lookup_tool", description_override="Look up a frequent question.")
async def faq_lookup_tool(question: str) -> str:
    """Look up a frequent question."""
    await trio.sleep(1)
    return "Two bags." if "bag" in question.lower() else "Nobody has asked that before."


@tool(needs_approval=True)
async def update_seat(context: RunContextWrapper[object], confirmation_number: str, new_seat: str) -> str:
    """Give a passenger another seat.

    Args:
        confirmation_number: The number of the booking.
        new_seat: The seat that the passenger wants.
    """
    return f"{confirmation_number} now sits in {new_seat}"


faq_agent = RealtimeAgent(
    name="FAQ Agent",
    handoff_description="Answers questions about flying.",
    instructions=f"{RECOMMENDED_PROMPT_PREFIX} Answer with the lookup tool only.",
    tools=[faq_lookup_tool],
)

seat_agent = RealtimeAgent(
    name="Seat Agent",
    handoff_description="Changes seats.",
    instructions=f"{RECOMMENDED_PROMPT_PREFIX} Ask for the number of the booking, then change the seat.",
    tools=[update_seat],
)

triage_agent = RealtimeAgent(
    name="Triage Agent",
    handoff_description="Finds the right agent.",
    instructions=f"{RECOMMENDED_PROMPT_PREFIX} Find out what the passenger wants.",
    handoffs=[
        realtime_handoff(faq_agent, tool_name_override="transfer_to_faq_agent"),
        realtime_handoff(seat_agent, tool_name_override="transfer_to_seat_agent"),
    ],
)

faq_agent.handoffs.append(realtime_handoff(triage_agent, tool_name_override="transfer_to_triage_agent"))
seat_agent.handoffs.append(realtime_handoff(triage_agent, tool_name_override="transfer_to_triage_agent"))


def get_starting_agent() -> RealtimeAgent:
    """Return the agent that a conversation begins with."""
    return triage_agent
