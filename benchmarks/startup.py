"""Imports and the first batch, each time in a fresh process."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.protocol import ROUNDS, Contenders, Result, interleaved, ratio
from benchmarks.stores import store_of

_TIME = "import json, sys, time; start = time.perf_counter(); "
_END = "; print(json.dumps(time.perf_counter() - start))"
_FIRST = (
    "store = gs.open_store(sys.argv[1]); "
    "loader = gs.SpectraLoader(gs.SpectraDataset(store), shuffle=True); "
    "next(iter(loader))"
)
_PROGRAMS = {
    "import galahstream": f"{_TIME}import galahstream as gs{_END}",
    "import torch": f"{_TIME}import torch{_END}",
    "open_store to first batch, after import torch": (
        f"import torch; {_TIME}import galahstream as gs; {_FIRST}{_END}"
    ),
    "open_store to first batch, kernels loaded": (
        f"import sys, galahstream as gs; {_FIRST}; loader.close(); {_TIME}{_FIRST}{_END}"
    ),
    "everything read and logged, after import torch": (
        f"import torch; {_TIME}import numpy as np; "
        "flux = np.log(np.maximum(np.load(sys.argv[1] + '/flux.npy'), 0.2)); "
        f"torch.from_numpy(flux[:32]){_END}"
    ),
}


def run(source: Path, work: Path, rounds: int = ROUNDS) -> Result:
    """Measure seconds, with files in the page cache and compiled kernels on disk."""
    path = store_of(source, work, "npy float32")
    contenders: Contenders = {
        name: partial(_seconds, code, path) for name, code in _PROGRAMS.items()
    }
    figures = interleaved(contenders, rounds)
    first, everything = list(_PROGRAMS)[2], list(_PROGRAMS)[4]
    ratios = [ratio(figures, first, everything)]
    return Result("startup", "Start to first batch", "s", figures, ratios, {"rounds": rounds})


def _seconds(code: str, path: Path, _: int) -> float:
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    return float(json.loads(done.stdout))
