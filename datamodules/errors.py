"""The error that data of the user's raises."""

from __future__ import annotations


class DataError(ValueError):
    """A file or folder cannot be used as data.

    The message is one sentence that names the file, what was found and what was expected.
    """
