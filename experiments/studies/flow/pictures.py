"""Study 1's pictures: what networks make of the same rendered dancers, and flows as colours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from datamodules.batch import to_unit
from datamodules.media.video import fit_image, read_frames
from datamodules.synthetic.dataset import DanceSpec, dance_names, render_clip
from experiments.studies.flow.measure import pixel_flow
from experiments.studies.flow.rendered import FPS
from experiments.studies.flow.videos import METHODS, optical_flow
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.viz import color_wheel, flow_colors

Row = list[tuple[str, Tensor]]


@torch.no_grad()
def draw_dancers(
    networks: Mapping[str, LatentFlowAutoencoder], seed: int, frames: int, size: int, path: Path
) -> None:
    """Reference, driving frame, each network's prediction and flow, and the true flow, as a PNG.

    Four dances, each at the frame that differs most from its reference.
    """
    names = dance_names(seed, 0)
    rows: list[Row] = []
    for name in names[:: max(1, len(names) // 4)][:4]:
        spec = DanceSpec(name=name, seed=seed, size=size, fps=FPS, seconds=frames / FPS)
        clip = render_clip(spec)
        video = to_unit(clip.frames)
        at = int((video - video[:1]).abs().mean(dim=(1, 2, 3)).argmax())
        grid, _ = clip.true_flow(0, [at], size)
        own, _ = clip.true_flow(0, [0], size)
        true = (grid - own)[0] * (size - 1) / 2
        largest = float(true.norm(dim=-1).max())
        row = [("reference", video[0]), ("driving", video[at])]
        flows = [("true flow", flow_colors(true, largest))]
        for title, network in networks.items():
            output = network(video[:1], video[None, at : at + 1])
            row.append((f"picture\n{title}", output.prediction[0, 0]))
            found = pixel_flow(network, output.latent_flow[0], size)[0]
            flows.append((f"flow\n{title}", flow_colors(found, largest)))
        rows.append(row + flows)
    _sheet(rows, path)


@torch.no_grad()
def draw_video_flows(
    network: LatentFlowAutoencoder, videos: Mapping[str, Path], frames: int, size: int, path: Path
) -> None:
    """Flow of the frame that differs most from the first, beside DIS's and Farneback's, as a PNG.

    Colours of motion alone, so that nobody's picture is shown.
    """
    rows: list[Row] = []
    for file in videos.values():
        video = to_unit(fit_image(read_frames(file)[:frames], size))
        at = int((video - video[:1]).abs().mean(dim=(1, 2, 3)).argmax())
        pair = video[[0, at]]
        flow = network.flow(video[:1], pair[None, 1:])[0]
        found = [("found", pixel_flow(network, flow, size)[0])]
        found += [(method, optical_flow(pair, method)[1]) for method in METHODS]
        largest = float(torch.stack([flow.norm(dim=-1) for _, flow in found]).quantile(0.99))
        rows.append([(title, flow_colors(flow, largest)) for title, flow in found])
    _sheet(rows, path)


def _sheet(rows: list[Row], path: Path) -> None:
    """A grid of pictures (3, H, W) with the first row's titles, and the colour wheel."""
    from matplotlib.figure import Figure

    columns = len(rows[0]) + 1
    figure = Figure(figsize=(1.25 * columns, 1.25 * len(rows) + 0.4), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for place, row in zip(grid, rows, strict=True):
        for axes, (title, picture) in zip(place, row, strict=False):
            axes.imshow(picture.clamp(0, 1).movedim(0, -1).numpy(), interpolation="nearest")
            if row is rows[0]:
                axes.set_title(title, fontsize=7)
        for axes in place:
            axes.axis("off")
    legend = grid[0, -1]
    legend.imshow(color_wheel(64).movedim(0, -1).numpy())
    legend.set_title("direction\nof motion", fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
