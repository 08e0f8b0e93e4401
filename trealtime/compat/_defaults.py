"""The values that the SDK's ``set_default_...`` functions keep for the whole process."""

from __future__ import annotations

api_key: str | None = None
"""The key of `trealtime.compat.set_default_openai_key`."""
