"""Saved models: weights with all that is needed to use them, loaded without pickle's code."""

import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch

from galahstream import validation
from galahstream.errors import CheckpointError, SourceMissingError
from galahstream.learn.models.cnn import SpectraCNN
from galahstream.learn.recipe import Recipe
from galahstream.system.atomic import atomic_write

_KIND = "galahstream model"
_VERSION = 1


def save_model(model: SpectraCNN, path: Path) -> None:
    """Write a model that has a recipe, atomic_write the file whole."""
    assert model.recipe is not None
    recipe = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(model.recipe).items()
    }
    weights = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    content = {"kind": _KIND, "version": _VERSION, "recipe": recipe, "weights": weights}
    with atomic_write(path) as temporary:
        torch.save(content, temporary)


def load_model(path: str | os.PathLike[str]) -> SpectraCNN:
    """Load a saved model, ready to evaluate and predict with.

    Returns
    -------
    SpectraCNN
        On the CPU, in evaluation mode, with its `recipe`.

    Raises
    ------
    SourceMissingError
        If the file is not there.
    CheckpointError
        If it is no model of galahstream, damaged, or of a newer version.
    """
    file = Path(path)
    if not file.is_file():
        msg = f"{file} is not there; expected a model.pt that 'galahstream train' saved"
        raise SourceMissingError(msg)
    why = find_corruption(file)
    if why is not None:
        msg = f"{file}: no saved model, or a damaged one ({why}); train again"
        raise CheckpointError(msg)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler meets
        first_line = str(error).split("\n", 1)[0]
        msg = f"{file}: no saved model, or a damaged one ({first_line}); train again"
        raise CheckpointError(msg) from error
    if not isinstance(content, Mapping) or content.get("kind") != _KIND:
        msg = f"{file}: not a model that galahstream saved; expected a model.pt of 'train'"
        raise CheckpointError(msg)
    if content.get("version") != _VERSION:
        msg = f"{file}: version {content.get('version')} of the format, and this galahstream reads "
        raise CheckpointError(msg + f"version {_VERSION}; install a newer one")
    try:
        recipe = _recipe(content["recipe"])
        with torch.device("meta"):  # no memory is taken for what the file only claims
            model = SpectraCNN(recipe.n_pixels, len(recipe.labels))
        model.load_state_dict(_weights(content["weights"]), assign=True)
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        msg = f"{file}: weights and architecture do not fit each other ({error}); train again"
        raise CheckpointError(msg) from error
    model.recipe = recipe
    return model.eval()


def find_corruption(file: Path) -> str | None:
    """Return what is wrong with the entries of a file that torch saved; None if nothing is.

    Torch looks neither at their checksums nor at what they claim when it loads them.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                return "entries that are compressed"
            claimed, size = sum(entry.file_size for entry in entries), file.stat().st_size
            if claimed > size:
                return f"entries of {claimed:,} bytes in a file of {size:,}"
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        return str(error)
    return None if damaged is None else f"{damaged} has another checksum than its own"


def _weights(stored: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    for name, weights in stored.items():
        if weights.dtype != torch.float32 or not weights.is_contiguous():
            msg = f"{name} is {weights.dtype}, or no plain array"
            raise ValueError(msg)
    return dict(stored)


def _limits(stored: Any) -> tuple[float, float] | None:
    if stored is None:
        return None
    low, high = validation.sequence(stored, validation.number, minimum=2, maximum=2)
    return low, high


def _recipe(stored: Any) -> Recipe:
    found = validation.mapping(stored, *(field.name for field in fields(Recipe)))
    labels = validation.sequence(found["labels"], validation.text, minimum=1, maximum=4096)
    of_labels = partial(validation.sequence, minimum=len(labels), maximum=len(labels))
    window = found["window"]
    return Recipe(
        n_pixels=validation.integer(found["n_pixels"], minimum=1, maximum=2**31),
        labels=labels,
        units=of_labels(found["units"], validation.text),
        mean=of_labels(found["mean"], validation.number),
        std=of_labels(found["std"], partial(validation.number, above=0)),
        floor=validation.number(found["floor"], above=0),
        fill=validation.number(found["fill"], above=0),
        window=validation.text(window) if isinstance(window, str) else _limits(window),
        wavelength_range=_limits(found["wavelength_range"]),
        split_fingerprint=validation.text(found["split_fingerprint"]),
        seed=validation.integer(found["seed"]),
    )
