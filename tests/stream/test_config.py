import subprocess
import sys
from pathlib import Path

import pytest

import galahstream as gs


def test_the_configuration_names_versions_and_device(capsys: pytest.CaptureFixture[str]) -> None:
    gs.show_config()
    printed = capsys.readouterr().out
    for word in ("galahstream 0.1.0", "torch ", "device ", "kernels numba"):
        assert word in printed


@pytest.mark.slow
@pytest.mark.parametrize("error", ["ImportError('none')", "AttributeError('x')", "SystemError(7)"])
def test_a_numba_that_cannot_be_imported_means_numpy_said_once(tmp_path: Path, error: str) -> None:
    (tmp_path / "numba.py").write_text(f"raise {error}\n")
    code = (
        "import galahstream as gs, numpy as np\n"
        "gs.show_config()\n"
        "gs.show_config()\n"
        "np.save('spectra.npy', np.ones((20, 8), np.float32))\n"
        "store = gs.convert('spectra.npy', 'store', progress=False)\n"
        "for _ in range(2):\n"
        "    print(gs.SpectraDataset(store)[0].sum())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    name = error.partition("(")[0]
    assert f"kernels numpy (numba cannot be used: {name}: " in done.stdout
    assert done.stdout.endswith("tensor(0.)\ntensor(0.)\n")
    assert done.stderr.count("galahstream[fast]") == 1
