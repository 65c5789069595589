"""How videos become clips."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ClipSettings:
    """How videos become clips."""
