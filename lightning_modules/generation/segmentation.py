"""Find the person in an image by a semantic segmentation network of Hugging Face, given by path.

Any folder that `transformers` loads as a model for semantic segmentation (SegFormer, UperNet, BEiT,
MobileViT, ...) with a label "person" works. Nothing is downloaded.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_modules.errors import CheckpointError

_PREPROCESSING = "preprocessor_config.json"
#: ImageNet's statistics, unless the folder has others.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PersonSegmenter(nn.Module):
    """A segmentation network, reduced to its class "person".

    Args:
        network: Maps images (N, 3, h, w) to an object with `logits` (N, classes, h', w').
        person: Index of the class.
        size: (height, width) of the network's input in pixels.
        mean: Mean of its input for each color, in [0, 1].
        std: Standard deviation of its input for each color, in [0, 1].
    """

    def __init__(
        self,
        network: nn.Module,
        person: int,
        size: tuple[int, int] = (512, 512),
        mean: tuple[float, ...] = _MEAN,
        std: tuple[float, ...] = _STD,
    ) -> None:
        super().__init__()
        self.network, self.person, self.size = network, person, size
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """Return the mask (H, W) in [0, 1] of the largest person in an image (3, H, W) uint8."""
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        seen = image[None].to(mean.device, torch.float32) / 255.0
        seen = F.interpolate(seen, self.size, mode="bilinear", antialias=True)
        logits = self.network((seen - mean) / std).logits
        wide = F.interpolate(logits, image.shape[-2:], mode="bilinear")
        return largest_component(wide.softmax(1)[0, self.person].cpu())


def largest_component(mask: Tensor) -> Tensor:
    """Remove all but the largest connected component of a mask (H, W)."""
    inside = (mask > 0.5).numpy().astype(np.uint8)
    count, components, sizes, _ = cv2.connectedComponentsWithStats(inside)
    if count < 3:  # the background and at most one component
        return mask
    kept = 1 + int(np.argmax(sizes[1:, cv2.CC_STAT_AREA]))
    others = torch.from_numpy((components != kept) & (components != 0))
    return mask.masked_fill(others, 0.0)


def load_segmenter(folder: str | Path) -> PersonSegmenter:
    """Load a segmentation network from the folder of a Hugging Face model.

    Raises:
        CheckpointError: Transformers is not installed, the folder has no such model, or the model
            has no label "person".
    """
    folder = Path(folder)
    if importlib.util.find_spec("transformers") is None:
        raise CheckpointError(
            "Finding the person needs the package transformers, which is not installed: "
            'pip install "transformers>=4.50", or give a mask of your own.'
        )
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{folder} is not the folder of a Hugging Face segmentation model (no config.json): "
            "give one such as a downloaded SegFormer (ADE20K), or a mask of your own."
        )
    from transformers import AutoModelForSemanticSegmentation

    try:
        network = AutoModelForSemanticSegmentation.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder} does not have a semantic segmentation model ({str(error).splitlines()[0]})."
        ) from error
    known: dict[int, str] = dict(network.config.id2label or {})
    labels = {name.lower(): int(number) for number, name in known.items()}
    if "person" not in labels:
        raise CheckpointError(
            f'{folder} has no label "person" among its {len(labels)}: give a model trained on '
            "ADE20K, COCO or the like."
        )
    return PersonSegmenter(network, labels["person"], **_preprocessing(folder / _PREPROCESSING))


def _preprocessing(path: Path) -> dict[str, Any]:
    """Read size, mean and standard deviation of the network's input."""
    if not path.is_file():
        return {}
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        sides: Any = given.get("size", 512)
        if not isinstance(sides, dict):
            sides = {"shortest_edge": sides}
        edge = sides.get("shortest_edge", 512)
        size = (int(sides.get("height", edge)), int(sides.get("width", edge)))
        mean = tuple(map(float, given.get("image_mean", _MEAN)))
        return {"size": size, "mean": mean, "std": tuple(map(float, given.get("image_std", _STD)))}
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: download the model again.") from error
