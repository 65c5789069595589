"""FlowUNet3D: the network that removes noise from a clip of latent flow.

It follows the video U-Net of LFDM (Ni et al., arXiv 2303.13744; Ho et al., Video Diffusion Models,
arXiv 2204.03458), the denoiser of DabFusion. Spatial convolutions see one frame; attention and
convolution over time connect the frames. The reference image's features z_0 are the same for all
frames, and a convolution over the concatenation [noisy_t, z_0] equals conv(noisy_t) + conv(z_0), so
z_0 is convolved once per clip (about 170 instead of 235 GFLOP per pass at the published size).

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
from lightning_modules.options.diffusion import (
    MULTIPLIERS,
    SPATIAL_ATTENTION_LEVELS,
    TEMPORAL_ATTENTION,
    TEMPORAL_CONV,
    DenoiserOptions,
)
from lightning_modules.options.music import MusicOptions

#: Decay lengths in frames of the features that encode the distance from the reference frame.
REFERENCE_DECAYS = (0.5, 1.0, 2.0, 4.0, 8.0)


def sinusoidal_embedding(timestep: Tensor, dim: int) -> Tensor:
    """Embed time steps (B,) as sines and cosines (B, dim) (Vaswani et al., 2017, section 3.5)."""
    half = dim // 2
    exponent = torch.arange(half, device=timestep.device, dtype=torch.float32) / half
    angles = timestep.float()[:, None] * 10_000.0**-exponent
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


class ResBlock(nn.Module):
    """Residual block of two 3x3 convolutions per frame, modulated by the frame's embedding."""

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
        # One scale and one shift per frame and channel: norm(x) (1 + scale) + shift.
        scale, shift = self.to_scale_shift(embedding)[:, :, None, None].chunk(2, dim=1)
        out = self.conv2(F.silu(torch.addcmul(shift, self.norm2(out), 1 + scale)))
        return self.skip(x) + out


