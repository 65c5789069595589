"""Sample videos, images and tables of validation clips, as a training shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from datamodules.batch import ClipBatch, to_uint8, to_unit
from experiments.evaluation.clips import ScoredClip, score_motion
from lightning_modules.callbacks.samples import Drawn
from lightning_modules.diffusion import FlowDiffusionModule
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.viz import autoencoder_panel, flow_colors, residual_pixels
from metrics.functional import motion_from_video

#: Sample rate of the sound in sample videos, Hz.
SOUND_RATE = 44_100
#: Clips, and driving frames of each, in stage 1's image of flow, occlusion and regions.
SHEET_CLIPS, SHEET_FRAMES = 3, 2
#: Clips in `_flow_panel`, and the side of a cell in pixels.
PANEL_CLIPS, CELL = 3, 96


@torch.no_grad()
def draw_autoencoder(network: LatentFlowAutoencoder, batch: ClipBatch) -> Drawn:
    """Draw true and reconstructed clips, an image of the flow, and the error of each clip."""
    assert batch.frames is not None
    training = network.training
    network.eval()
    frames = to_unit(batch.frames)  # (B, T, 3, H, W)
    flow = network.flow(frames[:, 0], frames)  # (B, T, 3, h, w), from the first frame to each
    made = network.decode(frames[:, 0], flow)
    network.train(training)
    # Reference frame, then driving frames spread over the clip.
    step = max(1, (frames.shape[1] - 1) // SHEET_FRAMES)
    shown = frames[:SHEET_CLIPS, [0, *range(step, frames.shape[1], step)][: SHEET_FRAMES + 1]]
    sheet = autoencoder_panel(network, shown)
    # The first frame is the reference itself, so it is not counted.
    l1 = (made[:, 1:] - frames[:, 1:]).abs().mean(dim=(1, 2, 3, 4)).tolist()
    l1_copy = (frames[:, :1] - frames[:, 1:]).abs().mean(dim=(1, 2, 3, 4)).tolist()
    rows: list[dict[str, str | float]] = [
        {"clip": clip, "l1": round(error, 6), "l1_copy": round(error_copy, 6)}
        for clip, error, error_copy in zip(batch.clip_ids, l1, l1_copy, strict=True)
    ]
    return Drawn(_side_by_side(batch.frames, to_uint8(made)), {"flow": sheet}, rows=rows)


@torch.no_grad()
def draw_diffusion(module: FlowDiffusionModule, batch: ClipBatch) -> Drawn:
    """Draw true, reconstructed and generated clips, their flow, beats and scores."""
    assert batch.frames is not None
    frames = to_unit(batch.frames)
    true_flow = module.autoencoder.flow(frames[:, 0], frames)
    made_flow = module.sample(batch)  # (B, T, 3, h, w), by the sampler of the settings
    # Decoding the true flow shows what stage 1 alone loses.
    reconstructed, generated = (
        to_uint8(module.autoencoder.decode(frames[:, 0], flow)) for flow in (true_flow, made_flow)
    )
    # Scores are measured in the decoded frames, as for any other method's videos.
    beats, fps = batch.beats.cpu(), batch.fps  # (B, N) seconds, NaN-padded
    speeds: dict[str, Tensor] = {}
    scored: dict[str, list[ScoredClip]] = {}
    for kind, video in (("true", batch.frames), ("generated", generated)):
        signal = motion_from_video(video.cpu(), fps)
        speeds[kind] = signal.speed
        scored[kind] = score_motion(signal, fps, beats, batch.clip_ids, batch.music_ids)
    rows: list[dict[str, str | float]] = []
    for true, made in zip(scored["true"], scored["generated"], strict=True):
        row: dict[str, str | float] = {"clip": true.name, "music": true.music_id}
        for kind, clip in (("true", true), ("generated", made)):
            for name in ("corrected", "raw", "chance", "motion_beats", "jerk"):
                row[f"{kind}_{name}"] = round(clip.scores[name], 6)
        rows.append(row)
    return Drawn(
        _side_by_side(batch.frames, reconstructed, generated),
        {
            "flow": _flow_panel(frames, true_flow, made_flow),
            "beats": _beat_plot(speeds, scored, fps),
        },
        [clip.motion_beats.tolist() for clip in scored["generated"]],
        rows,
        {
            f"val/align_pixels_{name}": mean(clip.scores[name] for clip in scored["generated"])
            for name in ("corrected", "raw", "chance", "control_difference")
        },
    )


def _flow_panel(frames: Tensor, true: Tensor, made: Tensor) -> Tensor:
    """Draw the flow at the middle frame of some clips: (3, H', W') uint8 on the CPU.

    One row per clip, with the columns reference, true frame, true flow, generated flow, true
    occlusion, generated occlusion. Frames are (B, T, 3, H, W) in [0, 1], flow is (B, T, 3, h, w).
    """
    count, middle = min(PANEL_CLIPS, len(frames)), frames.shape[1] // 2
    # Channels 0 and 1 are the sampling grid in [-1, 1], channel 2 is the occlusion map in [0, 1].
    flows = [
        residual_pixels(flow[:count, middle, :2].float().movedim(1, -1), frames.shape[-1])
        for flow in (true, made)
    ]
    # One color scale for the whole panel, so that its cells can be compared.
    largest = float(torch.stack(flows).norm(dim=-1).max())
    columns = [frames[:count, 0], frames[:count, middle]]
    columns += [flow_colors(flow, largest) for flow in flows]
    columns += [flow[:count, middle, 2:].expand(-1, 3, -1, -1) for flow in (true, made)]
    # A column is (count, 3, ., .); its cells are stacked downwards, then columns side by side.
    cells = [F.interpolate(column.float().cpu(), (CELL, CELL)) for column in columns]
    return to_uint8(torch.cat([torch.cat(list(column), dim=-2) for column in cells], dim=-1))


def _beat_plot(
    speeds: Mapping[str, Tensor], clips: Mapping[str, Sequence[ScoredClip]], fps: float
) -> Tensor:
    """Plot the speed of each clip, (B, T - 1) pixels per second, with its motion and music beats.

    Returns:
        The image, (3, H, W) uint8.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    first = next(iter(clips.values()))
    figure = Figure(figsize=(8.0, 1.8 * len(first)), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for place, axes in enumerate(figure.subplots(len(first), squeeze=False)[:, 0]):
        for color, (kind, speed) in zip(("tab:gray", "tab:blue"), speeds.items(), strict=True):
            values = speed[place].cpu().numpy()
            # Speed is measured between frames k and k + 1.
            times = (np.arange(len(values)) + 0.5) / fps
            axes.plot(times, values, color=color, label=kind)
            beats = clips[kind][place].motion_beats.numpy()
            axes.plot(beats, np.interp(beats, times, values), "o", color=color)
        for beat in first[place].music_beats.tolist():
            axes.axvline(beat, color="tab:orange", linewidth=0.8)
        axes.set_xlim(0.0, (len(values) + 1) / fps)
        axes.set_title(first[place].name, fontsize=8)
        axes.set_ylabel("px/s", fontsize=8)
    axes.set_xlabel("seconds; dots: motion beats, orange: music beats", fontsize=8)
    axes.legend(fontsize=7, loc="upper right")
    canvas.draw()
    image = np.asarray(canvas.buffer_rgba())[..., :3]
    return torch.from_numpy(image.copy()).movedim(-1, 0)


def _side_by_side(*videos: Tensor) -> Tensor:
    """Join n videos (B, T, 3, H, W) uint8 to (B, T, 3, H, n W) on the CPU."""
    return torch.cat([video.cpu() for video in videos], dim=-1)
