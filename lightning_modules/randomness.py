"""The randomness of a training step, drawn from (seed, global step, global sample index).

A sample's noise does not depend on the rank that holds it, on its place in the batch, or on how
often training was interrupted: the same step of the same run always draws the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

_MASK = (1 << 64) - 1


class Purpose(IntEnum):
    """Purpose of a stream of random numbers; different purposes have independent streams."""

    TRAINING = 1
    CROP = 2
    VALIDATION = 3
    SAMPLING = 4


def mix(*numbers: int) -> int:
    """Mix several integers into one 63-bit seed (SplitMix64, Steele et al. 2014)."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def generator_for(seed: int, purpose: Purpose, step: int, index: int) -> torch.Generator:
    """Return the CPU generator of a sample in a step."""
    return torch.Generator().manual_seed(mix(seed, int(purpose), step, index))


@dataclass
class StepDraws:
    """Random numbers of one training step for B samples."""

    noise: Tensor
    """(B, T, 3, h, w), unit normal."""
    timesteps: Tensor
    """(B,) int64 in [0, number of training steps)."""
    drop_music: Tensor
    """(B,) bool: samples trained without music."""
    drop_image: Tensor
    """(B,) bool: samples trained without the reference image."""


def draw_step(
    seed: int,
    purpose: Purpose,
    step: int,
    index: Tensor,
    shape: tuple[int, ...],
    timesteps: int,
    drop_music: float,
    drop_image: float,
    device: torch.device,
) -> StepDraws:
    """Draw noise, time steps and dropped conditions of a batch.

    Args:
        seed: Seed of the run.
        purpose: Purpose of the numbers.
        step: Global step.
        index: (B,) global sample indices.
        shape: Shape of one sample's noise, (T, 3, h, w).
        timesteps: Number of training time steps.
        drop_music: Probability in [0, 1] of dropping the music.
        drop_image: Probability in [0, 1] of dropping the reference image.
        device: Device of the result.
    """
    noise, uniform = [], []
    for i in index.tolist():
        generator = generator_for(seed, purpose, step, i)
        uniform.append(torch.rand(3, generator=generator))
        noise.append(torch.randn(shape, generator=generator))
    u = torch.stack(uniform)
    return StepDraws(
        noise=torch.stack(noise).to(device, non_blocking=True),
        timesteps=(u[:, 0] * timesteps).long().clamp_max(timesteps - 1).to(device),
        drop_music=(u[:, 1] < drop_music).to(device),
        drop_image=(u[:, 2] < drop_image).to(device),
    )


def draw_crop(seed: int, step: int, frames: int, probability: float) -> int:
    """Draw how many leading frames a step leaves out: 0, or with `probability` 1 to T / 2."""
    generator = generator_for(seed, Purpose.CROP, step, 0)
    u = torch.rand(2, generator=generator)
    if u[0] >= probability:
        return 0
    return 1 + int(u[1] * (frames // 2))
