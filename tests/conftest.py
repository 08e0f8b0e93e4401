"""What every test stands on: no key and no server of the developer's own reaches a test."""

from __future__ import annotations

import pytest
from hypothesis import settings

# Deadlines measure the wall clock, which a busy machine stretches; the examples themselves are what is asserted.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def _no_service_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key or URL in the developer's environment must not change what a test does, let alone reach a paid service."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
