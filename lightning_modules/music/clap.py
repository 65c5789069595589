"""The frozen audio tower of CLAP (Wu et al., arXiv 2211.06687); the only file using laion_clap.

laion_clap's own HTSAT network is used without running that package's `__init__`, which fetches text
tokenizers and needs torchvision. Weights are LAION's `.pt` checkpoints or a folder of a Hugging
Face CLAP model: the same network under other names.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lightning_modules.errors import CheckpointError
from lightning_modules.pickled import read_pickled

SAMPLE_RATE = 48_000
WINDOW_SAMPLES = 480_000
"""Samples of the tower's input, 10 s."""
TOKENS = 32
"""Tokens in time over those 10 s."""

#: HTSAT as LAION configures it (HTSAT-tiny.json, HTSAT-base.json), by the width of its first layer.
_WIDTHS = {96: "tiny", 128: "base", 256: "large"}
_AUDIO = {
    "audio_length": 1024,
    "clip_samples": WINDOW_SAMPLES,
    "mel_bins": 64,
    "sample_rate": SAMPLE_RATE,
    "window_size": 1024,
    "hop_size": 480,
    "fmin": 50,
    "fmax": 14_000,
    "class_num": 527,
    "model_type": "HTSAT",
}
#: Hugging Face's names -> LAION's, in this order.
_RENAMED = (
    (r"^audio_model\.audio_encoder\.", "audio_branch."),
    (r"^audio_projection\.linear1\.", "audio_projection.0."),
    (r"^audio_projection\.linear2\.", "audio_projection.2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.attention\.self\.", ".attn."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.batch_norm\.", ".bn0."),
)
#: Parts of the tower that make class scores or spectrograms, which no checkpoint has to bring.
_UNUSED = ("tscam_conv.", "head.", "spectrogram_extractor.", "logmel_extractor.")


@dataclass
class ClapFeatures:
    """CLAP's features of N windows."""

    embedding: Tensor
    """(N, 512), of unit length: the joint embedding with text."""
    tokens: Tensor
    """(N, 32, D): tokens over time; D is 768 for HTSAT-tiny."""


class ClapAudioEncoder(nn.Module):
    """HTSAT and the projection to the joint embedding.

    Args:
        width: Channels of HTSAT's first layer: 96 (tiny), 128 (base) or 256 (large).
    """

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        if width not in _WIDTHS:
            raise ValueError(f"HTSAT has width {', '.join(map(str, _WIDTHS))}, not {width}.")
        config = SimpleNamespace(**_AUDIO, model_name=_WIDTHS[width])
        with _tower_module() as htsat:
            self.audio_branch = htsat.create_htsat_model(config)
        self.token_dim = 8 * width
        self.audio_projection = nn.Sequential(
            nn.Linear(self.token_dim, 512), nn.ReLU(), nn.Linear(512, 512)
        )
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, waveform: Tensor) -> ClapFeatures:
        """Windows (N, S) at 48 kHz in [-1, 1] -> features.

        Shorter windows are repeated and padded with silence to 10 s, as in LAION's training; of
        longer ones only the first 10 s are used (LAION crops at random, so that embeddings differ
        between calls).
        """
        tower = self.audio_branch
        power = tower.spectrogram_extractor(fill_window(waveform))
        return self.from_mel(tower.logmel_extractor(power))

    @torch.no_grad()
    def from_mel(self, mel: Tensor) -> ClapFeatures:
        """Log-mel spectrograms (N, 1, 1001, 64) in decibels -> features."""
        tower = self.audio_branch
        normal = tower.bn0(mel.transpose(1, 3)).transpose(1, 3)
        features = tower.forward_features(tower.reshape_wav2img(normal))
        fine = features["fine_grained_embedding"]
        tokens = fine[:, :: fine.shape[1] // TOKENS]
        embedding = F.normalize(self.audio_projection(features["embedding"]), dim=-1)
        return ClapFeatures(embedding, tokens)


def fill_window(waveform: Tensor) -> Tensor:
    """Samples (N, S) -> (N, 480000): the first 10 s, or whole repetitions and then silence."""
    samples = waveform.shape[-1]
    if samples == 0:
        raise ValueError("A window for CLAP has no samples.")
    if samples >= WINDOW_SAMPLES:
        return waveform[..., :WINDOW_SAMPLES]
    repeated = waveform.repeat(1, WINDOW_SAMPLES // samples)
    return F.pad(repeated, (0, WINDOW_SAMPLES - repeated.shape[-1]))


def tokens_of_frames(tokens: Tensor, frames: int, fps: float) -> Tensor:
    """Tokens (N, 32, D) -> one per video frame, (N, T, D), interpolated linearly in time."""
    step_s = WINDOW_SAMPLES / SAMPLE_RATE / tokens.shape[1]
    place = torch.arange(frames, device=tokens.device) / fps / step_s - 0.5
    place = place.clamp(0, tokens.shape[1] - 1)
    low = place.floor().long().clamp_max(tokens.shape[1] - 2)
    share = (place - low)[None, :, None].to(tokens.dtype)
    return tokens[:, low] * (1 - share) + tokens[:, low + 1] * share


def load_clap(path: str | Path) -> ClapAudioEncoder:
    """Load the frozen tower with LAION's weights (`.pt`) or those of a Hugging Face folder.

    Raises:
        CheckpointError: No weights were given or found, or they are of another network.
    """
    if not str(path):
        raise CheckpointError(
            "This model needs CLAP's music features, but no CLAP weights were given: get LAION's "
            "music_audioset_epoch_15_esc_90.14.pt or 630k-audioset-best.pt (laion_clap on Hugging "
            "Face), and pass its path as music.clap_weights=PATH (generate: --clap-weights PATH)."
        )
    path = Path(path)
    state = _state(path)
    encoder = ClapAudioEncoder(_width(state, path))
    wanted = encoder.state_dict()
    tower = ("audio_branch.", "audio_projection.")
    unknown = [k for k in state if k.startswith(tower) and k not in wanted and not _is_unused(k)]
    if any("fusion" in name or ".mel_conv" in name for name in unknown):
        raise CheckpointError(
            f"{path} is a CLAP checkpoint with feature fusion ({unknown[0]}), a different network: "
            "give one without, such as LAION's music_audioset_epoch_15_esc_90.14.pt or "
            "630k-audioset-best.pt (not 630k-audioset-fusion-best.pt)."
        )
    if unknown:
        raise CheckpointError(
            f"{path} has {unknown[0]} (and {len(unknown) - 1} more), which CLAP's HTSAT audio "
            "tower does not have: give one of LAION's checkpoints without fusion."
        )
    fixed = {
        k: v for k, v in wanted.items() if _is_unused(k) or k.endswith(("_index", "attn_mask"))
    }
    try:
        encoder.load_state_dict({**fixed, **{k: v for k, v in state.items() if k in wanted}})
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} lacks parts of CLAP's audio tower ({str(error).splitlines()[-1].strip()}): "
            "give a whole checkpoint without fusion."
        ) from error
    return encoder


