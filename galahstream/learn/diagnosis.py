"""What the parts of training cost, and what bounds it."""

from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

from galahstream.store.readers import Access

Bound: TypeAlias = Literal["step", "disk", "reading", "decoding", "transfer"]

# Rows that arrive slower than this part of the rate of rows in memory wait for the disk.
_FROM_DISK = 0.9
# A store that is larger than this part of the memory that is free does not stay in it.
_STAYS_IN_MEMORY = 0.8


@dataclass(frozen=True)
class Rates:
    """Spectra/s of each part of training.

    Attributes
    ----------
    first_data : float
        Batches from all workers onto the device, of rows that were read for the first time: from
        the disk, unless they were in memory.
    data : float
        Batches of the same rows again: from memory, if they fit into it.
    reading : float
        One thread that reads these rows and does nothing with them.
    verification : float
        One thread that reads them and computes their digests, as happens in the first epoch.
    decoding : float
        One thread that reads them and makes batches: decoded, transformed and augmented.
    transfer : float or None
        Copying batches to the device; None if it is the CPU.
    step : float
        Training on a batch that is on the device.
    together : float
        Training on batches from all workers.
    """

    first_data: float
    data: float
    reading: float
    verification: float
    decoding: float
    transfer: float | None
    step: float
    together: float


@dataclass(frozen=True)
class Setting:
    """What was measured with.

    Attributes
    ----------
    device, model : str
    batch_size, num_workers, cores : int
    kernels : str
        ``"numba"`` or ``"numpy"``.
    shuffle_block : int or None
    dtype : str
        Of the stored flux.
    access : {"mapped", "pread", "h5py"}
        How rows are read.
    store_bytes, free_memory : int
        Bytes of the store, and those that the machine has available.
    """

    device: str
    model: str
    batch_size: int
    num_workers: int
    cores: int
    kernels: str
    shuffle_block: int | None
    dtype: str
    access: Access
    store_bytes: int
    free_memory: int

    @property
    def stays_in_memory(self) -> bool:
        """Whether epochs after the first read from memory."""
        return self.store_bytes < _STAYS_IN_MEMORY * self.free_memory


@dataclass(frozen=True)
class Diagnosis:
    """Which part bounds training.

    Attributes
    ----------
    rates : Rates
    setting : Setting
    """

    rates: Rates
    setting: Setting

    @property
    def waiting_share(self) -> float:
        """The share of the time in which the device does not train, 0 to 1."""
        return max(0.0, 1 - self.rates.together / self.rates.step)

    @property
    def bound(self) -> Bound:
        """The part that bounds training.

        Returns
        -------
        {"step", "disk", "reading", "decoding", "transfer"}
            ``"disk"`` only for a store that does not stay in memory.
        """
        rates, stays = self.rates, self.setting.stays_in_memory
        if (rates.data if stays else rates.first_data) > rates.step:
            return "step"
        if not stays and rates.first_data < _FROM_DISK * rates.data:
            return "disk"
        costs = self._data_costs()
        return max(costs, key=lambda part: costs[part])

    @property
    def sentence(self) -> str:
        """What bounds training, and what to change."""
        rates, setting = self.rates, self.setting
        waiting = f"the device waits {self.waiting_share:.0%} of the time"
        if self.bound == "step":
            milliseconds = 1000 * setting.batch_size / rates.step
            return (
                f"the network bounds training: a step of {setting.batch_size} stars takes "
                f"{milliseconds:,.1f} ms, spectra arrive {rates.data / rates.step:,.1f} times as "
                f"fast, and {waiting}; {self._cure()}"
            )
        part = {"transfer": f"the copy to {setting.device}", "disk": "the disk"}
        return f"{part.get(self.bound, self.bound)} bounds training: {waiting}; {self._cure()}"

    def as_dict(self) -> dict[str, object]:
        """Return plain values that JSON can hold."""
        return {
            "spectra_per_s": asdict(self.rates),
            "waiting_share": self.waiting_share,
            "bound": self.bound,
            "sentence": self.sentence,
            "setting": asdict(self.setting),
        }

    def _data_costs(self) -> dict[Bound, float]:
        """Return seconds per spectrum of each part of the data, with all workers at work."""
        rates, setting = self.rates, self.setting
        workers = max(1, min(setting.num_workers, setting.cores))
        # The HDF5 library lets one thread in at a time.
        readers = 1 if setting.access == "h5py" else workers
        return {
            "reading": 1 / rates.reading / readers,
            "decoding": max(0.0, 1 / rates.decoding - 1 / rates.reading) / workers,
            "transfer": 0.0 if rates.transfer is None else 1 / rates.transfer,
        }

    def _cure(self) -> str:
        if self.bound == "step":
            return self._cure_of_step()
        if self.bound == "disk":
            return self._cure_of_disk()
        if self.bound == "reading":
            return self._cure_of_reading()
        if self.bound == "decoding":
            return self._cure_of_decoding()
        return "learn from fewer pixels (--window)"

    def _cure_of_step(self) -> str:
        smaller = "" if self.setting.model == "compact" else "a smaller network (--model compact)"
        if self.setting.device == "cpu":
            return f"{smaller} or a GPU is faster" if smaller else "a GPU is faster"
        larger = "larger batches (--batch-size) use the device better"
        return f"{smaller} is faster, and {larger}" if smaller else larger

    def _cure_of_disk(self) -> str:
        cures = []
        if self.setting.dtype == "float32":
            cures.append("convert to 16 bits (--dtype uint16), half the bytes")
        if self.setting.shuffle_block is None:
            cures.append("read longer runs (--shuffle-block 64)")
        return ", and ".join(cures) or "only a faster disk or more memory would help"

    def _cure_of_reading(self) -> str:
        if self.setting.access == "h5py":
            return "convert into a folder of .npy files (--format npy)"
        return self._more_workers() or "it is as fast as this machine's memory"

    def _cure_of_decoding(self) -> str:
        if self.setting.kernels == "numpy":
            return "numba decodes faster: pip install 'galahstream[fast]'"
        return self._more_workers() or "learn from fewer pixels (--window)"

    def _more_workers(self) -> str:
        few = self.setting.num_workers < self.setting.cores
        return f"use more workers (--workers {self.setting.cores})" if few else ""
