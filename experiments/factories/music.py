"""Settings -> the frozen music encoders and the trained adapters over them; without Lightning."""

from __future__ import annotations

from pathlib import Path

from experiments.config.load import Settings
from lightning_modules.errors import CheckpointError
from lightning_modules.music.clap import load_clap, token_dim, weights_digest
from lightning_modules.music.encoders import MusicEncoders
from lightning_modules.music.wav2clip import load_wav2clip
from lightning_modules.networks.music import CLAP_TOKEN_DIM
from lightning_modules.networks.music_adapter import MusicAdapters


def build_encoders(settings: Settings) -> MusicEncoders | None:
    """Build the frozen encoders that the settings switch on; None if there are none.

    Raises:
        CheckpointError: An encoder's weights are missing or belong to another network.
    """
    music = settings.music
    use_clap = music.clap or music.clap_tokens
    if not use_clap and not music.wav2clip:
        return None
    return MusicEncoders(
        load_clap(music.clap_weights) if use_clap else None,
        load_wav2clip(music.wav2clip_weights) if music.wav2clip else None,
    )


def encoder_digests(settings: Settings) -> dict[str, str]:
    """Return the digests of the frozen encoders' checkpoints by music feature."""
    music = settings.music
    paths = {
        "clap": music.clap_weights if music.clap else "",
        "clap_tokens": music.clap_weights if music.clap_tokens else "",
        "wav2clip": music.wav2clip_weights if music.wav2clip else "",
    }
    return {name: weights_digest(Path(path)) for name, path in paths.items() if path}


def clap_token_dim(settings: Settings) -> int:
    """Return the width of the tokens of the CLAP checkpoint in the settings."""
    music = settings.music
    if not (music.clap_tokens and music.clap_weights):
        return CLAP_TOKEN_DIM
    return token_dim(music.clap_weights)


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