class TemporalConv(nn.Module):
    """Residual convolution over three frames at each cell, with replicated outer frames."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(min(groups, channels), channels)
        self.conv = nn.Conv2d(channels, channels, (3, 1))
        zero_start(self.conv)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """x (B*T, C, H, W) -> the same shape."""
        n, c, h, w = x.shape
        # (B, T, cells, C): a view in channels-last memory.
        out = F.silu(self.norm(x)).permute(0, 2, 3, 1).reshape(n // frames, frames, h * w, c)
        # Zero padding would reveal where a window begins, but windows of long songs begin anywhere.
        # (B, T + 2, cells, C), so that the kernel (3, 1) without padding gives T frames again.
        out = torch.cat((out[:, :1], out, out[:, -1:]), dim=1)
        out = self.conv(out.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).reshape(n, h, w, c)
        return x + out.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class LevelSizes:
    """Sizes that all levels share; see `FlowUNet3D`."""

    embedding: int
    groups: int
    heads: int
    head_dim: int


class Level(nn.Module):
    """The blocks of one resolution: residual blocks, then attention over space, then over time."""

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
        # The order of Video Diffusion Models: per-frame convolutions before what joins the frames.
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
            f"spatial_attention have {found} entries: give one entry per level."
        )


def _time_mlp(width: int, embedding: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, embedding))


def _halvings(channels: list[int]) -> nn.ModuleList:
    """Convolutions that halve the resolution, one after each level but the coarsest."""
    return nn.ModuleList(nn.Conv2d(c, c, 4, stride=2, padding=1) for c in channels)


def _doublings(channels: list[int]) -> nn.ModuleList:
    """Transposed convolutions that double it, one after each level but the finest."""
    return nn.ModuleList(nn.ConvTranspose2d(c, c, 4, stride=2, padding=1) for c in channels)


def _output(width: int, channels: int, groups: int) -> nn.Sequential:
    """Map the last features to the prediction, which is zero at the start of training."""
    out = nn.Conv2d(width, channels, 1)
    zero_start(out)
    return nn.Sequential(nn.GroupNorm(groups, width), nn.SiLU(), out)


class FlowUNet3D(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Predict noise, velocity or clean flow from a noisy clip of normalized latent flow.

    Args:
        image_channels: Channels C of z_0.
        music_dim: Width D of the music embedding.
        width: Channels of the finest level.
        multipliers: Channels of each level divided by `width`, finest level first.
        embedding: Width E of the embedding of time step, music and position that every residual
            block reads (LFDM concatenates 256 for the time step and 768 for the condition).
        blocks: Residual blocks per level.
        patch: Latent flow is pixel-unshuffled by this factor first (z_0 is average-pooled).
        stem_kernel: Kernel of the first convolutions (7 in LFDM).
        temporal_conv: Convolution over time, for each level.
        temporal_attention: Attention over time, for each level.
        spatial_attention: Attention over space, for each level: "none", "linear" or "full".
        middle_attention: Full attention over space and over time at the coarsest level.
        heads: Heads of the attention layers.
        head_dim: Channels per head.
        groups: Groups of the group norms.
        flow: "residual" or "absolute", see `FlowNormalizer`; its statistics are saved here.
        prediction: "epsilon", "v_prediction" or "sample", as in diffusers' schedulers.

    Raises:
        ValueError: The lists differ in length.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        image_channels: int = 256,
        music_dim: int = MusicOptions.dim,
        width: int = DenoiserOptions.width,
        multipliers: tuple[int, ...] = MULTIPLIERS,
        embedding: int = DenoiserOptions.embedding,
        blocks: int = DenoiserOptions.blocks,
        patch: int = DenoiserOptions.patch,
        stem_kernel: int = DenoiserOptions.stem_kernel,
        temporal_conv: tuple[bool, ...] = TEMPORAL_CONV,
        temporal_attention: tuple[bool, ...] = TEMPORAL_ATTENTION,
        spatial_attention: tuple[str, ...] = SPATIAL_ATTENTION_LEVELS,
        middle_attention: bool = DenoiserOptions.middle_attention,
        heads: int = DenoiserOptions.heads,
        head_dim: int = DenoiserOptions.head_dim,
        groups: int = DenoiserOptions.groups,
        flow: str = DenoiserOptions.flow,
        prediction: str = DenoiserOptions.prediction,
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
        # LFDM has one stem for [noisy_t, z_0]; here it is split into its two terms.
        common = LevelSizes(embedding, groups, heads, head_dim)

        def level(channels_in: int, channels: int, i: int) -> Level:
            joins = temporal_conv[i], spatial_attention[i], temporal_attention[i]
            return Level(channels_in, channels, common, blocks, *joins)

        # The order matters: a seed gives the same weights as long as parts are built in it.
        sizes = [width * m for m in multipliers]
        starts, last = [width, *sizes[:-1]], sizes[-1]  # input channels of the levels
        self.down_levels = nn.ModuleList(level(starts[i], sizes[i], i) for i in range(levels))
        self.downsamples = _halvings(sizes[:-1])
        full = "full" if middle_attention else "none"
        self.middle = Level(last, last, common, 1, False, full, middle_attention)
        self.middle_out = ResBlock(last, last, embedding, groups)
        # Each level on the way up reads its input and the output of its level on the way down.
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
            timestep: (B,), in [0, number of training time steps).
            image_features: z_0 of the reference image, (B, C, h, w).
            music: Music embedding of the window.
            first_frame: Frames between the reference and the window's first frame, (B,) or one
                number.

        Returns:
            (B, T, 3, h, w): the noise, the velocity or the clean flow, as `prediction` says.
        """
        b, t = noisy.shape[:2]
        embedding = self._embed(timestep, music, t, first_frame).flatten(0, 1)  # (B T, E)
        x = noisy.flatten(0, 1)
        if self.patch > 1:
            # (B T, 3 patch^2, h / patch, w / patch)
            x = F.pixel_unshuffle(x, self.patch)
            image_features = F.avg_pool2d(image_features, self.patch)
        x = x.contiguous(memory_format=torch.channels_last)
        image_features = image_features.contiguous(memory_format=torch.channels_last)
        # conv([noisy_t, z_0]) = conv_1(noisy_t) + conv_2(z_0), and z_0 is the same for all T.
        image = self.image_stem(image_features)  # (B, width, h, w)
        x = self.stem(x) + image.repeat_interleave(t, dim=0, output_size=b * t)
        x = self._unet(x, embedding, t)
        if self.patch > 1:
            x = F.pixel_shuffle(x, self.patch)
        return x.unflatten(0, (b, t))

    def _unet(self, x: Tensor, embedding: Tensor, frames: int) -> Tensor:
        first = x  # (B T, width, h, w), read again by the head
        skips = []
        for i, level in enumerate(self.down_levels):
            x = level(x, embedding, frames)
            skips.append(x)
            if i < len(self.downsamples):
                x = self.downsamples[i](x)  # half the resolution
        # Coarsest resolution: attention over all cells, and over all frames.
        x = self.middle(x, embedding, frames)
        x = self.middle_out(x, embedding)
        # Skip connections are read in reverse order, coarsest level first.
        for i, level in enumerate(self.up_levels):
            x = level(torch.cat((x, skips.pop()), dim=1), embedding, frames)
            if i < len(self.upsamples):
                x = self.upsamples[i](x)
        return self.out(self.head(torch.cat((x, first), dim=1), embedding))

    def _embed(
        self, timestep: Tensor, music: MusicEmbedding, frames: int, first_frame: Tensor | int
    ) -> Tensor:
        """Embed time step, music and distance from the reference: (B, T, E)."""
        # Sines and exponentials are computed in float32, then cast to the type of the weights.
        dtype = self.music_in.weight.dtype
        time = self.time_mlp(sinusoidal_embedding(timestep, self.width).to(dtype))
        clip = (time + self.music_in(music.clip))[:, None]  # (B, 1, E), the same for all frames
        # (B, T, 5): exp(-distance / decay), precise near the reference, flat far from it, so that
        # songs of any length stay within the range seen in training.
        place = torch.arange(frames, device=timestep.device) + torch.as_tensor(
            first_frame, device=timestep.device
        ).reshape(-1, 1)
        decays = torch.tensor(REFERENCE_DECAYS, device=timestep.device)
        embedding = clip + self.place_in(torch.exp(-place[..., None] / decays).to(dtype))
        if music.frames is not None:
            embedding = embedding + self.frame_in(music.frames)
        return F.silu(embedding)
