"""Images of the results of stage 1, as pure functions from tensors to uint8 tensors.

Images are float (..., 3, H, W) in [0, 1]; flows are absolute sampling grids (..., h, w, 2).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from datamodules.batch import to_uint8
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.networks.regions import Regions
from lightning_modules.networks.warp import coordinate_grid

COLUMNS = (
    "reference",
    "driving",
    "prediction",
    "deformed",
    "flow",
    "occlusion",
    "regions",
    "difference",
)
_HEADING = 14  # pixels above the images
_MARGIN = 2
_INK = (20, 20, 20)


def flow_colors(flow: Tensor, largest: float) -> Tensor:
    """Color flow (..., 3, h, w): hue is the direction of a cell's motion, saturation its length.

    `flow` is a residual, driving to reference, in pixels; `largest` pixels are fully saturated.
    The reference content at the end of that vector has moved by its opposite, which is what the
    color shows: right is red, down is green, as in `color_wheel`.
    """
    motion = -flow
    angle = torch.atan2(motion[..., 1], motion[..., 0])
    saturation = (motion.norm(dim=-1) / max(largest, 1e-6)).clamp(max=1)
    hue = angle / (2 * math.pi) % 1.0
    # HSV to RGB at value 1: each primary is a clipped triangle wave of the hue.
    offsets = hue.new_tensor([0.0, 2 / 3, 1 / 3])
    wave = ((hue[..., None] + offsets) % 1.0 * 6 - 3).abs() - 1
    colors = 1 - saturation[..., None] * (1 - wave.clamp(0, 1))
    return colors.movedim(-1, -3)


def residual_pixels(flow: Tensor, size: int) -> Tensor:
    """Flows (..., h, w, 2) as displacements from the identity, in pixels of a `size`-pixel side."""
    height, width = flow.shape[-3:-1]
    return (flow - coordinate_grid(height, width, flow)) * (size - 1) / 2


def color_wheel(size: int) -> Tensor:
    """(3, size, size): the legend of `flow_colors`, white outside the circle."""
    grid = coordinate_grid(size, size, torch.zeros(1))
    wheel = flow_colors(-grid, 1.0)
    return torch.where(grid.norm(dim=-1) <= 1, wheel, torch.ones_like(wheel))


def draw_regions(image: Tensor, regions: Regions, index: int) -> Tensor:
    """(3, H, W): an image with the ellipses and centers of image `index` of `regions` over it."""
    height, width = image.shape[-2:]
    canvas = _to_pil(image)
    draw = ImageDraw.Draw(canvas)
    to_pixels = torch.tensor([(width - 1) / 2, (height - 1) / 2])
    angles = torch.linspace(0, 2 * math.pi, 25)
    circle = torch.stack([angles.cos(), angles.sin()], dim=-1)
    number = regions.shift.shape[1]
    hues = torch.arange(number) / number * 2 * math.pi
    directions = torch.stack([hues.cos(), hues.sin()], dim=-1)
    colors = flow_colors(-directions[None], 1.0).movedim(0, -1)[0]
    for k in range(number):
        color = tuple(int(255 * c) for c in colors[k])
        center = regions.shift[index, k].detach().float().cpu()
        outline = center + 0.02 * circle
        if regions.affine is not None:
            outline = center + circle @ regions.affine[index, k].detach().float().cpu().T
        points = ((outline + 1) * to_pixels).nan_to_num(-9.0, -9.0, -9.0).clamp(-1e4, 1e4)
        draw.line([(float(x), float(y)) for x, y in points], fill=color)
        x, y = ((center + 1) * to_pixels).tolist()
        draw.point((x, y), fill=color)
    return _from_pil(canvas)


@torch.no_grad()
def autoencoder_panel(network: LatentFlowAutoencoder, frames: Tensor, side: int = 96) -> Tensor:
    """Draw a labeled sheet (3, H', W') uint8: a row per driving frame, columns as `COLUMNS`.

    The network's mode is kept as it was. Flow is scaled to the sheet's longest vector, whose length
    is written under the color wheel.

    Args:
        frames: (B, 1 + T, 3, H, W) in [0, 1]; the first of each clip is its reference.
        side: Pixels of an image on the sheet.
    """
    training = network.training
    network.eval()
    reference, driving = frames[:, 0], frames[:, 1:]
    output = network(reference, driving)
    network.train(training)
    flow = residual_pixels(output.flow.float(), frames.shape[-1])
    largest = float(flow.norm(dim=-1).max())
    times = driving.shape[1]
    rows = []
    for b in range(len(frames)):
        for t in range(times):
            image = driving[b, t]
            prediction = output.prediction[b, t].float()
            rows.append(
                [
                    reference[b],
                    image,
                    prediction,
                    output.deformed[b, t].float(),
                    flow_colors(flow[b, t], largest),
                    output.occlusion[b, t].float().expand(3, -1, -1),
                    draw_regions(_resized(image, side), output.driving, b * times + t),
                    1 - (prediction - image).abs().mul(2).clamp(max=1),
                ]
            )
    return _sheet(rows, side, largest)


def _sheet(rows: list[list[Tensor]], side: int, largest: float) -> Tensor:
    pitch = side + _MARGIN
    legend = 40
    width = len(COLUMNS) * pitch + legend
    height = _HEADING + max(len(rows) * pitch, legend + 2 * _HEADING)
    canvas = Image.new("RGB", (width, height), (255, 255, 255))
    draw = ImageDraw.Draw(canvas)
    for i, name in enumerate(COLUMNS):
        draw.text((i * pitch + 2, 1), name, fill=_INK)
        for j, row in enumerate(rows):
            canvas.paste(_to_pil(_resized(row[i], side)), (i * pitch, _HEADING + j * pitch))
    corner = len(COLUMNS) * pitch
    canvas.paste(_to_pil(color_wheel(legend - 4)), (corner + 2, _HEADING))
    draw.text((corner + 2, _HEADING + legend), f"{largest:.0f} px", fill=_INK)
    return to_uint8(_from_pil(canvas))


def _resized(image: Tensor, side: int) -> Tensor:
    if image.shape[-2:] == (side, side):
        return image
    return F.interpolate(image[None].float().cpu(), size=(side, side), mode="nearest")[0]


def _to_pil(image: Tensor) -> Image.Image:
    values = to_uint8(image.detach().cpu())
    return Image.fromarray(values.permute(1, 2, 0).contiguous().numpy())


def _from_pil(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
