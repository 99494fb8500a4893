"""The networks, by the names that model files contain.

Examples
--------
>>> build_network({"name": "cnn", "n_pixels": 64, "n_labels": 1}).n_pixels
64
"""

from galahstream.errors import OptionError
from galahstream.learn.models.base import Architecture, SpectraNetwork
from galahstream.learn.models.cnn import SpectraCNN

MODELS: dict[str, type[SpectraNetwork]] = {"cnn": SpectraCNN}
"""Every network that can be built by name."""


def build_network(architecture: Architecture) -> SpectraNetwork:
    """Return a network with random weights.

    Parameters
    ----------
    architecture : mapping
        ``name``, one of `MODELS`, and the arguments of that class.

    Raises
    ------
    OptionError
        If the name is unknown, or the arguments are not those of the class.
    """
    arguments = dict(architecture)
    name = arguments.pop("name", None)
    if not isinstance(name, str) or name not in MODELS:
        msg = f"architecture {name!r} is not known; expected one of {', '.join(MODELS)}"
        raise OptionError(msg)
    try:
        return MODELS[name](**arguments)
    except TypeError as error:
        msg = f"architecture {name!r} cannot be built with the arguments {arguments}: {error}"
        raise OptionError(msg) from error
