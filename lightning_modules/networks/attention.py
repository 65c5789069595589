"""Attention over time and over space for frames stored consecutively.

Layout: (B*T, C, H, W) in channels-last memory, so that the pixels of a frame, and one pixel over
all frames, are views and not copies. Temporal positions are rotary (Su et al., RoFormer, arXiv
2104.09864): only distances matter, so a network runs on lengths that it was not trained on.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def rotary_angles(frames: int, head_dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cosines and sines (T, head_dim / 2) of the angles by which frame t is rotated."""
    half = head_dim // 2
    # RoFormer, section 3.2.2: frame t is rotated by t theta_i, with
    # theta_i = 10000^(-2 (i - 1) / head_dim).
    frequencies = 10_000.0 ** (-torch.arange(half, device=device, dtype=torch.float32) / half)
    angles = torch.arange(frames, device=device, dtype=torch.float32)[:, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(vectors: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotate queries or keys (..., head_dim) by angles that broadcast to (..., head_dim / 2)."""
    # Channel i is paired with channel i + head_dim / 2 (RoFormer pairs 2 i with 2 i + 1).
    first, second = vectors.chunk(2, dim=-1)
    cosines, sines = cosines.to(vectors.dtype), sines.to(vectors.dtype)
    return torch.cat((first * cosines - second * sines, first * sines + second * cosines), dim=-1)


def zero_start(layer: nn.Module) -> None:
    """Set all parameters of a layer to zero, so that its residual branch starts as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class TemporalAttention(nn.Module):
    """Residual attention of each latent cell over its own frames.

    Args:
        channels: C of the input.
        heads: Number of heads.
        head_dim: Channels per head, an even number.
    """

    def __init__(self, channels: int, heads: int, head_dim: int) -> None:
        super().__init__()
        if head_dim % 2:
            raise ValueError(f"Rotary positions need an even head_dim, not {head_dim}.")
        self.heads, self.head_dim = heads, head_dim
        self.norm = nn.LayerNorm(channels)
        self.to_qkv = nn.Linear(channels, 3 * heads * head_dim, bias=False)
        self.to_out = nn.Linear(heads * head_dim, channels)
        zero_start(self.to_out)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """x (B*T, C, H, W) -> the same shape; `frames` is T."""
        n, c, h, w = x.shape
        # (B, T, cells, C): a view in channels-last memory.
        tokens = x.permute(0, 2, 3, 1).reshape(n // frames, frames, h * w, c)
        # (B, T, cells, 3, heads, head_dim).
        qkv = self.to_qkv(self.norm(tokens))
        qkv = qkv.view(n // frames, frames, h * w, 3, self.heads, self.head_dim)
        # Rotate before the frames become an inner axis: neighbors in memory share their angle here.
        qk, v = qkv.split((2, 1), dim=3)
        angles = rotary_angles(frames, self.head_dim, x.device)
        qk = rotate(qk, *(angle[:, None, None, None] for angle in angles))
        # q, k and v: (B cells, heads, T, head_dim). Each cell is a sequence of its own.
        q, k = qk.permute(3, 0, 2, 4, 1, 5).flatten(1, 2).unbind(0)
        v = v.squeeze(3).permute(0, 2, 3, 1, 4).flatten(0, 1)
        # softmax(q k^T / sqrt(head_dim)) v over the T frames.
        out = F.scaled_dot_product_attention(q, k, v)
        # Back to (B, T, cells, heads head_dim), then to the layout of x.
        out = out.view(n // frames, h * w, self.heads, frames, self.head_dim)
        out = self.to_out(out.permute(0, 3, 1, 2, 4).flatten(3))
        return x + out.view(n, h, w, c).permute(0, 3, 1, 2)


class SpatialAttention(nn.Module):
    """Residual attention among the cells of one frame.

    Args:
        channels: C of the input.
        heads: Number of heads.
        head_dim: Channels per head.
        linear: Use linear attention (Shen et al., arXiv 1812.01243), whose cost is proportional to
            the number of cells instead of its square.
    """

    def __init__(self, channels: int, heads: int, head_dim: int, linear: bool) -> None:
        super().__init__()
        self.heads, self.head_dim, self.linear = heads, head_dim, linear
        self.norm = nn.LayerNorm(channels)
        self.to_qkv = nn.Linear(channels, 3 * heads * head_dim, bias=False)
        self.to_out = nn.Linear(heads * head_dim, channels)
        zero_start(self.to_out)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> the same shape."""
        n, c, h, w = x.shape
        tokens = x.permute(0, 2, 3, 1).reshape(n, h * w, c)
        # q, k and v: (N, heads, cells, head_dim).
        qkv = self.to_qkv(self.norm(tokens)).view(n, h * w, 3, self.heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if self.linear:
            # Shen et al.: softmax(q) (softmax(k)^T v). The context, (N, heads, head_dim,
            # head_dim), does not depend on the number of cells.
            context = k.softmax(dim=-2).transpose(-1, -2) @ v
            out = (q.softmax(dim=-1) * self.head_dim**-0.5) @ context
        else:
            out = F.scaled_dot_product_attention(q, k, v)
        out = self.to_out(out.transpose(1, 2).flatten(2))
        return x + out.view(n, h, w, c).permute(0, 3, 1, 2)


class LocalMusicAttention(nn.Module):
    """Residual attention of frames to the music tokens near them in time.

    Positions are a learned bias per head and distance, so that the frame at time t depends on the
    music within `reach` frames of t only, wherever t is in the song.

    Args:
        dim: D of frames and tokens.
        heads: Number of heads.
        reach: Largest distance in frames.
    """

    def __init__(self, dim: int, heads: int, reach: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{dim} channels cannot be split over {heads} heads.")
        self.heads, self.reach = heads, reach
        self.norm = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_kv = nn.Linear(dim, 2 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim)
        self.bias = nn.Parameter(torch.zeros(heads, 2 * reach + 1))

    def forward(self, frames: Tensor, tokens: Tensor) -> Tensor:
        """frames (B, T, D) and one music token per frame (B, T, D) -> (B, T, D)."""
        b, t, d = frames.shape
        q = self.to_q(self.norm(frames)).view(b, t, self.heads, -1).transpose(1, 2)
        k, v = self.to_kv(tokens).view(b, t, 2, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        # (T, T): distance of token j from frame i, in frames.
        place = torch.arange(t, device=frames.device)
        distance = place[None, :] - place[:, None]
        # (heads, T, T): the bias of each distance; minus infinity excludes tokens out of reach.
        bias = self.bias[:, distance.clamp(-self.reach, self.reach) + self.reach]
        bias = bias.masked_fill(distance.abs() > self.reach, float("-inf"))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None].to(q.dtype))
        return frames + self.to_out(out.transpose(1, 2).reshape(b, t, d))
