import gc
import threading

import numpy as np
import torch

from galahstream.stream.workers.buffers import BufferPool


def made(shape: tuple[int, int]) -> np.ndarray:
    return np.zeros(shape, dtype=np.float32)


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_comes_back_when_its_last_view_is_gone() -> None:
    pool = BufferPool((4, 8), made)
    array = pool.acquire(4)
    first = address(array)
    tensor = torch.from_numpy(array)
    view = tensor[2, 3:]
    del array, tensor
    assert address(pool.acquire(4)) != first
    del view
    gc.collect()
    assert address(pool.acquire(3)) == first


def test_a_larger_batch_gets_memory_of_its_size() -> None:
    pool = BufferPool((2, 8), made)
    del (small := {"array": pool.acquire(2)})["array"]
    assert small == {}
    assert pool.acquire(5).shape == (5, 8)
    assert pool.acquire(2).shape == (2, 8)


def test_what_comes_back_beyond_a_few_is_disposed_of() -> None:
    disposed: list[int] = []
    pool = BufferPool((1, 8), made, lambda array: disposed.append(address(array)))
    kept = [pool.acquire(1) for _ in range(30)]
    kept.clear()
    gc.collect()
    assert len(disposed) == 30 - 8


def test_arrays_outlive_their_pool() -> None:
    pool = BufferPool((2, 8), made)
    array = pool.acquire(2)
    array[:] = 5
    del pool
    gc.collect()
    assert (array == 5).all()


def test_threads_share_a_pool_without_sharing_memory() -> None:
    pool, wrong = BufferPool((2, 8), made), []

    def work(number: int) -> None:
        for turn in range(500):
            array = pool.acquire(2)
            array[:] = number * 1000 + turn
            if not (array == number * 1000 + turn).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
