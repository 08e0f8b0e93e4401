"""Compare the names that `trealtime.compat` has with those of the installed openai-agents: what it adds, what is gone.

``python tests/compat/compare_sdk.py``. Fails where the installed version is the one that the tests are pinned to and
differs all the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def leaves(value: Any, path: str = "") -> set[str]:
    """Return every name in `value`, with the names on the way to it."""
    if isinstance(value, dict):
        return {leaf for key, each in value.items() for leaf in leaves(each, f"{path}/{key}")}
    if isinstance(value, list):
        return {f"{path}: {each}" for each in value}
    return set() if path == "/version" else {f"{path}: {value}"}


def main() -> int:
    """Write the differences, and return 1 where there must be none."""
    read = subprocess.run([sys.executable, str(HERE / "read_sdk.py")], check=True, capture_output=True, text=True)
    newest = json.loads(read.stdout)
    pinned = json.loads((HERE / "sdk_shapes.json").read_text(encoding="utf-8"))
    here, there = leaves(pinned), leaves(newest)
    lines = [f"openai-agents {newest['version']}, pinned to {pinned['version']}"]
    lines += [f"+ {name}" for name in sorted(there - here)] + [f"- {name}" for name in sorted(here - there)]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(here != there and newest["version"] == pinned["version"])


if __name__ == "__main__":
    sys.exit(main())
