"""``python -m trealtime``."""

from __future__ import annotations

import sys

from trealtime.cli import main

sys.exit(main())
