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
    *("dabfusion-lightning", "torch", "lightning", "diffusers", "torchmetrics", "wandb"),
    *("omegaconf", "numpy", "librosa", "laion-clap", "decord", "av"),
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
    """Return the provenance of a run of a stage that starts now."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
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
        "code": code_state(Path(__file__).parents[2]),
        "versions": versions,
        "machine": machine(),
        "data_digest": data_digest(Path(settings.data)),
        "autoencoder_digest": stage1_digest(settings) if stage == "diffusion" else None,
        "resumed": [],
        "finished": None,
    }


def code_state(root: Path) -> dict[str, Any]:
    """Return the commit of a checkout and its changes; empty for an installed copy.

    `diff` holds the changes and `untracked` the new source files as {path: text}, each cut off
    after `DIFF_LIMIT` characters in total; `diff_sha256` is the hash of both in full.
    """

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        with suppress(OSError, subprocess.SubprocessError, UnicodeDecodeError):
            return subprocess.run(
                command, capture_output=True, text=True, timeout=20, check=True
            ).stdout
        return ""

    commit = git("rev-parse", "HEAD").strip()
    if not commit or not (root / ".git").exists():
        return {}
    diff, untracked = git("diff", "HEAD"), {}
    listed = git("ls-files", "-z", "--others", "--exclude-standard", "--", *SOURCES)
    for name in filter(None, listed.split("\0")):
        untracked[name] = ""
        with suppress(OSError, UnicodeDecodeError):
            untracked[name] = (root / name).read_text(encoding="utf-8")
    left, kept = DIFF_LIMIT, {}
    for name, text in untracked.items():
        kept[name] = text[:left]
        left -= len(kept[name])
    dirty = bool(diff.strip() or untracked)
    everything = diff + json.dumps(untracked, sort_keys=True)
    return {
        "commit": commit,
        "dirty": dirty,
        "diff": diff[:DIFF_LIMIT],
        "untracked": kept,
        "diff_sha256": hashlib.sha256(everything.encode()).hexdigest() if dirty else None,
    }


def machine() -> dict[str, Any]:
    """Return processor, memory and GPUs of this machine, without its name or address."""
    import torch

    processor, memory = platform.processor() or platform.machine(), None
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        named = next(line for line in lines if line.startswith("model name"))
        processor = named.partition(":")[2].strip()
    with suppress(AttributeError, ValueError, OSError):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # Not all cores of a shared machine are this process's; macOS cannot tell.
    affinity = getattr(os, "sched_getaffinity", None)
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "system": platform.system(),
        "processor": processor,
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": memory,
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
