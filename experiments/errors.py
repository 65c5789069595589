"""Error messages in one sentence, and the exit statuses of `dabfusion`.

Errors caused by the user's input have their own types (`SettingsError` here, `DataError` in
`datamodules.errors`, `CheckpointError` in `lightning_modules.errors`); their message is the
sentence. Errors of the operating system (no such file, no permission, no space) are turned into a
sentence by `explain`. Everything else is an internal error, whose traceback is logged.
"""

from __future__ import annotations

import errno
import re

DONE = 0
FAULT = 1
USER_ERROR = 2
INTERRUPTED = 130

#: Errors whose message is a sentence for the user, by name: their modules may not be loaded.
_SENTENCES = {
    "experiments.arguments.UsageError",
    "experiments.errors.SettingsError",
    "experiments.errors.RankLost",
    "datamodules.errors.DataError",
    "lightning_modules.errors.CheckpointError",
}
#: Errors of paths: the sentence, and what to call a path without a name.
_PATHS: dict[type[OSError], tuple[str, str]] = {
    FileNotFoundError: ("There is no file or folder {}.", "at the path"),
    PermissionError: ("You have no permission to use {}; check its owner and mode.", "a file"),
    IsADirectoryError: ("{} is a folder where a file was expected.", "The path"),
    NotADirectoryError: ("{} is a file where a folder was expected.", "The path"),
    FileExistsError: ("{} is a file where a folder was expected.", "The path"),
}
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
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    if names & _SENTENCES:
        return one_sentence(str(error))
    if isinstance(error, OSError):
        return _explain_os_error(error)
    if type(error).__name__ == "SafetensorError":
        # Its messages end with the system's error number: "... (os error 28)".
        number = re.search(r"os error (\d+)", str(error))
        return _explain_os_error(OSError(int(number[1]), str(error))) if number else None
    if "torch.OutOfMemoryError" in names:
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
    if isinstance(error, FileNotFoundError) and not name:
        return one_sentence(str(error))
    if type(error) in _PATHS:
        sentence, unnamed = _PATHS[type(error)]
        return sentence.format(f'"{name}"' if name else unnamed)
    if error.errno in _DISK:
        where = f' at "{name}"' if name else ""
        return f"The file could not be written{where}: {_DISK[error.errno]}."
    return None
