"""How spectra become the input of a network, and how its outputs become labels."""

from dataclasses import dataclass

from galahstream.stream.transforms import LogFlux, ZScore


@dataclass(frozen=True)
class Recipe:
    """How spectra become a model's input, and its outputs labels.

    `mean` and `std` are in the labels' units, `window` and `wavelength_range`
    in Å; `split_fingerprint` is that of the store it was trained on.
    """

    n_pixels: int
    labels: tuple[str, ...]
    units: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    floor: float
    fill: float
    window: str | tuple[float, float] | None
    wavelength_range: tuple[float, float] | None
    split_fingerprint: str
    seed: int

    @property
    def transform(self) -> LogFlux:
        """What the flux goes through."""
        return LogFlux(self.floor, self.fill)

    @property
    def target_transform(self) -> ZScore:
        """What turns scores back into labels."""
        return ZScore(mean=self.mean, std=self.std)
