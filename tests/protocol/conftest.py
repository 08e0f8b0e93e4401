import importlib.util
import sys
from pathlib import Path

import pytest

PROTOCOL = Path(__file__).resolve().parents[2].parent / "shared" / "protocol"


@pytest.fixture(scope="session")
def schema():
    """The protocol reference's validator; its tests are skipped in a checkout that has none beside it."""
    if not PROTOCOL.is_dir():
        pytest.skip("the protocol reference is not beside this checkout")
    spec = importlib.util.spec_from_file_location("check_schema", PROTOCOL / "check_schema.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault("check_schema", module)
    spec.loader.exec_module(module)
    return module
