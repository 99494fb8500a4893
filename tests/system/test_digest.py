import numpy as np
import pytest
import xxhash

from galahstream.system.digest import array_digest, row_digests, text_digest


@pytest.mark.parametrize("dtype", ["<f4", "<u2"])
def test_row_digests_are_those_of_the_stored_bytes(dtype: str) -> None:
    rows = np.arange(60, dtype=dtype).reshape(5, 12)
    starts = np.array([4, 0, 2, 2]) * 12
    digests = row_digests(rows.reshape(-1), starts, 12)
    assert digests.dtype == np.uint64
    assert digests.tolist() == [xxhash.xxh3_64_intdigest(rows[i].tobytes()) for i in (4, 0, 2, 2)]


def test_row_digests_of_no_rows_are_an_empty_array() -> None:
    assert row_digests(np.zeros(12, np.float32), np.empty(0, np.int64), 12).shape == (0,)


def test_the_digest_of_an_array_does_not_depend_on_its_memory_order() -> None:
    array = np.arange(12.0).reshape(3, 4)
    assert array_digest(np.asfortranarray(array)) == array_digest(array)
    assert array_digest(array[::-1]) != array_digest(array)


def test_digests_are_those_that_stores_were_written_with() -> None:
    # Stores hold these values: another algorithm or byte order would reject them all.
    assert text_digest("") == "2d06800538d394c2"
    assert text_digest("Å") == xxhash.xxh3_64_hexdigest(b"\xc3\x85")
    assert array_digest(np.arange(4, dtype="<i8")) == xxhash.xxh3_64_hexdigest(
        b"".join(i.to_bytes(8, "little") for i in range(4))
    )
