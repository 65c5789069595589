"""Images of the flow study: what networks make of the same dancers, and flow as colors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from datamodules.batch import to_unit
from datamodules.synthetic.dataset import DanceSpec, dance_names, render_clip
from experiments.studies.flow.clips import METHODS, optical_flow, true_flow
from experiments.studies.flow.measure import pixel_flow
from experiments.studies.page import new_figure, save_figure
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.viz import color_wheel, flow_colors


@torch.no_grad()
def draw_dancers(
    networks: Mapping[str, LatentFlowAutoencoder], specs: list[DanceSpec], path: Path
) -> None:
    """Draw four dances: reference, driving frame, each network's frame and flow, and true flow.

    Each dance is shown at the frame that differs most from its reference.
    """
    size = specs[0].size
    names = dance_names(specs[0].seed, 0)
    rows = []
    for name in names[:: max(1, len(names) // 4)][:4]:
        clip = render_clip(replace(specs[0], name=name))
        video = to_unit(clip.frames)
        at = _farthest(video)
        true = true_flow(clip, [at], size)[0][0]
        largest = float(true.norm(dim=-1).max())
        row = {"reference": video[0], "driving": video[at]}
        flows = {"true flow": flow_colors(true, largest)}
        for title, network in networks.items():
            output = network(video[:1], video[None, at : at + 1])
            row[f"frame\n{title}"] = output.prediction[0, 0]
            found = pixel_flow(network, output.latent_flow[0], size)[0]
            flows[f"flow\n{title}"] = flow_colors(found, largest)
        rows.append(row | flows)
    _draw_sheet(rows, path)


@torch.no_grad()
def draw_video_flows(
    network: LatentFlowAutoencoder, videos: Mapping[str, Tensor], path: Path
) -> None:
    """Draw the flow of each video's frame that differs most from the first, and optical flow.

    Only the colors of the motion are drawn, so that nobody's image is shown.
    """
    rows = []
    for video in videos.values():
        pair = video[[0, _farthest(video)]]
        latent = network.flow(video[:1], pair[None, 1:])[0]
        flows = {"found": pixel_flow(network, latent, video.shape[-1])[0]}
        flows |= {method: optical_flow(pair, method)[1] for method in METHODS}
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
    for number, row in enumerate(rows):
        for axes, (title, image) in zip(panels[number * columns :], row.items(), strict=False):
            axes.imshow(image.clamp(0, 1).movedim(0, -1).numpy(), interpolation="nearest")
            axes.set_title(title if number == 0 else "", fontsize=7)
    panels[columns - 1].imshow(color_wheel(64).movedim(0, -1).numpy())
    panels[columns - 1].set_title("direction\nof motion", fontsize=7)
    save_figure(figure, path)
