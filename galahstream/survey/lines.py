"""Strong lines in the windows of HERMES, to mark them in figures."""

from typing import NamedTuple


class StrongLine(NamedTuple):
    """A line of a star's spectrum.

    Attributes
    ----------
    name : str
        Element and ionisation stage, or the name of the hydrogen line.
    wavelength : float
        Å in air.
    """

    name: str
    wavelength: float


# Wavelengths from the NIST Atomic Spectra Database.
STRONG_LINES = (
    StrongLine("Mg I", 4730.03),
    StrongLine("Zn I", 4810.53),
    StrongLine("Hβ", 4861.35),
    StrongLine("Sc II", 5657.90),
    StrongLine("Na I", 5682.63),
    StrongLine("Na I", 5688.20),
    StrongLine("Mg I", 5711.09),
    StrongLine("Si I", 5772.15),
    StrongLine("Ba II", 5853.68),
    StrongLine("Ca I", 5857.45),
    StrongLine("Ba II", 6496.90),
    StrongLine("Hα", 6562.79),
    StrongLine("Fe I", 6663.44),
    StrongLine("Al I", 6696.02),
    StrongLine("Li I", 6707.76),
    StrongLine("Ca I", 6717.68),
    StrongLine("Mg I", 7691.55),
    StrongLine("K I", 7698.96),
    StrongLine("O I", 7771.94),
    StrongLine("Rb I", 7800.27),
    StrongLine("Al I", 7835.31),
)
"""By wavelength, about five for each camera."""
