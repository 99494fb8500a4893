"""Versions, threads, devices and kernels in use."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("torch", "numpy", "h5py", "tensorboard", "xxhash", "numba", "astropy", "matplotlib")


def environment() -> dict[str, str]:
    """Return the versions of galahstream and its dependencies, threads, device and kernels."""
    import torch

    from galahstream._version import __version__
    from galahstream.stream.device import choose_device
    from galahstream.stream.kernels import best_backend

    backend = best_backend()
    problem = f" (numba cannot be used: {backend.problem})" if backend.problem else ""
    return {
        "galahstream": __version__,
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **{package: _version(package) for package in _PACKAGES},
        "cores": str(os.cpu_count()),
        "torch threads": str(torch.get_num_threads()),
        "device": str(choose_device()),
        "kernels": backend.name + problem,
    }


def show_config() -> None:
    """Print the versions of galahstream and its dependencies, threads, device and kernels."""
    for name, value in environment().items():
        print(f"{name} {value}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
