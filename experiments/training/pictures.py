"""Pictures and tables of the dances that a training of stage 2 shows: flow, beats, scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from experiments.evaluation.clips import ScoredClip
from lightning_modules.viz import flow_colours, residual_pixels

#: Pixels of the side of a cell of `flow_panel`, and clips that it shows.
CELL, PANEL_CLIPS = 96, 3


def flow_panel(frames: Tensor, true: Tensor, made: Tensor) -> Tensor:
    """What moves where, half-way through each clip: (3, H', W') uint8 on the CPU.

    A row a clip; columns: reference, true frame, true flow, generated flow, true occlusion,
    generated occlusion. The colour of flow is that of `lightning_modules.viz.flow_colours`, on
    one scale for the whole panel.

    Args:
        frames: (B, T, 3, H, W) in [0, 1].
        true: (B, T, 3, h, w) latent flow of the true clips.
        made: (B, T, 3, h, w) generated latent flow.
    """
    count, middle = min(PANEL_CLIPS, len(frames)), frames.shape[1] // 2
    flows = [
        residual_pixels(flow[:count, middle, :2].float().movedim(1, -1), frames.shape[-1])
        for flow in (true, made)
    ]
    largest = float(torch.stack(flows).norm(dim=-1).max())
    columns = [frames[:count, 0], frames[:count, middle]]
    columns += [flow_colours(flow, largest) for flow in flows]
    columns += [flow[:count, middle, 2:].expand(-1, 3, -1, -1) for flow in (true, made)]
    cells = [F.interpolate(column.float().cpu(), (CELL, CELL)) for column in columns]
    panel = torch.cat([torch.cat(list(column), dim=-2) for column in cells], dim=-1)
    return panel.clamp(0, 1).mul(255).round().to(torch.uint8)


def beat_plot(
    speeds: Mapping[str, Tensor], clips: Mapping[str, Sequence[ScoredClip]], fps: float
) -> Tensor:
    """Speed of the dancers over time, with the beats of motion and of music: (3, H, W) uint8.

    Args:
        speeds: (B, T - 1) pixels a second by the name of the set (`true`, `generated`).
        clips: of each set, with their beats.
        fps: frames a second.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [clip.name for clip in next(iter(clips.values()))]
    figure = Figure(figsize=(8.0, 1.8 * len(names)), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for place, (name, axes) in enumerate(
        zip(names, figure.subplots(len(names), squeeze=False)[:, 0], strict=True)
    ):
        for colour, (kind, speed) in zip(("tab:gray", "tab:blue"), speeds.items(), strict=False):
            values = speed[place].cpu().numpy()
            times = (np.arange(len(values)) + 0.5) / fps
            axes.plot(times, values, color=colour, label=kind)
            beats = clips[kind][place].motion_beats.numpy()
            axes.plot(beats, np.interp(beats, times, values), "o", color=colour)
            for beat in clips[kind][place].music_beats.tolist():
                axes.axvline(beat, color="tab:orange", linewidth=0.8)
        axes.set_xlim(0.0, (speed.shape[1] + 1) / fps)
        axes.set_title(name, fontsize=8)
        axes.set_ylabel("px/s", fontsize=8)
    axes.set_xlabel("seconds; dots: motion beats, orange: music beats", fontsize=8)
    axes.legend(fontsize=7, loc="upper right")
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[..., :3]
    return torch.from_numpy(picture.copy()).movedim(-1, 0)


def score_rows(clips: Mapping[str, Sequence[ScoredClip]]) -> list[dict[str, str | float]]:
    """One row a clip: its name, music, and each set's scores.

    Args:
        clips: the same clips of each set, by the set's name.
    """
    rows: list[dict[str, str | float]] = []
    for together in zip(*clips.values(), strict=True):
        row: dict[str, str | float] = {"clip": together[0].name, "music": together[0].music_id}
        for kind, clip in zip(clips, together, strict=True):
            for name in ("corrected", "raw", "chance", "motion_beats", "jerk"):
                row[f"{kind}_{name}"] = round(clip.scores[name], 6)
        rows.append(row)
    return rows
