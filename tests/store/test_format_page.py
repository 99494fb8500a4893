"""docs/format.md says all that another program needs to read a store."""

import json
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

import galahstream as gs
from tests.conftest import Pair
from tests.store.contract import damage

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
CODES = {"<f4": "f", "<u2": "H", "<f2": "e", "<f8": "d", "<i8": "q", "<u4": "I", "<u8": "Q"}


@pytest.fixture(params=["float32", "uint16"])
def folder(request: pytest.FixtureRequest, pair: Pair, tmp_path: Path) -> Path:
    options: dict[str, Any] = {"dtype": request.param, "wavelength": np.arange(64) + 5000.0}
    if request.param == "uint16":
        options["flux_range"] = (-1, 3)
    with gs.convert(pair.with_errors, tmp_path / "store", **options) as store:
        return store.path


def read_array(path: Path) -> tuple[tuple[int, ...], str, bytes]:
    """Return shape, type and bytes of an array, as the page describes its file."""
    data = path.read_bytes()
    assert data[:8] == bytes.fromhex("934E554D50590100")
    (length,) = struct.unpack_from("<H", data, 8)
    text = data[10 : 10 + length].decode("ascii")
    found = re.match(
        r"\{'descr': '([<|]\w\d)', 'fortran_order': False, 'shape': \(([\d, ]+)\), \} *\n$", text
    )
    assert found is not None, text
    shape = tuple(int(size) for size in found[2].split(",") if size.strip())
    return shape, found[1], data[10 + length :]


def values_of(path: Path) -> tuple[tuple[int, ...], list[Any]]:
    shape, descr, data = read_array(path)
    count = int(np.prod(shape))
    code = "B" if descr == "|u1" else CODES[descr]
    assert len(data) == count * struct.calcsize(f"<{code}")
    return shape, list(struct.unpack(f"<{count}{code}", data))


def test_a_store_is_read_with_struct_and_json_alone(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    digest = manifest.pop("digest")
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    assert xxhash.xxh3_64_hexdigest(text.encode("ascii")) == digest
    assert (manifest["kind"], manifest["version"]) == ("galahstream store", 1)
    with gs.open_store(folder) as store:
        for name, digest in manifest["digests"].items():
            assert xxhash.xxh3_64_hexdigest(read_array(folder / f"{name}.npy")[2]) == digest
            shape, values = values_of(folder / f"{name}.npy")
            expected = store.arrays[name]
            assert shape == expected.shape
            assert np.array_equal(np.reshape(values, shape), expected, equal_nan=True)
        shape, flux = values_of(folder / "flux.npy")
        assert shape == (manifest["n_stars"], manifest["n_pixels"])
        n_pixels = manifest["n_pixels"]
        quantization = manifest["quantization"]
        for row in (0, 7, shape[0] - 1):
            stored = flux[row * n_pixels : (row + 1) * n_pixels]
            if quantization is not None:
                stored = [
                    np.nan if code == 65535
                    else quantization["bzero"] + quantization["bscale"] * code
                    for code in stored
                ]  # fmt: skip
            assert np.array_equal(np.array(stored, np.float32), store.flux[row], equal_nan=True)
        _, digests = values_of(folder / "digests.npy")
        rows = read_array(folder / "flux.npy")[2]
        size = len(rows) // shape[0]
        for row, expected_digest in enumerate(digests):
            found = xxhash.xxh3_64_intdigest(rows[row * size : (row + 1) * size])
            assert found == expected_digest
        assert store.error is not None
        _, errors = values_of(folder / "error.npy")
        assert np.array_equal(
            np.array(errors[:n_pixels], np.float32), store.error[0], equal_nan=True
        )


def test_the_page_names_every_array_and_every_field(folder: Path, tmp_path: Path) -> None:
    gs.merge(tmp_path / "collection", [folder]).close()
    named = set(re.findall(r"`(\w+)`", PAGE))
    for path in (folder, tmp_path / "collection"):
        manifest = json.loads((path / "manifest.json").read_text())
        nested = {
            name
            for value in manifest.values()
            for entry in (value if isinstance(value, list) else [value])
            if isinstance(entry, dict)
            for name in entry
        }
        nested -= set(manifest["error_counts"] or ()) if "error_counts" in manifest else set()
        assert set(manifest) | nested <= named
        assert {file.stem for file in path.glob("*.npy")} <= named


@pytest.mark.slow
def test_the_reader_in_c_prints_a_verified_spectrum(folder: Path, tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None or not Path("/usr/include/xxhash.h").exists():
        pytest.skip("no C compiler with xxhash.h here (Debian: gcc, libxxhash-dev)")
    source = ROOT / "examples" / "read_store.c"
    assert len(source.read_text().splitlines()) < 150
    program = tmp_path / "read_store"
    words = ["-Wall", "-Wextra", "-Werror", "-O2", str(source), "-o", str(program), "-lm"]
    subprocess.run([compiler, *words], check=True)
    done = subprocess.run([program, folder, "12"], capture_output=True, text=True, check=True)
    first, *lines = done.stdout.splitlines()
    with gs.open_store(folder) as store:
        assert first == f"# star {store.ids[12]}, row 12, verified"
        printed = np.array([line.split() for line in lines], float)
        assert np.allclose(printed[:, 0], store.wavelength)
        assert np.allclose(printed[:, 1], store.flux[12], rtol=1e-6, equal_nan=True)
    damage(folder, 12)
    done = subprocess.run([program, folder, "12"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "does not match its digest" in done.stderr
