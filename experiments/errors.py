"""Error messages in one sentence, and the exit statuses of `dabfusion`.

Errors caused by the user's input have their own types (`SettingsError` here, `DataError` in
`datamodules.errors`, `CheckpointError` in `lightning_modules.errors`); their message is the
sentence. Errors of the operating system (no such file, no permission, no space) are turned into a
sentence by `explain`. Everything else is an internal error, whose traceback is logged.
"""

from __future__ import annotations

import errno
import re
import sys

DONE = 0
FAULT = 1
USER_ERROR = 2
INTERRUPTED = 130

#: Modules and names of errors whose message is a sentence for the user, looked up among the
#: loaded modules, because an error cannot come from a module that is not loaded.
_SENTENCES = (
    ("experiments.errors", "SettingsError"),
    ("experiments.errors", "RankLost"),
    ("datamodules.errors", "DataError"),
    ("lightning_modules.errors", "CheckpointError"),
)

_DISK = {
    errno.ENOSPC: "there is no space left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "it would be larger than the system allows",
    errno.EROFS: "the file system is read-only",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "the symbolic links form a circle",
    errno.EMFILE: "too many files are open",
}


class SettingsError(ValueError):
    """A setting, a command line or a run folder that cannot be used, in one sentence."""


class RankLost(RuntimeError):
    """Another process of a run has ended or does not answer: a fault that needs no traceback."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, with a sentence that says what was saved."""


def explain(error: BaseException) -> str | None:
    """Return the sentence for an error of the user, or None for an internal error."""
    for module_name, class_name in _SENTENCES:
        kind = getattr(sys.modules.get(module_name), class_name, None)
        if kind is not None and isinstance(error, kind):
            return one_sentence(str(error))
    if isinstance(error, OSError):
        return _explain_os_error(error)
    safetensors = sys.modules.get("safetensors")
    if safetensors is not None and isinstance(error, safetensors.SafetensorError):
        # Its messages end with the system's error number: "... (os error 28)".
        number = re.search(r"os error (\d+)", str(error))
        return _explain_os_error(OSError(int(number[1]), str(error))) if number else None
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return (
            "The GPU does not have enough memory for this batch; lower the stage's batch_size, or "
            "set run.precision=bf16-mixed."
        )
    return None


def one_sentence(text: str) -> str:
    """Return a text on one line, with a full stop at the end."""
    folded = " ".join(text.split())
    return folded if folded.endswith((".", "?", "!")) else folded + "."


def _explain_os_error(error: OSError) -> str | None:
    name = error.filename2 or error.filename
    if isinstance(name, bytes):
        name = name.decode(errors="replace")
    # Errors of libraries (libsndfile, FFmpeg) may have no file name; their text then names it.
    place = f'"{name}"' if name else None
    if isinstance(error, FileNotFoundError):
        return f"There is no file or folder {place}." if place else one_sentence(str(error))
    if isinstance(error, PermissionError):
        return f"You have no permission to use {place or 'a file'}; check its owner and mode."
    if isinstance(error, IsADirectoryError):
        return f"{place or 'The path'} is a folder where a file was expected."
    if isinstance(error, NotADirectoryError | FileExistsError):
        return f"{place or 'The path'} is a file where a folder was expected."
    if error.errno in _DISK:
        where = f" at {place}" if place else ""
        return f"The file could not be written{where}: {_DISK[error.errno]}."
    return None