def token_dim(path: str | Path) -> int:
    """Width of the tokens under some weights: 768 for HTSAT-tiny, 1024 for HTSAT-base, which
    LAION's music checkpoints are.

    Raises:
        CheckpointError: No weights found, or those of another network.
    """
    return 8 * _width(_state(Path(path)), Path(path))


def _state(path: Path) -> dict[str, Tensor]:
    return _folder_state(path) if path.is_dir() else _checkpoint_state(path)


def _width(state: Mapping[str, Tensor], path: Path) -> int:
    first = state.get("audio_branch.patch_embed.proj.weight")
    if first is None or first.shape[0] not in _WIDTHS:
        raise CheckpointError(
            f"{path} has no CLAP audio tower of type HTSAT (audio_branch.*): give one of "
            "LAION's CLAP checkpoints without fusion, or a Hugging Face CLAP folder."
        )
    return int(first.shape[0])


def weights_digest(path: str | Path) -> str:
    """16 hex digits of the SHA-256 of a checkpoint file, or of a folder's weight files."""
    path = Path(path)
    files = sorted(path.glob("*.safetensors")) + sorted(path.glob("*.bin"))
    digest = hashlib.sha256()
    for file in files if path.is_dir() else [path]:
        with file.open("rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()[:16]


def _checkpoint_state(path: Path) -> dict[str, Tensor]:
    loaded = read_pickled(path, "CLAP weights of LAION")
    state = loaded.get("state_dict", loaded)
    prefix = "module."
    return {name.removeprefix(prefix): value for name, value in state.items()}


def _folder_state(path: Path) -> dict[str, Tensor]:
    """LAION's names for the weights of a Hugging Face folder."""
    weights = path / "model.safetensors"
    try:
        if weights.is_file():
            state: Mapping[str, Any] = load_file(weights)
        else:
            state = read_pickled(path / "pytorch_model.bin", "weights of a Hugging Face CLAP")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{weights} is damaged: download it again.") from error
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    for kind in ("weight", "bias"):
        for name in [n for n in renamed if n.endswith(f".attn.query.{kind}")]:
            stem = name.removesuffix(f"query.{kind}")
            parts = [renamed.pop(f"{stem}{part}.{kind}") for part in ("query", "key", "value")]
            renamed[f"{stem}qkv.{kind}"] = torch.cat(parts)
    return renamed


def _is_unused(name: str) -> bool:
    return name.removeprefix("audio_branch.").startswith(_UNUSED)


@contextmanager
def _tower_module() -> Iterator[Any]:
    """laion_clap's `clap_module.htsat`, imported without the package around it.

    A bare package named `clap_module` with the right path stands in while it is imported, and a
    placeholder for torchvision's frozen batch norm where torchvision is absent (it is named in a
    helper that inference never calls). Both are taken out again.
    """
    found = importlib.util.find_spec("laion_clap")
    if found is None or not found.submodule_search_locations:
        raise CheckpointError(
            "CLAP needs the package laion-clap, which is not installed: pip install laion-clap."
        )
    # htsat imports librosa: as in `datamodules.media.audio`, numba's code for some processors
    # (znver5) ends the process, so it is restricted to baseline instructions here, too.
    if "NUMBA_CPU_NAME" not in os.environ:
        os.environ.update(NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")
    before = dict(sys.modules)
    package = ModuleType("clap_module")
    package.__path__ = [str(Path(found.submodule_search_locations[0]) / "clap_module")]
    sys.modules["clap_module"] = package
    if importlib.util.find_spec("torchvision") is None:
        for name in ("torchvision", "torchvision.ops", "torchvision.ops.misc"):
            sys.modules[name] = ModuleType(name)
        placeholder = type("FrozenBatchNorm2d", (nn.Module,), {})
        vars(sys.modules["torchvision.ops.misc"])["FrozenBatchNorm2d"] = placeholder
    try:
        yield importlib.import_module("clap_module.htsat")
    finally:
        for name in [n for n in sys.modules if n.split(".")[0] in ("clap_module", "torchvision")]:
            if name in before:
                sys.modules[name] = before[name]
            elif name.startswith("clap_module") or "torchvision" not in before:
                del sys.modules[name]
