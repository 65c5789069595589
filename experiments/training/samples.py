"""Sample videos, images and tables of validation clips, as a training shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from datamodules.aist import AISTDataModule, ClipContent
from datamodules.batch import ClipBatch, to_uint8, to_unit
from datamodules.cache import FeatureStore
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
#: Clips in `flow_panel`, and the side of a cell in pixels.
PANEL_CLIPS, CELL = 3, 96


def load_samples(data: AISTDataModule, clips: int, music: tuple[FeatureStore, ...]) -> ClipBatch:
    """Load the first validation clips with all frames and sound.

    Args:
        data: The data of the run.
        clips: Number of clips.
        music: Stores of the music embeddings that the networks read.
    """
    content = ClipContent(frames="all", sample_rate=SOUND_RATE, music=music)
    dataset = data.with_content(content).dataset("val", view="clips")
    return dataset.__getitems__(list(range(min(clips, len(dataset)))))


@torch.no_grad()
def draw_autoencoder(network: LatentFlowAutoencoder, batch: ClipBatch) -> Drawn:
    """Draw true and reconstructed clips, an image of the flow, and the error of each clip.

    Args:
        network: Stage 1, in training or eval mode, which is kept.
        batch: Clips of T frames on the network's device.
    """
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
    errors = {
        "l1": (made[:, 1:] - frames[:, 1:]).abs().mean(dim=(1, 2, 3, 4)),
        "l1_copy": (frames[:, :1] - frames[:, 1:]).abs().mean(dim=(1, 2, 3, 4)),
    }
    rows: list[dict[str, str | float]] = [
        {"clip": clip} | {name: round(float(error[place]), 6) for name, error in errors.items()}
        for place, clip in enumerate(batch.clip_ids)
    ]
    return Drawn(_side_by_side(batch.frames, to_uint8(made)), {"flow": sheet}, rows=rows)


@torch.no_grad()
def draw_diffusion(module: FlowDiffusionModule, batch: ClipBatch) -> Drawn:
    """Draw true, reconstructed and generated clips, their flow, beats and scores.

    Args:
        module: Stage 2.
        batch: Clips of T frames on the module's device.
    """
    assert batch.frames is not None
    frames = to_unit(batch.frames)
    true_flow = module.autoencoder.flow(frames[:, 0], frames)
    made_flow = module.sample(batch)  # (B, T, 3, h, w), by the sampler of the settings
    # Decoding the true flow shows what stage 1 alone loses.
    reconstructed, generated = (
        to_uint8(module.autoencoder.decode(frames[:, 0], flow)) for flow in (true_flow, made_flow)
    )
    # Scores are measured in the decoded frames, as for any other method's videos.
    beats = batch.beats.cpu()  # (B, N) seconds, NaN-padded
    videos = {"true": batch.frames, "generated": generated}
    signals = {kind: motion_from_video(video.cpu(), batch.fps) for kind, video in videos.items()}
    scored = {
        kind: score_motion(signal, batch.fps, beats, batch.clip_ids, batch.music_ids)
        for kind, signal in signals.items()
    }
    speeds = {kind: signal.speed for kind, signal in signals.items()}
    return Drawn(
        _side_by_side(batch.frames, reconstructed, generated),
        {
            "flow": flow_panel(frames, true_flow, made_flow),
            "beats": beat_plot(speeds, scored, batch.fps),
        },
        [clip.motion_beats.tolist() for clip in scored["generated"]],
        score_rows(scored),
        pixel_scores(scored["generated"]),
    )


def pixel_scores(clips: Sequence[ScoredClip]) -> dict[str, float]:
    """Return the mean alignment scores of generated clips, measured in their frames."""
    return {
        f"val/align_pixels_{name}": sum(clip.scores[name] for clip in clips) / len(clips)
        for name in ("corrected", "raw", "chance", "control_difference")
    }


def score_rows(clips: Mapping[str, Sequence[ScoredClip]]) -> list[dict[str, str | float]]:
    """Return one row per clip: its name, its music, and the scores of each version.

    Args:
        clips: The same clips in each version (`true`, `generated`).
    """
    rows: list[dict[str, str | float]] = []
    for versions in zip(*clips.values(), strict=True):
        row: dict[str, str | float] = {"clip": versions[0].name, "music": versions[0].music_id}
        for kind, clip in zip(clips, versions, strict=True):
            for name in ("corrected", "raw", "chance", "motion_beats", "jerk"):
                row[f"{kind}_{name}"] = round(clip.scores[name], 6)
        rows.append(row)
    return rows


def flow_panel(frames: Tensor, true: Tensor, made: Tensor) -> Tensor:
    """Draw the flow at the middle frame of some clips: (3, H', W') uint8 on the CPU.

    One row per clip, with the columns reference, true frame, true flow, generated flow, true
    occlusion, generated occlusion.

    Args:
        frames: (B, T, 3, H, W) in [0, 1].
        true: (B, T, 3, h, w) latent flow of the true clips.
        made: (B, T, 3, h, w) generated latent flow.
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


def beat_plot(
    speeds: Mapping[str, Tensor], clips: Mapping[str, Sequence[ScoredClip]], fps: float
) -> Tensor:
    """Plot each clip's speed over time with its motion and music beats: (3, H, W) uint8.

    Args:
        speeds: (B, T - 1) pixels per second of each version (`true`, `generated`).
        clips: The clips of each version.
        fps: Frames per second.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [clip.name for clip in next(iter(clips.values()))]
    figure = Figure(figsize=(8.0, 1.8 * len(names)), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for place, (name, axes) in enumerate(
        zip(names, figure.subplots(len(names), squeeze=False)[:, 0], strict=True)
    ):
        for color, (kind, speed) in zip(("tab:gray", "tab:blue"), speeds.items(), strict=False):
            values = speed[place].cpu().numpy()
            # Speed is measured between frames k and k + 1.
            times = (np.arange(len(values)) + 0.5) / fps
            axes.plot(times, values, color=color, label=kind)
            beats = clips[kind][place].motion_beats.numpy()
            axes.plot(beats, np.interp(beats, times, values), "o", color=color)
            for beat in clips[kind][place].music_beats.tolist():
                axes.axvline(beat, color="tab:orange", linewidth=0.8)
        axes.set_xlim(0.0, (speed.shape[1] + 1) / fps)
        axes.set_title(name, fontsize=8)
        axes.set_ylabel("px/s", fontsize=8)
    axes.set_xlabel("seconds; dots: motion beats, orange: music beats", fontsize=8)
    axes.legend(fontsize=7, loc="upper right")
    canvas.draw()
    image = np.asarray(canvas.buffer_rgba())[..., :3]
    return torch.from_numpy(image.copy()).movedim(-1, 0)


def _side_by_side(*videos: Tensor) -> Tensor:
    """Join n videos (B, T, 3, H, W) uint8 to (B, T, 3, H, n W) on the CPU."""
    return torch.cat([video.cpu() for video in videos], dim=-1)
