"""Settings of `train music-adapter`: adapters over the music features that `music` switches on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class AdapterSettings:
    """MLP adapters over frozen embeddings, taught genres by naming and by contrast."""

    steps: int = 1000
    """Optimiser steps."""
    batch_size: int = 64
    """Clips of a step, over all processes."""
    learning_rate: float = 1e-3
    """Learning rate; it falls to zero by a cosine."""
    weight_decay: float = 0.05
    """Of AdamW."""
    width: int = 256
    """Inner width of an adapter; its output is as wide as its input."""
    projection: int = 64
    """Width of the directions that the contrastive loss compares."""
    contrastive: float = 0.5
    """Weight of the contrastive loss beside the cross-entropy of the genre; 0 leaves it out."""
    temperature: float = 0.1
    """Of the contrastive loss: lower looks at the nearest clips only."""

    def __post_init__(self) -> None:
        for name in ("steps", "learning_rate", "width", "projection", "temperature"):
            value = getattr(self, name)
            if value <= 0:
                raise ValueError(f"adapter.{name} is {value}: give a number above 0.")
        for name in ("weight_decay", "contrastive"):
            value = getattr(self, name)
            if value < 0:
                raise ValueError(f"adapter.{name} is {value}: give a number of at least 0.")
        if self.batch_size < 2:
            raise ValueError(f"adapter.batch_size is {self.batch_size}: give at least 2.")
