"""Words for the instructions of agents that hand over to each other."""

__all__ = ["RECOMMENDED_PROMPT_PREFIX", "prompt_with_handoff_instructions"]

RECOMMENDED_PROMPT_PREFIX = (
    "You are one of several agents that share this conversation. Each has its own instructions and tools. To give the "
    "conversation to another agent, call the function whose name begins with transfer_to_. The user hears one "
    "assistant: change over without a word about it, and never mention agents, functions or transfers."
)
"""Tells a model that it is one of several agents. The words are ours."""


def prompt_with_handoff_instructions(prompt: str) -> str:
    """Return `prompt` with `RECOMMENDED_PROMPT_PREFIX` before it."""
    return f"{RECOMMENDED_PROMPT_PREFIX}\n\n{prompt}"
