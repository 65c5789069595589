"""FlowUNet3D: the network that removes noise from a clip of latent flow.

After the video U-Net of LFDM (Ni et al., arXiv 2303.13744; Ho et al., Video Diffusion Models,
arXiv 2204.03458), which DabFusion names as its denoiser. Convolutions see one frame, attention and
convolution over time join the frames. The reference image's features z_0 do not change over time:
a convolution over the concatenation [noisy_t, z_0] equals conv(noisy_t) + conv(z_0), so z_0 is
convolved once a clip (235 to about 170 GFLOP a pass at the published size; same function).

Inside, frames are (B*T, C, H, W) in channels-last memory. In that layout a clip's cells over time
are a view (B, C, T, H*W), so a temporal convolution costs no copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from lightning_modules.networks.attention import SpatialAttention, TemporalAttention, zero_start
from lightning_modules.networks.music import MusicEmbedding
from lightning_modules.normalization import FlowNormalizer

#: Decay lengths, in frames, of the features that tell how far a frame is from the reference.
REFERENCE_DECAYS = (0.5, 1.0, 2.0, 4.0, 8.0)


def sinusoidal_embedding(timestep: Tensor, dim: int) -> Tensor:
    """Time steps (B,) -> (B, dim) sines and cosines (Vaswani et al., 2017)."""
    half = dim // 2
    exponent = torch.arange(half, device=timestep.device, dtype=torch.float32) / half
    angles = timestep.float()[:, None] * 10_000.0**-exponent
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


class ResBlock(nn.Module):
    """Two 3x3 convolutions a frame, scaled and shifted by the frame's embedding; residual."""

    def __init__(self, channels_in: int, channels: int, embedding: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(min(groups, channels_in), channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.to_scale_shift = nn.Linear(embedding, 2 * channels)
        self.norm2 = nn.GroupNorm(min(groups, channels), channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.skip = (
            nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()
        )
        zero_start(self.conv2)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x (B*T, C, H, W), embedding (B*T, E) -> (B*T, C', H, W)."""
        out = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.to_scale_shift(embedding)[:, :, None, None].chunk(2, dim=1)
        out = self.conv2(F.silu(torch.addcmul(shift, self.norm2(out), 1 + scale)))
        return self.skip(x) + out


class TemporalConv(nn.Module):
    """A convolution of three frames at each cell; residual. Edges repeat the outer frame."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(min(groups, channels), channels)
        self.conv = nn.Conv2d(channels, channels, (3, 1))
        zero_start(self.conv)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """x (B*T, C, H, W) -> the same shape."""
        n, c, h, w = x.shape
        out = F.silu(self.norm(x)).permute(0, 2, 3, 1).reshape(n // frames, frames, h * w, c)
        # A zero edge would tell the network where a window begins; windows of long songs begin
        # anywhere.
        out = torch.cat((out[:, :1], out, out[:, -1:]), dim=1)
        out = self.conv(out.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).reshape(n, h, w, c)
        return x + out.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class LevelSizes:
    """What all levels have in common; `FlowUNet3D` says what each is."""

    embedding: int
    groups: int
    heads: int
    head_dim: int


class Level(nn.Module):
    """The blocks of one resolution: residual blocks, then space, then time."""

    gradient_checkpointing = False  # diffusers' enable_gradient_checkpointing() sets both
    _gradient_checkpointing_func: Callable[..., Tensor]

    def __init__(
        self,
        channels_in: int,
        channels: int,
        sizes: LevelSizes,
        blocks: int,
        temporal_conv: bool,
        spatial_attention: str,
        temporal_attention: bool,
    ) -> None:
        super().__init__()
        groups, heads, head_dim = sizes.groups, sizes.heads, sizes.head_dim
        self.blocks = nn.ModuleList(
            ResBlock(channels_in if i == 0 else channels, channels, sizes.embedding, groups)
            for i in range(blocks)
        )
        self.temporal_conv = TemporalConv(channels, groups) if temporal_conv else None
        self.spatial = (
            SpatialAttention(channels, heads, head_dim, linear=spatial_attention == "linear")
            if spatial_attention != "none"
            else None
        )
        self.temporal = TemporalAttention(channels, heads, head_dim) if temporal_attention else None

    def forward(self, x: Tensor, embedding: Tensor, frames: int) -> Tensor:
        """x (B*T, C, H, W), embedding (B*T, E), T -> (B*T, C', H, W)."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return self._gradient_checkpointing_func(self._run, x, embedding, frames)
        return self._run(x, embedding, frames)

    def _run(self, x: Tensor, embedding: Tensor, frames: int) -> Tensor:
        for block in self.blocks:
            x = block(x, embedding)
        if self.temporal_conv is not None:
            x = self.temporal_conv(x, frames)
        if self.spatial is not None:
            x = self.spatial(x)
        if self.temporal is not None:
            x = self.temporal(x, frames)
        return x


def _check_lengths(levels: int, *lists: tuple[bool | str, ...]) -> None:
    if {len(entries) for entries in lists} != {levels}:
        found = ", ".join(str(len(entries)) for entries in lists)
        raise ValueError(
            f"The denoiser has {levels} levels, but temporal_conv, temporal_attention and "
            f"spatial_attention name {found}: give one entry per level."
        )


def _time_mlp(width: int, embedding: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, embedding))


def _halvings(channels: list[int]) -> nn.ModuleList:
    """Convolutions that halve the resolution, one behind each level but the coarsest."""
    return nn.ModuleList(nn.Conv2d(c, c, 4, stride=2, padding=1) for c in channels)


def _doublings(channels: list[int]) -> nn.ModuleList:
    """Their inverses, one behind each level but the finest."""
    return nn.ModuleList(nn.ConvTranspose2d(c, c, 4, stride=2, padding=1) for c in channels)


def _output(width: int, channels: int, groups: int) -> nn.Sequential:
    """From the last features to what is predicted; starts at zero."""
    out = nn.Conv2d(width, channels, 1)
    zero_start(out)
    return nn.Sequential(nn.GroupNorm(groups, width), nn.SiLU(), out)


class FlowUNet3D(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Predict noise, velocity or clean flow from a noisy clip of normalized latent flow.

    Args:
        image_channels: channels C of z_0.
        music_dim: width D of the music embedding.
        width, multipliers: channels of the levels are width * multiplier, finest first.
        embedding: width of the embedding of time step, music and place that every residual block
            reads (LFDM concatenates 256 for the time step and 768 for the condition).
        blocks: residual blocks per level.
        patch: latent flow is pixel-unshuffled by this factor first (z_0 is average-pooled).
        stem_kernel: kernel of the first convolutions (7 in LFDM).
        temporal_conv, temporal_attention, spatial_attention: what joins frames and cells, per
            level; spatial attention is "none", "linear" or "full".
        middle_attention: full attention over space and over time at the coarsest level.
        heads, head_dim, groups: of the attention layers and the group norms.
        flow: "residual" or "absolute", see `FlowNormalizer`; its statistics are saved here.
        prediction: "epsilon", "v_prediction" or "sample", as diffusers' schedulers call them.

    Raises:
        ValueError: lists of unequal length.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        image_channels: int = 256,
        music_dim: int = 256,
        width: int = 64,
        multipliers: tuple[int, ...] = (1, 2, 4, 8),
        embedding: int = 1024,
        blocks: int = 2,
        patch: int = 1,
        stem_kernel: int = 7,
        temporal_conv: tuple[bool, ...] = (False, False, False, False),
        temporal_attention: tuple[bool, ...] = (True, True, True, True),
        spatial_attention: tuple[str, ...] = ("linear", "linear", "linear", "linear"),
        middle_attention: bool = True,
        heads: int = 8,
        head_dim: int = 32,
        groups: int = 8,
        flow: str = "residual",
        prediction: str = "epsilon",
    ) -> None:
        super().__init__()
        levels = len(multipliers)
        _check_lengths(levels, temporal_conv, temporal_attention, spatial_attention)
        self.normalizer = FlowNormalizer(flow)
        self.patch, self.width = patch, width
        self.time_mlp = _time_mlp(width, embedding)
        self.music_in = nn.Linear(music_dim, embedding)
        self.frame_in = nn.Linear(music_dim, embedding)
        self.place_in = nn.Linear(len(REFERENCE_DECAYS), embedding)
        padding = stem_kernel // 2
        self.stem = nn.Conv2d(3 * patch**2, width, stem_kernel, padding=padding)
        self.image_stem = nn.Conv2d(image_channels, width, stem_kernel, padding=padding)
        common = LevelSizes(embedding, groups, heads, head_dim)

        def level(channels_in: int, channels: int, i: int) -> Level:
            joins = temporal_conv[i], spatial_attention[i], temporal_attention[i]
            return Level(channels_in, channels, common, blocks, *joins)

        # The order counts: a seed gives the same weights as long as parts are made in it.
        sizes = [width * m for m in multipliers]
        starts, last = [width, *sizes[:-1]], sizes[-1]
        self.down_levels = nn.ModuleList(level(starts[i], sizes[i], i) for i in range(levels))
        self.downsamples = _halvings(sizes[:-1])
        full = "full" if middle_attention else "none"
        self.middle = Level(last, last, common, 1, False, full, middle_attention)
        self.middle_out = ResBlock(last, last, embedding, groups)
        self.up_levels = nn.ModuleList(
            level(2 * sizes[i], starts[i], i) for i in reversed(range(levels))
        )
        self.upsamples = _doublings(starts[1:][::-1])
        self.head = ResBlock(2 * width, width, embedding, groups)
        self.out = _output(width, 3 * patch**2, groups)

    def forward(
        self,
        noisy: Tensor,
        timestep: Tensor,
        image_features: Tensor,
        music: MusicEmbedding,
        first_frame: Tensor | int = 0,
    ) -> Tensor:
        """Denoise a window of a clip.

        Args:
            noisy: (B, T, 3, h, w), normalized latent flow with noise.
            timestep: (B,) of the scheduler's training steps.
            image_features: z_0, (B, C, h, w).
            music: embedding of the window's music.
            first_frame: distance in frames of the window's first frame from the reference, (B,)
                or one number.

        Returns:
            (B, T, 3, h, w): what `prediction` names.
        """
        b, t = noisy.shape[:2]
        embedding = self._embed(timestep, music, t, first_frame).flatten(0, 1)
        x = noisy.flatten(0, 1)
        if self.patch > 1:
            x = F.pixel_unshuffle(x, self.patch)
            image_features = F.avg_pool2d(image_features, self.patch)
        x = x.contiguous(memory_format=torch.channels_last)
        image_features = image_features.contiguous(memory_format=torch.channels_last)
        image = self.image_stem(image_features)
        x = self.stem(x) + image.repeat_interleave(t, dim=0, output_size=b * t)
        x = self._unet(x, embedding, t)
        if self.patch > 1:
            x = F.pixel_shuffle(x, self.patch)
        return x.unflatten(0, (b, t))

    def _unet(self, x: Tensor, embedding: Tensor, frames: int) -> Tensor:
        first = x
        skips = []
        for i, level in enumerate(self.down_levels):
            x = level(x, embedding, frames)
            skips.append(x)
            if i < len(self.downsamples):
                x = self.downsamples[i](x)
        x = self.middle(x, embedding, frames)
        x = self.middle_out(x, embedding)
        for i, level in enumerate(self.up_levels):
            x = level(torch.cat((x, skips.pop()), dim=1), embedding, frames)
            if i < len(self.upsamples):
                x = self.upsamples[i](x)
        return self.out(self.head(torch.cat((x, first), dim=1), embedding))

    def _embed(
        self, timestep: Tensor, music: MusicEmbedding, frames: int, first_frame: Tensor | int
    ) -> Tensor:
        """Embed time step, music and distance from the reference: (B, T, E)."""
        dtype = self.music_in.weight.dtype
        time = self.time_mlp(sinusoidal_embedding(timestep, self.width).to(dtype))
        clip = (time + self.music_in(music.clip))[:, None]
        place = torch.arange(frames, device=timestep.device) + torch.as_tensor(
            first_frame, device=timestep.device
        ).reshape(-1, 1)
        decays = torch.tensor(REFERENCE_DECAYS, device=timestep.device)
        embedding = clip + self.place_in(torch.exp(-place[..., None] / decays).to(dtype))
        if music.frames is not None:
            embedding = embedding + self.frame_in(music.frames)
        return F.silu(embedding)
