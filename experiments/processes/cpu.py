"""CPU threads of this process, and how it keeps freed memory."""

from __future__ import annotations

import ctypes
import platform

# From glibc's malloc.h, which ctypes cannot read.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def set_up_processor(threads: int = 0) -> None:
    """Prepare for training or sampling on the CPU; results do not change.

    Without a GPU, glibc is told to reuse large blocks instead of returning each to the system:
    PyTorch allocates the output of every operation anew, and a block above 32 MB would be mapped,
    cleared and unmapped each time, which slows down networks of the published size. The peak of
    memory grows a little, because freed blocks do not always fit the next request.

    Args:
        threads: Threads for arithmetic; 0 keeps the PyTorch default.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    if not torch.cuda.is_available() and platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)  # never
