"""What a user can get wrong with trained networks."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A checkpoint or export is not what was expected; the message is one sentence for the user.

    It names the file, what was found, what was expected and what to do.
    """
