"""The sans-IO core: every rule of the conversation, no task, no clock, no socket."""
