"""What runs where: versions, threads and devices in use."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("torch", "numpy", "h5py", "tensorboard", "xxhash", "numba", "astropy", "matplotlib")


def show_config() -> None:
    """Print the versions of galahstream and what it uses, threads, and devices."""
    import torch

    from galahstream._version import __version__
    from galahstream.stream.device import choose_device
    from galahstream.stream.kernels import best_kernels

    print(f"galahstream {__version__}, Python {platform.python_version()}, {platform.system()}")
    for package in _PACKAGES:
        try:
            print(f"{package} {version(package)}")
        except PackageNotFoundError:
            print(f"{package} not installed")
    print(f"cores {os.cpu_count()}, torch threads {torch.get_num_threads()}")
    print(f"device {choose_device()}")
    print(f"kernels {best_kernels().name}")
