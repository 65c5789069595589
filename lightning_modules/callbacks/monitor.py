"""Signs of failure in generated videos, with limits measured on the training clips.

There are three kinds of failure (see arXiv 2405.09266), each measured by one number per clip:

- temporal inconsistency: warp error of the frames (Lai et al. 2018), a share of squared brightness;
- misalignment: corrected 2D-MM Align; low values are bad;
- implausible motion: jerk of the motion signal, px/s^3; high is shaky, low is frozen.

The limits are quantiles over training clips, decoded by stage 1 from their true latent flow, so
that errors of stage 1 and properties of the real dances are not counted as failures.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from datamodules.batch import ClipBatch, to_uint8, to_unit
from lightning_modules.diffusion import FlowDiffusionModule
from metrics.functional.motion import motion_from_latent_flow
from metrics.functional.warping import signal_jerk, warp_errors_of_video
from metrics.motion_music_alignment import clip_scores

#: Each sign, and which ends of its distribution are bad: (low, high).
SIGNS = {
    "temporal_inconsistency": (False, True),
    "misalignment": (True, False),
    "implausible_motion": (True, True),
}


@dataclass(frozen=True)
class Limits:
    """Range of normal values of a sign: from `low` to `high`, both included."""

    low: float
    high: float

    def outside(self, values: Tensor) -> Tensor:
        """Return (B,) bool: whether values are outside the limits or NaN."""
        return ~((values >= self.low) & (values <= self.high))


def measure_signs(frames: Tensor, latent_flow: Tensor, beats: Tensor, fps: float) -> dict[str, Any]:
    """The signs of B clips.

    Args:
        frames: (B, T, 3, H, W) uint8.
        latent_flow: (B, T, 3, h, w) absolute, what the frames were decoded from.
        beats: (B, N) music beats in seconds from the first frame, NaN-padded.
        fps: Frames per second.

    Returns:
        (B,) for each of `SIGNS`.
    """
    signal = motion_from_latent_flow(latent_flow, fps, max(frames.shape[-2:]))
    return {
        "temporal_inconsistency": warp_errors_of_video(frames),
        "misalignment": clip_scores(signal, fps, beats)["corrected"],
        "implausible_motion": signal_jerk(signal.speed, fps),
    }


def limits_of(values: Tensor, inside: float, ends: tuple[bool, bool]) -> Limits:
    """Limits with a share `inside` of `values` (N,) between them; open at ends that are not bad."""
    tail = (1.0 - inside) / sum(ends)
    low = float(values.quantile(tail)) if ends[0] else -torch.inf
    high = float(values.quantile(1.0 - tail)) if ends[1] else torch.inf
    return Limits(low, high)


class FailureMonitor(Callback):
    """Measure the videos that validation generates, log their signs and flag failures.

    It logs, for each sign, `monitor/SIGN` (mean over clips), `monitor/SIGN_outside` (share of clips
    beyond its limits), `monitor/SIGN_flag` (1 where that share exceeds `tolerated`) and the limits.
    A sign that is newly flagged is also a warning in the log and, at loggers that have them, an
    alert.

    Args:
        inside: For each sign that is watched, the share of training clips within its limits.
        tolerated: Share of generated clips outside the limits that is not flagged yet.
        load: Reads the training clips that set the limits, in batches with reference frames.
    """

    def __init__(
        self,
        inside: Mapping[str, float],
        tolerated: float,
        load: Callable[[], Iterable[ClipBatch]],
    ) -> None:
        super().__init__()
        self.inside = dict(inside)
        self.tolerated = tolerated
        self.load = load
        self.limits: dict[str, Limits] = {}
        self.flagged: set[str] = set()
        self._found: dict[str, list[Tensor]] = {}

    @torch.no_grad()
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the limits on the training clips, once."""
        assert isinstance(pl_module, FlowDiffusionModule)
        self._found = {name: [] for name in self.inside}
        if self.limits:
            return
        parts: dict[str, list[Tensor]] = {name: [] for name in self.inside}
        for batch in self.load():
            batch = batch.to(pl_module.device)
            signs = _decoded_signs(pl_module, batch, pl_module.conditions(batch)[0])
            for name in self.inside:
                parts[name].append(signs[name])
        self.limits = {
            name: limits_of(torch.cat(parts[name]).float(), share, SIGNS[name])
            for name, share in self.inside.items()
        }

    @torch.no_grad()
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: ClipBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Measure what validation generated of this batch, if anything."""
        assert isinstance(pl_module, FlowDiffusionModule)
        if outputs is None:
            return
        latent_flow = outputs["latent_flow"]
        signs = _decoded_signs(pl_module, batch.first(len(latent_flow)), latent_flow)
        for name in self.inside:
            self._found[name].append(signs[name])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the signs over all processes, and flag."""
        for name, limits in self.limits.items():
            values = torch.cat([torch.zeros(0, device=pl_module.device), *self._found[name]])
            sums = torch.stack(
                (values.sum(), limits.outside(values).sum(), values.new_tensor(float(len(values))))
            )
            sums = trainer.strategy.reduce(sums.to(pl_module.device), reduce_op="sum")
            total, outside, count = (float(number) for number in sums)
            if not count:
                continue
            fails = outside / count > self.tolerated
            row = {"": total / count, "_outside": outside / count, "_flag": float(fails)}
            row |= {f"_{end}": getattr(limits, end) for end in ("low", "high")}
            finite = {k: v for k, v in row.items() if abs(v) != torch.inf}
            pl_module.log_dict({f"monitor/{name}{k}": v for k, v in finite.items()})
            if fails and name not in self.flagged:
                self._warn(trainer, name, outside / count, limits)
            (self.flagged.add if fails else self.flagged.discard)(name)

    def state_dict(self) -> dict[str, Any]:
        """Return the flagged signs, so that a resumed run does not warn again."""
        return {"flagged": sorted(self.flagged)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self.flagged = set(state_dict["flagged"])

    def _warn(self, trainer: Trainer, name: str, share: float, limits: Limits) -> None:
        text = (
            f"Step {trainer.global_step}: {name.replace('_', ' ')} in {share:.0%} of the generated "
            f"clips, which are outside {limits.low:.4g} to {limits.high:.4g}, where "
            f"{self.inside[name]:.0%} of the training clips are."
        )
        logging.getLogger("dabfusion").warning(text)
        for logger in trainer.loggers:
            # A run of Weights & Biases has alerts; other loggers have none.
            alert = getattr(getattr(logger, "experiment", None), "alert", None)
            if alert is not None:
                alert(title=f"Failure signature: {name.replace('_', ' ')}", text=text)


def _decoded_signs(
    module: FlowDiffusionModule, batch: ClipBatch, latent_flow: Tensor
) -> dict[str, Any]:
    frames = module.autoencoder.decode(to_unit(batch.reference), latent_flow)
    return measure_signs(to_uint8(frames), latent_flow.float(), batch.beats, batch.fps)
