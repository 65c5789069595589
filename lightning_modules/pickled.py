"""Read pickled checkpoints without running any code that they contain.

PyTorch's `weights_only=True` reads pickle protocol 2. Published checkpoints were also written with
protocols 3 to 5 and hold NumPy scalars (epoch numbers, scores), which are admitted here by name.
"""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from lightning_modules.errors import CheckpointError

#: The types of NumPy's numeric scalars.
_DTYPES = tuple(type(np.dtype(kind)) for kind in "?bBhHiIlLqQefdFD")
#: The function `scalar(dtype, bytes)`, which rebuilds a NumPy scalar.
_SCALAR: Any = np.float64(0).__reduce__()[0]
#: What NumPy scalars are made of; `scalar` under its name in NumPy 1 and in NumPy 2.
_NUMPY: dict[str, Any] = {
    "numpy.core.multiarray.scalar": _SCALAR,
    "numpy._core.multiarray.scalar": _SCALAR,
    "numpy.dtype": np.dtype,
    **{f"{kind.__module__}.{kind.__qualname__}": kind for kind in _DTYPES},
}
#: What rebuilds tensors and plain containers. Storages are resolved by `torch.load` itself.
_TORCH = {
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch.nn.parameter.Parameter",
    "torch.Size",
    "torch.device",
    "_codecs.encode",  # bytes, as protocol 2 writes them
}


class _Unpickler(pickle.Unpickler):
    """Resolves the names of `_NUMPY` and `_TORCH` and the types of torch, and no others."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in _NUMPY:
            return _NUMPY[full]
        if full in _TORCH:
            return super().find_class(module, name)
        # Protocol 4 follows dots in names, so that a name could lead anywhere.
        if (
            module in ("torch", "torch.storage")
            and "." not in name
            and (name.endswith("Storage") or isinstance(getattr(torch, name, None), torch.dtype))
        ):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{full} is not allowed in a checkpoint")


def _load(file: Any, **arguments: Any) -> Any:
    return _Unpickler(file, **arguments).load()


def read_pickled(path: Path, what: str) -> dict[str, Any]:
    """Read a dictionary of tensors, containers and numbers; nothing else is ever unpickled.

    Args:
        path: A file written by `torch.save`, with any pickle protocol.
        what: What is expected, for the messages.

    Raises:
        CheckpointError: The file does not exist, is damaged, or it holds other objects.
    """
    try:
        try:
            admitted: list[Any] = [(value, name) for name, value in _NUMPY.items()]
            with torch.serialization.safe_globals(admitted), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on the protocol; see below
                loaded = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            module = SimpleNamespace(__name__=__name__, Unpickler=_Unpickler, load=_load)
            loaded = torch.load(path, map_location="cpu", weights_only=False, pickle_module=module)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist; expected {what}.") from error
    except Exception as error:  # torch.load raises a dozen types for other files
        raise CheckpointError(
            f"{path} cannot be read as {what}: it is not a PyTorch checkpoint, is damaged, or "
            "holds objects other than tensors and numbers, which are never unpickled here; give "
            "the original file."
        ) from error
    if not isinstance(loaded, dict):
        raise CheckpointError(
            f"{path} holds a {type(loaded).__name__}; expected a dictionary with {what}."
        )
    return loaded
