"""Choosing where a network runs."""

import torch

from galahstream.errors import DeviceError


def choose_device(name: str = "auto") -> torch.device:
    """Return a device by name; ``"auto"`` takes cuda, else mps, else cpu.

    Raises
    ------
    DeviceError
        If this machine does not have the device; the message lists those it has.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    kinds = ["cpu"] if accelerator is None else [accelerator.type, "cpu"]
    if name == "auto":
        return torch.device(kinds[0])
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    known = device is not None and device.type in kinds
    if device is not None and known and device.type != "cpu" and device.index is not None:
        known = device.index < torch.accelerator.device_count()
    if device is None or not known:
        msg = f"device {name!r} is not on this machine; it has {', '.join(kinds)} (or 'auto')"
        raise DeviceError(msg)
    return device
