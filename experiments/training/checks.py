"""What a training reads, checked before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path

from experiments.config.load import Settings
from experiments.errors import SettingsError


def check_inputs(settings: Settings, stage: str) -> None:
    """Whether the folders that the settings name are what they should be.

    Args:
        settings: Resolved.
        stage: `autoencoder`, `diffusion` or `music-adapter`.

    Raises:
        SettingsError: If one is not given, missing, or something else.
    """
    if not settings.data:
        raise SettingsError("data= is not given; give the folder that `dabfusion prepare` wrote.")
    data = Path(settings.data)
    if not (data / "dataset.json").is_file():
        found = "holds no dataset.json" if data.is_dir() else "is no folder"
        raise SettingsError(
            f'data="{data}" {found}; give the folder that `dabfusion prepare VIDEOS FOLDER` wrote.'
        )
    if stage == "diffusion":
        _check_autoencoder(settings.autoencoder)
    if stage in ("diffusion", "music-adapter"):
        _check_music(settings)


def _check_music(settings: Settings) -> None:
    music = settings.music
    wanted = (
        ("clap", "a CLAP checkpoint of LAION or a Hugging Face CLAP folder", music.clap_weights),
        ("clap_tokens", "a CLAP checkpoint or folder", music.clap_weights),
        ("wav2clip", "the released Wav2CLIP.pt", music.wav2clip_weights),
    )
    for name, what, path in wanted:
        if not getattr(music, name):
            continue
        key = f"music.{'wav2clip' if name == 'wav2clip' else 'clap'}_weights"
        if not path:
            raise SettingsError(
                f"music.{name} is on, but {key} is empty; give the path of {what}, or set "
                f"music.{name}=false (music.spectral=true needs no weights)."
            )
        if not Path(path).exists():
            raise SettingsError(f'{key}="{path}" does not exist; give the path of {what}.')


def _check_autoencoder(given: str) -> None:
    if not given:
        raise SettingsError(
            "autoencoder= is not given, and the diffusion builds on a trained stage 1; give the "
            "run folder of `dabfusion train autoencoder`."
        )
    folder = Path(given)
    if not folder.is_dir():
        raise SettingsError(
            f'autoencoder="{folder}" is no folder; give the run or export folder of stage 1.'
        )
    places = (folder, folder / "export", folder / "autoencoder")
    if any((place / "autoencoder.safetensors").is_file() for place in places):
        return
    if (folder / "model_index.json").is_file() or (folder / "export/model_index.json").is_file():
        raise SettingsError(
            f'autoencoder="{folder}" is a trained diffusion; give the run folder of stage 1, '
            "of `dabfusion train autoencoder`."
        )
    if (folder / "manifest.json").is_file():
        raise SettingsError(
            f'autoencoder="{folder}" is a run without exported networks: it has not finished, '
            "or is not of stage 1; finish it with resume=auto."
        )
    raise SettingsError(
        f'autoencoder="{folder}" holds no trained stage 1 (autoencoder.safetensors); give the run '
        "folder of `dabfusion train autoencoder`."
    )
