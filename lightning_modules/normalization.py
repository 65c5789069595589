"""Normalize latent flow for diffusion: residual or absolute, with unit standard deviation.

Noise of unit variance would hide a quantity of small variance and hardly change one of large
variance, so every channel is scaled to unit standard deviation. The occlusion map is nearly
constant where nothing is occluded; its standard deviation has a lower bound, so that its own noise
is not amplified.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

#: Smallest standard deviation by which a channel is divided: grid x, grid y, occlusion.
STD_FLOOR = (1e-3, 1e-3, 0.1)
FLOW_KINDS = ("residual", "absolute")


def identity_grid(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return the identity grid (2, h, w), x then y; -1 and 1 are centers of the outer pixels."""
    y = torch.linspace(-1.0, 1.0, height, device=device)
    x = torch.linspace(-1.0, 1.0, width, device=device)
    return torch.stack((x[None, :].expand(height, width), y[:, None].expand(height, width)))


class FlowNormalizer(nn.Module):
    """Affine map between absolute latent flow and diffused values, with statistics as buffers.

    Args:
        kind: "residual" diffuses displacements from the identity grid, "absolute" (LFDM's choice)
            the sampling grid itself.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, kind: str = "residual") -> None:
        super().__init__()
        if kind not in FLOW_KINDS:
            raise ValueError(f"Flow is diffused as one of {FLOW_KINDS}, not {kind!r}.")
        self.kind = kind
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("std", torch.ones(3))

    @torch.no_grad()
    def fit(self, latent_flows: Iterable[Tensor]) -> None:
        """Compute the statistics from training clips, each (..., 3, h, w) absolute, one by one."""
        count = 0
        total = torch.zeros(3, dtype=torch.float64)
        squares = torch.zeros(3, dtype=torch.float64)
        for flow in latent_flows:
            values = self._shift(flow.to(torch.float64), -1).flatten(-2)
            values = values.reshape(-1, *values.shape[-2:]).transpose(0, 1).flatten(1)
            count += values.shape[1]
            total += values.sum(1).cpu()
            squares += values.square().sum(1).cpu()
        if not count:
            raise ValueError("Flow statistics need at least one clip of latent flow.")
        mean = total / count
        std = (squares / count - mean.square()).clamp_min(0).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.maximum(std, torch.tensor(STD_FLOOR, dtype=std.dtype)))

    def normalize(self, latent_flow: Tensor) -> Tensor:
        """Convert absolute latent flow (..., 3, h, w) to normalized values of the same shape."""
        mean, std = self._statistics(latent_flow)
        return (self._shift(latent_flow, -1) - mean) / std

    def restore(self, values: Tensor) -> Tensor:
        """Convert normalized values to absolute latent flow, with occlusion clamped to [0, 1]."""
        mean, std = self._statistics(values)
        flow = self._shift(values * std + mean, 1)
        return torch.cat((flow[..., :2, :, :], flow[..., 2:, :, :].clamp(0, 1)), dim=-3)

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean.to(like.dtype)[:, None, None], self.std.to(like.dtype)[:, None, None]

    def _shift(self, flow: Tensor, sign: int) -> Tensor:
        if self.kind == "absolute":
            return flow
        grid = identity_grid(flow.shape[-2], flow.shape[-1], flow.device).to(flow.dtype)
        zeros = torch.zeros_like(grid[:1])
        return flow + sign * torch.cat((grid, zeros))
