"""Provenance of a run: code, versions, machine, data, command."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import shlex
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from experiments.config.load import Settings
from experiments.runs.folder import FORMAT

#: Packages whose versions affect the results.
PACKAGES = (
    "dabfusion-lightning",
    "torch",
    "lightning",
    "diffusers",
    "torchmetrics",
    "wandb",
    "omegaconf",
    "numpy",
    "librosa",
    "laion-clap",
    "decord",
    "av",
)
#: Patterns of the source files for git, where `*` matches any path. Not the whole checkout, which
#: may hold a virtual environment or data.
SOURCES = tuple(
    f"{package}/*.{suffix}"
    for package in ("datamodules", "experiments", "lightning_modules", "metrics")
    for suffix in ("py", "yaml")
)
#: Characters of uncommitted changes that a manifest keeps.
DIFF_LIMIT = 100_000


def build_manifest(settings: Settings, stage: str) -> dict[str, Any]:
    """Return the provenance of a run that starts now.

    Args:
        settings: The resolved settings.
        stage: `autoencoder`, `diffusion` or `music-adapter`.
    """
    return {
        "format": FORMAT,
        "stage": stage,
        "preset": settings.preset,
        "seed": settings.seed,
        "notices": settings.notices(stage),
        # An agent of a Weights & Biases sweep has already named the run.
        "wandb_id": os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4),
        "command": shlex.join(["dabfusion", *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "code": code_state(),
        "versions": versions(),
        "machine": machine(),
        "data_digest": data_digest(Path(settings.data)) if settings.data else None,
        "autoencoder_digest": stage1_digest(settings) if stage == "diffusion" else None,
        "resumed": [],
        "finished": None,
    }


def code_state(root: Path | None = None) -> dict[str, Any]:
    """Return the commit of this checkout and its changes; empty for an installed copy.

    `diff` holds the changes and `untracked` the new source files as {path: text}, each cut off
    after `DIFF_LIMIT` characters in total; `diff_sha256` is the hash of both in full.

    Args:
        root: The checkout; None for the one that contains this module.
    """
    root = root or Path(__file__).resolve().parents[2]
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None or not (root / ".git").exists():
        return {}
    diff = _git(root, "diff", "HEAD") or ""
    untracked = _untracked(root)
    left, kept = DIFF_LIMIT, {}
    for name, text in untracked.items():
        kept[name] = text[:left]
        left -= len(kept[name])
    dirty = bool(diff.strip() or untracked)
    everything = diff + json.dumps(untracked, sort_keys=True)
    return {
        "commit": commit.strip(),
        "dirty": dirty,
        "diff": diff[:DIFF_LIMIT],
        "untracked": kept,
        "diff_sha256": hashlib.sha256(everything.encode()).hexdigest() if dirty else None,
    }


def _untracked(root: Path) -> dict[str, str]:
    """Return the text of source files that git neither tracks nor ignores."""
    listed = _git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *SOURCES) or ""
    found = {}
    for name in filter(None, listed.split("\0")):
        try:
            found[name] = (root / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            found[name] = ""
    return found


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that affect the results."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def machine() -> dict[str, Any]:
    """Return processor, memory and GPUs of this machine, without its name or address."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "system": platform.system(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": _memory_bytes(),
        "gpus": gpus,
        "cuda": torch.version.cuda if gpus else None,
    }


def stage1_digest(settings: Settings) -> str | None:
    """Return the digest of the stage 1 in the setting `autoencoder`; None if that is empty."""
    from lightning_modules.checkpoints import read_metadata

    return read_metadata(settings.autoencoder)["digest"] if settings.autoencoder else None


def data_digest(data: Path) -> str | None:
    """Return the digest in `dataset.json` of a prepared folder, or else that of the file."""
    try:
        text = (data / "dataset.json").read_text(encoding="utf-8")
        digest = json.loads(text).get("digest")
    except (OSError, ValueError, AttributeError):
        return None
    return str(digest) if digest else hashlib.sha256(text.encode()).hexdigest()


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None
