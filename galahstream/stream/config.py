"""Versions, threads, devices and kernels in use."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("torch", "numpy", "h5py", "tensorboard", "xxhash", "numba", "astropy", "matplotlib")


def show_config() -> None:
    """Print the versions of galahstream and its dependencies, threads, device and kernels."""
    import torch

    from galahstream._version import __version__
    from galahstream.stream.device import choose_device
    from galahstream.stream.kernels import best_backend

    print(f"galahstream {__version__}, Python {platform.python_version()}, {platform.system()}")
    for package in _PACKAGES:
        try:
            print(f"{package} {version(package)}")
        except PackageNotFoundError:
            print(f"{package} not installed")
    print(f"cores {os.cpu_count()}, torch threads {torch.get_num_threads()}")
    print(f"device {choose_device()}")
    backend = best_backend()
    problem = f" (numba cannot be used: {backend.problem})" if backend.problem else ""
    print(f"kernels {backend.name}{problem}")
