"""``python -m trealtime``."""

from __future__ import annotations

import signal
import sys

# Until a command has its own answer to Ctrl-C, it just ends this process: no traceback of an import.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from trealtime.cli import main  # noqa: E402

sys.exit(main())
