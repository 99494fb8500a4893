"""Conversion on a Dask cluster of real processes, which may die, as may the driver."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

import galahstream as gs
from galahstream.cli.main import main
from galahstream.conversion.cluster import CONNECT_SECONDS, cut_rows
from galahstream.errors import ExtraMissingError, GalahStreamError, OptionError, WorkerError
from galahstream.store import Store
from galahstream.store.formats.collection import MEMBERS
from tests.conftest import N_STARS, Pair, make_pair

distributed = pytest.importorskip("distributed", reason="dask is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two worker processes, and the address of their scheduler."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as local:
        yield local


def pids(cluster: Any) -> dict[str, int]:
    """Return the process of each worker, by its address."""
    with distributed.Client(cluster) as client:
        found: dict[str, int] = client.run(os.getpid)
    return found


def members_of(dest: Path) -> list[Path]:
    """Return the members that are written for a destination and complete."""
    folder = dest.with_name(f".{dest.name}.partial") / "store" / MEMBERS
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir())


def assert_equal(found: Store, expected: Store) -> None:
    for name, array in expected.arrays.items():
        assert np.array_equal(found.arrays[name], array, equal_nan=True), name
    assert found.manifest.labels == expected.manifest.labels
    assert found.manifest.skipped == expected.manifest.skipped
    assert found.manifest.pixel_counts == expected.manifest.pixel_counts
    assert found.manifest.split == expected.manifest.split
    assert found.flux[:].tobytes() == expected.flux[:].tobytes()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=30),
    n_shards=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_shards_have_all_rows_once_and_no_group_in_two(
    sizes: list[int], n_shards: int, seed: int
) -> None:
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = 3 * np.arange(len(groups)) + 1
    pieces = cut_rows(rows, n_shards, groups)
    if n_shards > len(sizes):
        assert pieces is None
        return
    assert pieces is not None
    assert len(pieces) == n_shards
    assert min(map(len, pieces)) > 0
    assert np.sort(np.concatenate(pieces)).tolist() == rows.tolist()
    of_pieces = [set(groups[(piece - 1) // 3].tolist()) for piece in pieces]
    assert sum(map(len, of_pieces)) == len(sizes)
    assert all((np.diff(piece) > 0).all() for piece in pieces)


@given(n_rows=st.integers(1, 200), n_shards=st.integers(1, 20))
def test_shards_of_single_stars_differ_by_one_at_most(n_rows: int, n_shards: int) -> None:
    pieces = cut_rows(np.arange(n_rows), n_shards)
    if n_shards > n_rows:
        assert pieces is None
        return
    assert pieces is not None
    assert np.concatenate(pieces).tolist() == list(range(n_rows))
    sizes = list(map(len, pieces))
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "groups"), [("float32", None), ("uint16", "mass")], ids=["float32", "uint16, groups"]
)
def test_the_bytes_do_not_depend_on_the_workers(
    cluster: Any, tmp_path: Path, dtype: Any, groups: str | None
) -> None:
    pair = make_pair(tmp_path / "raw")
    labels = pair.labels.copy()
    labels[:, 0] = np.arange(N_STARS) % 23  # visits of 23 stars
    np.save(pair.folder / "labels.npy", labels)
    options: dict[str, Any] = {"dtype": dtype, "groups": groups}
    if dtype == "uint16":
        options["flux_range"] = (-1.0, 3.0)
    with gs.convert(pair.folder, tmp_path / "alone", **options) as alone:
        address = cluster.scheduler_address
        with gs.convert(pair.folder, tmp_path / "two", dask=address, shards=5, **options) as two:
            assert_equal(two, alone)
            assert two.describe().members == 5
            if groups is not None:
                visits = zip(two.labels["mass"].tolist(), two.arrays["member"], strict=True)
                assert len(set(visits)) == 23
        gs.convert(pair.folder, tmp_path / "one", dask="local[1]", shards=5, **options).close()
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    with distributed.Client(cluster) as client:
        assert not any(client.run(lambda: "torch" in sys.modules).values())


@pytest.mark.slow
def test_stars_that_cannot_be_used_are_skipped_as_by_one_process(
    cluster: Any, pair: Pair, tmp_path: Path
) -> None:
    spectra = pair.spectra.copy()
    spectra[[7, 44]] = np.nan
    np.save(pair.folder / "spectra.npy", spectra)
    with gs.convert(pair.folder, tmp_path / "alone", on_bad="skip") as alone:
        address = cluster.scheduler_address
        with gs.convert(
            pair.folder, tmp_path / "store", on_bad="skip", dask=address, shards=3
        ) as store:
            assert_equal(store, alone)
    with pytest.raises(
        WorkerError, match=r"shard 1 of 3 .*worker tcp://.*row 7 \(star 7"
    ) as caught:
        gs.convert(pair.folder, tmp_path / "raised", dask=address, shards=3)
    assert "on_bad" in str(caught.value)
    assert not (tmp_path / "raised").exists()


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_shards_only(cluster: Any, tmp_path: Path) -> None:
    pair = make_pair(tmp_path / "raw", stars=400, pixels=4096)
    dest = tmp_path / "store"
    killed: list[int] = []

    def kill(victim: int) -> None:
        while not members_of(dest):
            time.sleep(0.005)
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)

    thread = threading.Thread(target=kill, args=(min(pids(cluster).values()),))
    thread.start()
    with gs.convert(pair.folder, dest, dask=cluster.scheduler_address, shards=40) as store:
        thread.join()
        assert killed
        with gs.convert(pair.folder, tmp_path / "alone") as alone:
            assert_equal(store, alone)


@pytest.mark.slow
def test_a_driver_that_is_killed_resumes_from_the_members_that_are_there(
    cluster: Any, tmp_path: Path
) -> None:
    pair = make_pair(tmp_path / "raw", stars=400, pixels=4096)
    dest = tmp_path / "store"
    command = [
        sys.executable, "-m", "galahstream", "convert", str(pair.folder), str(dest),
        "--dask", cluster.scheduler_address, "--shards", "40",
    ]  # fmt: skip
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(members_of(dest)) < 3:
        assert driver.poll() is None
        time.sleep(0.005)
    driver.kill()
    driver.wait()
    time.sleep(1)  # what the workers had begun
    before = {path.name: (path / "flux.npy").stat().st_ino for path in members_of(dest)}
    assert not dest.exists()
    with pytest.raises(OptionError, match="shards was 40 and is now 30"):
        gs.convert(pair.folder, dest, dask=cluster.scheduler_address, shards=30)
    with pytest.raises(OptionError, match="shards was 40 and is now None"):
        gs.convert(pair.folder, dest)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = {name: (dest / MEMBERS / name / "flux.npy").stat().st_ino for name in before}
    assert after == before
    with gs.open_store(dest) as store, gs.convert(pair.folder, tmp_path / "alone") as alone:
        assert_equal(store, alone)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "raw", "store"]


def test_a_scheduler_that_does_not_answer_is_named_in_time(pair: Pair, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(WorkerError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9"):
        gs.convert(pair.folder, tmp_path / "store", dask="tcp://127.0.0.1:9")
    assert time.monotonic() - started < CONNECT_SECONDS + 5
    assert not list(tmp_path.glob(".store*"))


@pytest.mark.slow
def test_more_shards_than_stars_are_an_error(cluster: Any, pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="61 shards for 60 stars"):
        gs.convert(
            pair.folder, tmp_path / "store", dask=cluster.scheduler_address, shards=N_STARS + 1
        )
    assert not (tmp_path / "store").exists()


def test_what_a_cluster_cannot_do_is_said_before_anything_is_started(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder: Any = pair.folder
    wrong: list[tuple[Any, str, dict[str, Any], str]] = [
        (folder, "store", {"dask": "local[0]"}, "expected local"),
        (folder, "store", {"dask": "here"}, "expected local"),
        (folder, "store", {"dask": "local[2]", "shards": 0}, "shards 0"),
        (folder, "store", {"shards": 3}, "give dask"),
        (folder, "store.h5", {"dask": "local[2]"}, "which is a folder"),
        (pair.spectra, "store", {"dask": "local[2]"}, "a ndarray cannot be sent"),
    ]
    for source, name, options, text in wrong:
        with pytest.raises(OptionError, match=text):
            gs.convert(source, tmp_path / name, **options)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ExtraMissingError, match=r"galahstream\[distributed\]"):
        gs.convert(folder, tmp_path / "store", dask="local[2]")
    assert main(["convert", str(folder), str(tmp_path / "store"), "--shards", "2"]) == 1
    assert "--dask" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
    assert issubclass(WorkerError, GalahStreamError)


@pytest.mark.slow
def test_nothing_runs_on_after_a_conversion(pair: Pair, tmp_path: Path) -> None:
    gs.convert(pair.folder, tmp_path / "store", dask="local[2]", shards=4).close()
    children = [
        child
        for child in psutil.Process().children(recursive=True)
        if "distributed" in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE
    ]
    assert children == []
    shutil.rmtree(tmp_path / "store")
