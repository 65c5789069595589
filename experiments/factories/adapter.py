"""Settings -> music adapters, the module that trains them, and adapters that were trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from experiments.config.load import Settings
from experiments.errors import SettingsError
from experiments.factories.stage2_networks import clap_token_dim
from lightning_modules.errors import CheckpointError
from lightning_modules.music.clap import weights_digest
from lightning_modules.music_adapter import AdapterLoss, MusicAdapterModule
from lightning_modules.networks.music import FEATURE_DIMS
from lightning_modules.networks.music_adapter import MusicAdapters


def adapted_features(settings: Settings) -> list[str]:
    """The music features that are switched on, and so get an adapter.

    Raises:
        SettingsError: none is.
    """
    names = [name for name in FEATURE_DIMS if getattr(settings.music, name)]
    if not names:
        raise SettingsError(
            "No music feature is on that could be adapted; give music.spectral=true, or "
            "music.clap=true or music.wav2clip=true with their weights."
        )
    return names


def encoder_digests(settings: Settings) -> dict[str, str]:
    """Digests of the frozen encoders' checkpoints, by the features that are on."""
    music = settings.music
    paths = {
        "clap": music.clap_weights if music.clap else "",
        "clap_tokens": music.clap_weights if music.clap_tokens else "",
        "wav2clip": music.wav2clip_weights if music.wav2clip else "",
    }
    return {name: weights_digest(Path(path)) for name, path in paths.items() if path}


def build_adapters(settings: Settings, classes: list[str]) -> MusicAdapters:
    """Adapters to train."""
    adapter = settings.adapter
    dims = FEATURE_DIMS | {"clap_tokens": clap_token_dim(settings)}
    return MusicAdapters(
        dims={name: dims[name] for name in adapted_features(settings)},
        classes=classes,
        width=adapter.width,
        projection=adapter.projection,
        weights=encoder_digests(settings),
    )


def build_adapter_module(
    settings: Settings, adapters: MusicAdapters, style_of: Mapping[str, int]
) -> MusicAdapterModule:
    """What Lightning trains."""
    adapter = settings.adapter
    return MusicAdapterModule(
        adapters,
        style_of,
        loss=AdapterLoss(adapter.contrastive, adapter.temperature),
        learning_rate=adapter.learning_rate,
        weight_decay=adapter.weight_decay,
        steps=adapter.steps,
    )


def load_adapters(settings: Settings) -> MusicAdapters | None:
    """The trained adapters that `music.adapter` names; None where it names none.

    Raises:
        CheckpointError: there are none, or they fit no feature that is on, or another checkpoint.
    """
    if not settings.music.adapter:
        return None
    run = Path(settings.music.adapter)
    folder = run / "export" if (run / "export" / "config.json").is_file() else run
    try:
        adapters = MusicAdapters.from_pretrained(
            folder, local_files_only=True, low_cpu_mem_usage=False
        )
    except (OSError, TypeError, ValueError) as error:
        raise CheckpointError(
            f'music.adapter="{run}" holds no music adapters; give the run folder of `dabfusion '
            "train music-adapter`, finished."
        ) from error
    on = [name for name in adapters.names if getattr(settings.music, name)]
    if not on:
        raise CheckpointError(
            f'music.adapter="{run}" adapts {", ".join(adapters.names)}, and none of them is on; '
            f"set music.{adapters.names[0]}=true or leave music.adapter empty."
        )
    for name, digest in encoder_digests(settings).items():
        trained = adapters.config["weights"].get(name)
        if name in on and trained != digest:
            raise CheckpointError(
                f'music.adapter="{run}" was trained over another {name} checkpoint ({trained}) '
                f"than is given now ({digest}); give the same weights."
            )
    return adapters
