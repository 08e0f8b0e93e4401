"""The version, written down once: packaging and ``trealtime.__version__`` both read it here."""

from __future__ import annotations

__version__ = "0.2.0"
