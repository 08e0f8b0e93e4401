"""What every test stands on: no key and no server of the developer's own reaches a test."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

_REFERENCE = Path(__file__).resolve().parents[1].parent / "shared" / "protocol"
"""The protocol reference, where it lies beside a developer's checkout."""

# Deadlines measure the wall clock, which a busy machine stretches; the examples themselves are what is asserted.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def _no_service_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key or URL in the developer's environment must not change what a test does, let alone reach a paid service."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def schema() -> ModuleType:
    """The protocol reference's validator: ``schema.validate("client" | "server", event)`` lists what is wrong.

    Its tests are skipped in a checkout that has no reference beside it.
    """
    if not _REFERENCE.is_dir():
        pytest.skip("the protocol reference is not beside this checkout")
    spec = importlib.util.spec_from_file_location("check_schema", _REFERENCE / "check_schema.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault("check_schema", module)
    spec.loader.exec_module(module)
    return module
