"""Order over ranks, workers and resume points: each row once an epoch, in the same sequence."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import galahstream as gs
from galahstream.errors import OptionError, OrderError
from galahstream.store import Store
from galahstream.stream.sharding import RankShard, count_batches, shard_epoch
from tests.conftest import make_pair

SIZES = st.integers(1, 40)
RANKS = st.integers(1, 6)


def merged(shares: list[RankShard]) -> list[list[int]]:
    """Return the rows of each global batch, rank after rank."""
    batches: list[list[int]] = [[] for _ in shares[0].sizes]
    for share in shares:
        for batch, rows in zip(
            batches, np.split(share.rows, np.cumsum(share.sizes)[:-1]), strict=True
        ):
            batch += rows.tolist()
    return batches


@pytest.mark.slow
@given(n_rows=st.integers(1, 300), begin=st.integers(0, 300), size=SIZES, ranks=RANKS)
def test_every_row_is_one_ranks_in_the_order_of_the_epoch(
    n_rows: int, begin: int, size: int, ranks: int
) -> None:
    begin = min(begin, n_rows)
    assume(n_rows - begin == 0 or n_rows - begin >= ranks)
    order = np.random.default_rng(n_rows).permutation(n_rows)
    shares = [
        shard_epoch(order, begin, size, rank, ranks, drop_last=False) for rank in range(ranks)
    ]
    assert len({tuple(share.served) for share in shares}) == 1
    batches = merged(shares) if n_rows > begin else []
    assert len(batches) == count_batches(n_rows - begin, size, ranks, drop_last=False)
    assert [row for batch in batches for row in batch] == order[begin:].tolist()
    assert np.cumsum([len(batch) for batch in batches]).tolist() == [
        stop - begin for stop in shares[0].served
    ]
    for sizes in zip(*(share.sizes for share in shares), strict=True):
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= 1


@given(n_rows=st.integers(1, 300), size=SIZES, ranks=RANKS)
def test_drop_last_leaves_whole_batches_for_every_rank(n_rows: int, size: int, ranks: int) -> None:
    order = np.arange(n_rows)
    shares = [shard_epoch(order, 0, size, rank, ranks, drop_last=True) for rank in range(ranks)]
    n_batches = n_rows // (size * ranks)
    assert all(share.sizes == [size] * n_batches for share in shares)
    assert count_batches(n_rows, size, ranks, drop_last=True) == n_batches
    assert sorted(np.concatenate([share.rows for share in shares])) == list(
        range(n_batches * size * ranks)
    )


def test_fewer_rows_than_ranks_are_refused() -> None:
    with pytest.raises(OrderError, match="3 rows of the epoch remain for 4 ranks"):
        shard_epoch(np.arange(10), 7, 2, 0, 4, drop_last=False)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("ranks")
    return gs.convert(make_pair(folder / "raw", 90, 16).folder, folder / "store")


LEG = st.tuples(
    st.integers(1, 17),  # batch size
    st.integers(1, 4),  # ranks
    st.integers(0, 2),  # worker threads
    st.integers(1, 5),  # batches until it is cut
)


@pytest.mark.slow
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(legs=st.lists(LEG, min_size=1, max_size=4), shuffle=st.booleans(), block=st.booleans())
def test_an_epoch_cut_anywhere_is_the_uncut_one(
    stored: Store, legs: list[tuple[int, int, int, int]], shuffle: bool, block: bool
) -> None:
    dataset = gs.SpectraDataset(stored, split="train", return_ids=True)
    shuffle_block = 7 if shuffle and block else None
    with gs.SpectraLoader(dataset, 8, shuffle, shuffle_block=shuffle_block) as loader:
        expected = torch.cat([ids for *_, ids in loader]).tolist()
    seen: list[int] = []
    state = None
    for number, (size, ranks, workers, until) in enumerate(legs):
        is_last = number == len(legs) - 1
        loaders = [
            gs.SpectraLoader(
                dataset,
                size,
                shuffle,
                num_workers=workers,
                shuffle_block=shuffle_block,
                rank=rank,
                world_size=ranks,
            )
            for rank in range(ranks)
        ]
        for loader in loaders:
            if state is not None:
                loader.load_state_dict(state)
        served = 0 if state is None else int(state["rows_served"] or 0)
        assume(len(dataset) - served >= ranks)
        states = []
        assert {len(loader) for loader in loaders} == {
            count_batches(len(dataset), size, ranks, drop_last=False)
        }
        for step, batches in enumerate(zip(*loaders, strict=True)):
            seen += [int(star) for batch in batches for star in batch[-1]]
            if step + 1 == until and not is_last:
                states = [loader.state_dict() for loader in loaders]
                break
        for loader in loaders:
            loader.close()
        if not states:
            break  # the epoch was over before it was cut
        assert all(other == states[0] for other in states)
        state = states[0]
        if len(seen) == len(dataset):
            assert (state["epoch"], state["rows_served"]) == (1, 0)
            break
        assert (state["epoch"], state["rows_served"]) == (0, len(seen))
    assert seen == expected


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 3])
def test_processes_go_on_where_threads_were_cut(stored: Store, ranks: int) -> None:
    dataset = gs.SpectraDataset(stored, split="train", return_ids=True)
    with gs.SpectraLoader(dataset, 4, shuffle=True) as loader:
        expected = torch.cat([ids for *_, ids in loader]).tolist()
    seen: list[int] = []
    with gs.SpectraLoader(dataset, 5, shuffle=True) as loader:
        for _, (*_, ids) in zip(range(3), loader, strict=False):
            seen += ids.tolist()
        state = loader.state_dict()
    shares = []
    for rank in range(ranks):
        with gs.SpectraLoader(
            dataset, 4, shuffle=True, worker_type="process", rank=rank, world_size=ranks
        ) as loader:
            loader.load_state_dict(state)
            shares.append([ids.tolist() for *_, ids in loader])
    for batches in zip(*shares, strict=True):
        seen += [star for batch in batches for star in batch]
    assert seen == expected


@pytest.mark.slow
def test_ranks_come_from_torch_distributed_where_it_is_initialised(
    stored: Store, tmp_path: Path
) -> None:
    code = (
        "import sys, torch, galahstream as gs\n"
        "store, meeting, out, rank = sys.argv[1:]\n"
        "torch.distributed.init_process_group('gloo', init_method='file://' + meeting, "
        "rank=int(rank), world_size=2)\n"
        "dataset = gs.SpectraDataset(store, split='train', return_ids=True)\n"
        "loader = gs.SpectraLoader(dataset, 4, shuffle=True)\n"
        "assert (loader.rank, loader.world_size) == (int(rank), 2)\n"
        "ids = [star for *_, stars in loader for star in stars.tolist()]\n"
        "open(out + rank, 'w').write(' '.join(map(str, ids)))\n"
        "loader.close(); torch.distributed.destroy_process_group()\n"
    )
    arguments = [str(stored.path), str(tmp_path / "meeting"), str(tmp_path / "ids")]
    children = [
        subprocess.Popen([sys.executable, "-c", code, *arguments, str(rank)]) for rank in (0, 1)
    ]
    assert [child.wait(timeout=120) for child in children] == [0, 0]
    found = [list(map(int, (tmp_path / f"ids{rank}").read_text().split())) for rank in (0, 1)]
    dataset = gs.SpectraDataset(stored, split="train")
    assert sorted(found[0] + found[1]) == sorted(dataset.ids.tolist())
    assert not set(found[0]) & set(found[1])


def test_ranks_that_cannot_be_are_refused(stored: Store) -> None:
    dataset = gs.SpectraDataset(stored)
    for rank, world_size, message in ((2, 2, "from 0 to 1"), (0, None, "both"), (-1, 2, "rank")):
        with pytest.raises(OptionError, match=message):
            gs.SpectraLoader(dataset, rank=rank, world_size=world_size)
    with pytest.raises(OptionError, match="leave out the sampler"):
        gs.SpectraLoader(
            dataset, rank=0, world_size=2, sampler=torch.utils.data.SequentialSampler(dataset)
        )
