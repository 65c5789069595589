"""Trainable adapters over frozen music embeddings, trained to classify dance genres.

DabFusion (versions 2 and 3) keeps CLAP and Wav2CLIP frozen and fine-tunes MLP adapters over them on
AIST++. Here an adapter maps an embedding to one of the same width, so that it fits between the
frozen encoder and any module that uses its output. During training one head classifies the genre
and another projects for a contrastive loss; neither is needed afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_modules.networks.attention import zero_start
from lightning_modules.options.music import AdapterOptions


class FeatureAdapter(nn.Module):
    """Residual two-layer perceptron (..., D) -> (..., D), initialized as the identity.

    Args:
        dim: D.
        width: Width of the hidden layer.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        # The last layer starts at zero, so that the residual branch starts as the identity.
        self.norm = nn.LayerNorm(dim)
        self.layer_in = nn.Linear(dim, width)
        self.layer_out = nn.Linear(width, dim)
        zero_start(self.layer_out)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layer_out(F.silu(self.layer_in(self.norm(features))))


@dataclass
class Style:
    """Genre prediction of B clips from one adapted feature."""

    logits: Tensor
    """(B, classes)."""
    direction: Tensor
    """(B, P), unit vectors for the contrastive loss: similar for clips of one genre."""


class StyleHead(nn.Module):
    """Predict the genre of clips from their adapted embeddings (B, D).

    Embeddings of different encoders differ in scale by orders of magnitude, so each is standardized
    first.
    """

    def __init__(self, dim: int, classes: int, projection: int) -> None:
        super().__init__()
        # Spelled as in the files of trained adapters.
        self.standardise = nn.BatchNorm1d(dim, affine=False)
        self.classify = nn.Linear(dim, classes)
        self.project = nn.Linear(dim, projection)

    def forward(self, clips: Tensor) -> Style:
        clips = self.standardise(clips)
        return Style(self.classify(clips), F.normalize(self.project(clips), dim=-1))


class MusicAdapters(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """An adapter and a head for each music feature.

    Args:
        dims: Width D of each feature, by its name in `MusicConditioner.forward`.
        classes: Names of the genres.
        width: Width of the adapters' hidden layer.
        projection: P, width of the directions.
        weights: Digests of the frozen encoders' checkpoints by feature name; an adapter fits the
            embeddings of one checkpoint only.
    """

    @register_to_config
    def __init__(
        self,
        dims: dict[str, int],
        classes: list[str],
        width: int = AdapterOptions.width,
        projection: int = AdapterOptions.projection,
        weights: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.adapters = nn.ModuleDict({name: FeatureAdapter(d, width) for name, d in dims.items()})
        self.heads = nn.ModuleDict(
            {name: StyleHead(d, len(classes), projection) for name, d in dims.items()}
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features that are adapted."""
        return tuple(self.adapters)

    def forward(self, music: dict[str, Tensor]) -> dict[str, Style]:
        """Predict genres by feature, from features (B, D) of clips or (B, T, D) of frames."""
        found = {}
        for name, adapter in self.adapters.items():
            adapted = adapter(music[name])
            # Features of frames are averaged over time after the adapter.
            clips = adapted.mean(1) if adapted.ndim == 3 else adapted
            found[name] = self.heads[name](clips)
        return found
