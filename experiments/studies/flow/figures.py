"""Figures of the flow study: errors by group, training curves, dancers, and flow as colors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.batch import to_unit
from datamodules.synthetic.dataset import DanceSpec, dance_names, render_clip
from experiments.studies.flow.measure import METHODS, Row, flow_to_first, pixel_flow
from experiments.studies.flow.report import CONTRASTS, groups, summaries
from experiments.studies.page import draw_bars, new_figure, save_figure
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.viz import color_wheel, flow_colors, residual_pixels

_TICKS = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)


def draw_groups(rows: Sequence[Row], path: Path) -> None:
    """Draw the end-point error and foreground L1 by speed and genre, and those of zero flow."""
    found = {k: summaries(group) for k, group in groups(rows).items() if k not in CONTRASTS}
    figure, panels = new_figure(1, 2, 9, 3.4)
    titles = (("epe", "epe_zero", "End-point error, px"), ("l1", "l1_copy", "Foreground L1"))
    for axes, (name, baseline, title) in zip(panels, titles, strict=True):
        draw_bars(axes, range(len(found)), [one[name] for one in found.values()], color="#3b6ea5")
        for place, one in enumerate(found.values()):
            axes.plot([place - 0.4, place + 0.4], [one[baseline].mean] * 2, color="#b5482f")
        axes.set_xticks(range(len(found)), list(found), rotation=60)
        axes.set_title(f"{title} (red: zero flow)", fontsize=10)
    save_figure(figure, path)


def draw_curves(runs: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the PSNR gain over the steps done; dashed without labels."""
    figure, (axes,) = new_figure(1, 1, 7, 3.8)
    for number, run in enumerate(sorted(runs, key=itemgetter("labels", "steps"))):
        steps, gains = zip(*run["curve"], strict=True)
        style = "o-" if run["labels"] else "s--"
        axes.plot(steps, gains, style, label=run["title"], color=f"C{number}", markersize=3)
    done = [steps for run in runs for steps, _ in run["curve"]]
    axes.set_xscale("log")
    axes.set_xticks(_TICKS, [f"{steps:,}" for steps in _TICKS])
    axes.minorticks_off()
    axes.set_xlim(0.8 * min(done), 1.3 * max(done))
    axes.set(xlabel="optimizer steps done", ylabel="foreground PSNR above copying, dB")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


@torch.no_grad()
def draw_dancers(
    networks: Mapping[str, LatentFlowAutoencoder], spec: DanceSpec, path: Path
) -> None:
    """Draw four dances: reference, driving frame, each network's frame and flow, and true flow."""
    names = dance_names(spec.seed, 0)
    rows = []
    for name in names[:: max(1, len(names) // 4)][:4]:
        clip = render_clip(replace(spec, name=name))
        video = to_unit(clip.frames)
        at = _farthest(video)
        true = residual_pixels(clip.true_flow(0, [at], spec.size)[0], spec.size)[0]
        largest = float(true.norm(dim=-1).max())
        row = {"reference": video[0], "driving": video[at]}
        flows = {"true flow": flow_colors(true, largest)}
        for title, network in networks.items():
            output = network(video[:1], video[None, at : at + 1])
            row[f"frame\n{title}"] = output.prediction[0, 0]
            found = pixel_flow(network, output.latent_flow[0], spec.size)[0]
            flows[f"flow\n{title}"] = flow_colors(found, largest)
        rows.append(row | flows)
    _draw_sheet(rows, path)


@torch.no_grad()
def draw_video_flows(
    network: LatentFlowAutoencoder, videos: Mapping[str, Tensor], path: Path
) -> None:
    """Draw the flow of one frame of each video, and optical flow; nobody's image is shown."""
    rows = []
    for video in videos.values():
        pair = video[[0, _farthest(video)]]
        latent = network.flow(video[:1], pair[None, 1:])[0]
        flows = {"found": pixel_flow(network, latent, video.shape[-1])[0]}
        flows |= {method: flow_to_first(pair, method)[1] for method in METHODS}
        lengths = torch.stack([flow.norm(dim=-1) for flow in flows.values()])
        largest = float(lengths.quantile(0.99))
        rows.append({title: flow_colors(flow, largest) for title, flow in flows.items()})
    _draw_sheet(rows, path)


def _farthest(video: Tensor) -> int:
    """Number of the frame that differs most from the first one."""
    return int((video - video[:1]).abs().mean(dim=(1, 2, 3)).argmax())


def _draw_sheet(rows: list[dict[str, Tensor]], path: Path) -> None:
    """Draw a grid of images (3, H, W) with the titles of the first row, and the color wheel."""
    columns = len(rows[0]) + 1
    figure, panels = new_figure(len(rows), columns, 1.25 * columns, 1.25 * len(rows) + 0.4)
    for axes in panels:
        axes.axis("off")
    wheel = {"direction\nof motion": color_wheel(64)}
    for number, row in enumerate([rows[0] | wheel, *rows[1:]]):
        for axes, (title, image) in zip(panels[number * columns :], row.items(), strict=False):
            axes.imshow(image.clamp(0, 1).movedim(0, -1).numpy(), interpolation="nearest")
            axes.set_title(title if number == 0 else "", fontsize=7)
    save_figure(figure, path)
