"""The modules that `benchmark diffusion` times, with random weights and random clips."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from experiments.benchmarks.harness import count_gflop
from experiments.config.load import load_settings
from experiments.factories.modules import build_scheduler
from experiments.factories.networks import build_autoencoder, build_conditioner, build_denoiser
from lightning_modules.diffusion_loss import denoising_loss, training_target, velocity_loss
from lightning_modules.networks.denoiser import FlowUNet3D
from lightning_modules.networks.music import MusicEmbedding
from lightning_modules.sampling import Guidance, Windows, sample_latent_flow, solver_scheduler


class ConcatenatedStem(nn.Module):
    """LFDM's first convolution: z_0 is concatenated to the noisy flow of every frame.

    It replaces the denoiser's stem; `z0` is set before each pass.
    """

    def __init__(self, denoiser: FlowUNet3D) -> None:
        super().__init__()
        flow, image = denoiser.stem, denoiser.image_stem
        kernel = int(denoiser.config["stem_kernel"])
        channels = flow.in_channels + image.in_channels
        self.conv = nn.Conv2d(channels, flow.out_channels, kernel, padding=kernel // 2)
        self.conv.weight.data = torch.cat((flow.weight.data, image.weight.data), dim=1)
        assert self.conv.bias is not None
        assert flow.bias is not None
        assert image.bias is not None
        self.conv.bias.data = flow.bias.data + image.bias.data
        self.z0: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        assert self.z0 is not None
        frames = len(x) // len(self.z0)
        everywhere = self.z0.repeat_interleave(frames, dim=0)
        return self.conv(torch.cat((x, everywhere), dim=1))


class ZeroImageStem(nn.Module):
    """Return zeros, because z_0 has gone through `ConcatenatedStem`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, z0: Tensor) -> Tensor:
        return z0.new_zeros(len(z0), self.channels, *z0.shape[2:])


class Stage2Bench:
    """One procedure on one clip.

    Args:
        preset: Name of the preset.
        published: Whether to do it as LFDM's code does; see `diffusion.Procedure`.
        device: `cpu` or `cuda`.
        bf16: Whether to autocast to bfloat16.
        words: Settings on top of the preset, as `key=value`.
        compiled: Whether to compile the denoiser, after its operations are counted.
    """

    def __init__(
        self,
        preset: str,
        published: bool,
        device: str,
        bf16: bool,
        words: Sequence[str] = (),
        compiled: bool = False,
    ) -> None:
        torch.manual_seed(0)
        parts = ["music.clap=false", "music.wav2clip=false", "music.spectral=true"]
        self.settings = load_settings(preset, [*parts, *words])
        self.published, self.device, self.bf16 = published, device, bf16
        self.autoencoder = build_autoencoder(self.settings.stage1).eval().requires_grad_(False)
        self.denoiser = build_denoiser(self.settings, self.autoencoder.channels_latent)
        self.conditioner = build_conditioner(self.settings)
        self.scheduler = build_scheduler(self.settings)
        frames, size = self.settings.clips.frames, self.settings.clips.size
        self.video = torch.rand(1, frames, 3, size, size, device=device)
        self.beats = torch.rand(1, frames, 7, device=device)
        self.spectral = torch.rand(1, frames, 44, device=device)
        networks: list[nn.Module] = [self.autoencoder, self.denoiser, self.conditioner]
        for network in networks:
            network.to(device)
        self.parameters = sum(p.numel() for p in self.denoiser.parameters())
        with torch.no_grad():
            self.z0 = self.autoencoder.encode(self.video[:, 0])
            self.flow = self.autoencoder.flow(self.video[:, 0], self.video)
        self.concatenated = ConcatenatedStem(self.denoiser).to(device) if published else None
        if self.concatenated is not None:
            self.denoiser.add_module("stem", self.concatenated)
            width = self.settings.stage2.network.width
            self.denoiser.add_module("image_stem", ZeroImageStem(width))
            self.concatenated.z0 = self.z0
        trained = [*self.denoiser.parameters(), *self.conditioner.parameters()]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
        self.gflop = count_gflop(self.denoise)
        if compiled:
            self.denoiser.compile()

    def _context(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.bf16)

    def _music(self) -> MusicEmbedding:
        return self.conditioner(self.beats, {"spectral": self.spectral})

    @torch.no_grad()
    def denoise(self) -> Tensor:
        """Run one forward pass of the denoiser."""
        with self._context():
            time = torch.tensor([500], device=self.device)
            return self.denoiser(self.flow, time, self.z0, self._music())

    def forward_backward(self) -> None:
        """Run one forward and backward pass of the denoiser."""
        with self._context():
            time = torch.tensor([500], device=self.device)
            predicted = self.denoiser(self.flow, time, self.z0, self._music())
        predicted.float().square().mean().backward()
        self.optimizer.zero_grad()

    def training_step(self) -> None:
        """Run one training step on one clip, from frames (published) or from cached flow."""
        flow, z0 = self._extract() if self.published else (self.flow, self._encode())
        clean = self.denoiser.normalizer.normalize(flow)
        noise = torch.randn_like(clean)
        time = torch.randint(0, 1000, (1,), device=self.device)
        noisy = self.scheduler.add_noise(clean, noise, time)  # type: ignore[arg-type]
        with self._context():
            predicted = self.denoiser(noisy, time, z0, self._music())
        target = training_target(self.scheduler, clean, noise, time)
        weights = torch.ones(1, device=self.device)
        loss = denoising_loss(predicted, target, weights)
        if self.settings.stage2.loss.velocity:
            loss = loss + self.settings.stage2.loss.velocity * velocity_loss(
                predicted, target, weights
            )
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.published:
            self._decode_one_by_one(flow)
            self._decode_one_by_one(self.denoiser.normalizer.restore(predicted.detach().float()))

    @torch.no_grad()
    def _encode(self) -> Tensor:
        return self.autoencoder.encode(self.video[:, 0])

    @torch.no_grad()
    def _extract(self) -> tuple[Tensor, Tensor]:
        """Extract flow frame by frame; the decoder runs, too, though its output is not used."""
        flows = []
        for k in range(self.video.shape[1]):
            out = self.autoencoder(self.video[:, 0], self.video[:, k : k + 1])
            flows.append(out.latent_flow)
        return torch.cat(flows, dim=1), self._encode()

    @torch.no_grad()
    def _decode_one_by_one(self, flow: Tensor) -> None:
        """Decode frame by frame, for losses that are only logged."""
        for k in range(flow.shape[1]):
            self.autoencoder.decode(self.video[:, 0], flow[:, k : k + 1])

    @torch.no_grad()
    def decode(self) -> None:
        """Decode all frames of the video, at once or (published) one by one."""
        if self.published:
            self._decode_one_by_one(self.flow)
        else:
            self.autoencoder.decode(self.video[:, 0], self.flow)

    def sample(self, steps: int, guidance: float) -> Tensor:
        """Sample the latent flow of one video."""
        solver = "ddim" if self.published else self.settings.sampling.solver
        frames = self.settings.clips.frames
        with self._context():
            return sample_latent_flow(
                self.denoiser,
                self.conditioner,
                solver_scheduler(solver, self.scheduler),
                self.z0,
                self.beats,
                {"spectral": self.spectral},
                steps=steps,
                guidance=Guidance(guidance),
                windows=Windows(frames, 0),
                generators=[torch.Generator().manual_seed(0)],
            )
