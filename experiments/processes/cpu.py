"""CPU threads of this process, and how it keeps freed memory."""

from __future__ import annotations

import ctypes
import platform

# From glibc's malloc.h, which ctypes cannot read.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def set_up_processor(threads: int = 0) -> None:
    """Prepare for training or sampling on the CPU; results do not change.

    Args:
        threads: Threads for arithmetic; 0 keeps the PyTorch default.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    if not torch.cuda.is_available():
        keep_freed_memory()


def keep_freed_memory() -> bool:
    """Make the C library reuse large blocks instead of returning each to the system.

    PyTorch allocates the output of every operation anew. glibc maps each block above 32 MB from the
    system and unmaps it when it is freed, and the system clears its pages at the next use. That
    slows down networks of the published size, whose blocks are that large. The peak of memory grows
    a little, because freed blocks do not always fit the next request.

    Returns:
        Whether the C library is glibc and accepted the settings.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_M_MMAP_MAX, 0) and library.mallopt(_M_TRIM_THRESHOLD, _NEVER))
