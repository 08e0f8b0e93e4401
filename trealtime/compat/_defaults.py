"""What ``set_default_...`` functions of the SDK keep for the whole process."""

from __future__ import annotations

api_key: str | None = None
"""The key of `trealtime.compat.set_default_openai_key`."""
