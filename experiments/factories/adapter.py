"""Settings -> the music adapters to train and the module that trains them."""

from __future__ import annotations

from collections.abc import Mapping

from experiments.config.load import Settings
from experiments.errors import SettingsError
from experiments.factories.music import clap_token_dim, encoder_digests
from lightning_modules.music.adapter import AdapterLoss, MusicAdapterModule
from lightning_modules.networks.music import FEATURE_DIMS
from lightning_modules.networks.music_adapter import MusicAdapters


def build_adapters(settings: Settings, classes: list[str]) -> MusicAdapters:
    """Build one adapter for each music feature that is switched on.

    Raises:
        SettingsError: No feature is on.
    """
    adapter = settings.adapter
    dims = FEATURE_DIMS | {"clap_tokens": clap_token_dim(settings)}
    names = [name for name in FEATURE_DIMS if getattr(settings.music, name)]
    if not names:
        raise SettingsError(
            "No music feature is on that could be adapted; give music.spectral=true, or "
            "music.clap=true or music.wav2clip=true with their weights."
        )
    return MusicAdapters(
        dims={name: dims[name] for name in names},
        classes=classes,
        width=adapter.width,
        projection=adapter.projection,
        weights=encoder_digests(settings),
    )


def build_adapter_module(
    settings: Settings, adapters: MusicAdapters, style_of: Mapping[str, int]
) -> MusicAdapterModule:
    """Build the LightningModule of the adapters.

    Args:
        settings: The section `adapter`.
        adapters: The network.
        style_of: Class number of each song by its id.
    """
    adapter = settings.adapter
    return MusicAdapterModule(
        adapters,
        style_of,
        loss=AdapterLoss(adapter.contrastive, adapter.temperature),
        optimizer=adapter,
    )
