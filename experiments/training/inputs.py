"""Checks of the folders and files that a training reads, before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path

from experiments.config.load import Settings
from experiments.errors import SettingsError

#: For each frozen encoder: the setting of its weights, and what they should be.
_ENCODERS = {
    "clap": ("clap_weights", "a LAION CLAP checkpoint or a Hugging Face CLAP folder"),
    "clap_tokens": ("clap_weights", "a LAION CLAP checkpoint or a Hugging Face CLAP folder"),
    "wav2clip": ("wav2clip_weights", "the released Wav2CLIP.pt"),
}


def check_inputs(settings: Settings, stage: str) -> None:
    """Check that the folders in the settings are what they should be.

    Args:
        settings: Resolved.
        stage: `autoencoder`, `diffusion` or `music-adapter`.

    Raises:
        SettingsError: One is not given, missing, or something else.
        CheckpointError: `autoencoder` is not a folder with an exported stage 1.
    """
    if not settings.data:
        raise SettingsError("data= is not given; give the folder that `dabfusion prepare` wrote.")
    # `prepare` writes dataset.json last, so a folder that has it is complete.
    data = Path(settings.data)
    if not (data / "dataset.json").is_file():
        found = "holds no dataset.json" if data.is_dir() else "is not a folder"
        raise SettingsError(
            f'data="{data}" {found}; give the folder that `dabfusion prepare VIDEOS FOLDER` wrote.'
        )
    if stage == "diffusion":
        if not settings.autoencoder:
            raise SettingsError(
                "autoencoder= is not given, and the diffusion builds on a trained stage 1; give "
                "the run folder of `dabfusion train autoencoder`."
            )
        from lightning_modules.checkpoints import read_metadata  # loads torch, two seconds

        read_metadata(settings.autoencoder)
    if stage in ("diffusion", "music-adapter"):
        _check_music(settings)


def _check_music(settings: Settings) -> None:
    for name, (key, expected) in _ENCODERS.items():
        path = getattr(settings.music, key)
        if not getattr(settings.music, name):
            continue
        if not path:
            raise SettingsError(
                f"music.{name} is on, but music.{key} is empty; give the path of {expected}, or "
                f"set music.{name}=false (music.spectral=true needs no weights)."
            )
        if not Path(path).exists():
            raise SettingsError(
                f'music.{key}="{path}" does not exist; give the path of {expected}.'
            )
