"""Settings -> the frozen music encoders and the adapters over them; without Lightning."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from experiments.config.load import Settings
from experiments.errors import SettingsError
from lightning_modules.errors import CheckpointError
from lightning_modules.music.clap import load_clap, token_dim, weights_digest
from lightning_modules.music.encoders import ENCODED, MusicEncoders
from lightning_modules.music.wav2clip import load_wav2clip
from lightning_modules.networks.music import CLAP_TOKEN_DIM, FEATURE_DIMS
from lightning_modules.networks.music_adapter import MusicAdapters


def load_encoders(
    features: Iterable[str], clap_weights: str, wav2clip_weights: str
) -> MusicEncoders | None:
    """Load the frozen encoders of music features; None if no feature needs one."""
    needed = set(features)
    if not needed & set(ENCODED):
        return None
    return MusicEncoders(
        load_clap(clap_weights) if needed & {"clap", "clap_tokens"} else None,
        load_wav2clip(wav2clip_weights) if "wav2clip" in needed else None,
    )


def build_encoders(settings: Settings) -> MusicEncoders | None:
    """Load the frozen encoders that the settings switch on; None if there are none."""
    music = settings.music
    names = [name for name in ENCODED if getattr(music, name)]
    return load_encoders(names, music.clap_weights, music.wav2clip_weights)


def encoder_digests(settings: Settings) -> dict[str, str]:
    """Return the digests of the frozen encoders' checkpoints by music feature."""
    music = settings.music
    clap, wav2clip = music.clap_weights, music.wav2clip_weights
    paths = {"clap": clap, "clap_tokens": clap, "wav2clip": wav2clip}
    on = {name: path for name, path in paths.items() if path and getattr(music, name)}
    return {name: weights_digest(Path(path)) for name, path in on.items()}


def clap_token_dim(settings: Settings) -> int:
    """Return the width of the tokens of the CLAP checkpoint in the settings."""
    music = settings.music
    if not (music.clap_tokens and music.clap_weights):
        return CLAP_TOKEN_DIM
    return token_dim(music.clap_weights)


def build_adapters(settings: Settings, classes: list[str]) -> MusicAdapters:
    """Build one adapter for each music feature that is switched on."""
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
        width=settings.adapter.width,
        projection=settings.adapter.projection,
        weights=encoder_digests(settings),
    )


def load_adapters(settings: Settings) -> MusicAdapters | None:
    """Load the trained adapters of `music.adapter`; None if it is empty.

    Raises:
        CheckpointError: The folder holds no adapters, none of them is for a feature that is
            switched on, or they were trained with another encoder checkpoint.
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
            f'music.adapter="{run}" holds no music adapters; give the run folder of a finished '
            "`dabfusion train music-adapter`."
        ) from error
    on = [name for name in adapters.names if getattr(settings.music, name)]
    if not on:
        raise CheckpointError(
            f'music.adapter="{run}" adapts {", ".join(adapters.names)}, but none of these features '
            f"is on; set music.{adapters.names[0]}=true or leave music.adapter empty."
        )
    for name, digest in encoder_digests(settings).items():
        trained = adapters.config["weights"].get(name)
        if name in on and trained != digest:
            raise CheckpointError(
                f'music.adapter="{run}" was trained with another {name} checkpoint ({trained}) '
                f"than the one given now ({digest}); give the same weights."
            )
    return adapters
