"""Trainable adapters over frozen music embeddings, taught the styles of dance music.

DabFusion (versions 2 and 3) keeps CLAP and Wav2CLIP frozen and fine-tunes MLP adapters over them on
AIST++. Here an adapter maps an embedding to one of the same width, so that it stands between the
frozen encoder and whatever reads it; a head names the genre, another gives directions for a
contrastive loss, and neither is needed afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_modules.networks.attention import zero_start


class FeatureAdapter(nn.Module):
    """A residual two-layer perceptron (..., D) -> (..., D); it begins as the identity.

    Args:
        dim: D.
        width: of the layer between.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.layer_in = nn.Linear(dim, width)
        self.layer_out = nn.Linear(width, dim)
        zero_start(self.layer_out)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layer_out(F.silu(self.layer_in(self.norm(features))))


@dataclass
class Style:
    """What B clips sound like to one adapter."""

    logits: Tensor
    """(B, classes)."""
    direction: Tensor
    """(B, P), of unit length: clips of one style should point the same way."""


class StyleHead(nn.Module):
    """Adapted embeddings of clips (B, D) -> their style.

    Embeddings of different encoders differ in scale by orders, so each is standardized first.
    """

    def __init__(self, dim: int, classes: int, projection: int) -> None:
        super().__init__()
        self.standardise = nn.BatchNorm1d(dim, affine=False)
        self.classify = nn.Linear(dim, classes)
        self.project = nn.Linear(dim, projection)

    def forward(self, clips: Tensor) -> Style:
        clips = self.standardise(clips)
        return Style(self.classify(clips), F.normalize(self.project(clips), dim=-1))


class MusicAdapters(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """An adapter and a head for each music feature.

    Args:
        dims: width D of each feature, by its name in `MusicConditioner.forward`.
        classes: names of the styles.
        width: of the adapters' inner layer.
        projection: P, width of the directions.
        weights: digests of the frozen encoders' checkpoints by feature name: an adapter fits the
            embeddings of one checkpoint only.
    """

    @register_to_config
    def __init__(
        self,
        dims: dict[str, int],
        classes: list[str],
        width: int = 256,
        projection: int = 64,
        weights: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.adapters = nn.ModuleDict({name: FeatureAdapter(d, width) for name, d in dims.items()})
        self.heads = nn.ModuleDict(
            {name: StyleHead(d, len(classes), projection) for name, d in dims.items()}
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The features that are adapted."""
        return tuple(self.adapters)

    def forward(self, music: dict[str, Tensor]) -> dict[str, Style]:
        """Styles by feature; features (B, D) of a clip or (B, T, D) of its frames."""
        found = {}
        for name, adapter in self.adapters.items():
            adapted = adapter(music[name])
            clips = adapted.mean(1) if adapted.ndim == 3 else adapted
            found[name] = self.heads[name](clips)
        return found
