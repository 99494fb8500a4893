import pytest

from galahstream.errors import OptionError
from galahstream.validation import check_count


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "3", None])
def test_what_is_no_count_is_refused_by_name(value: object) -> None:
    with pytest.raises(OptionError, match="chunk_rows"):
        check_count("chunk_rows", value, minimum=1)


def test_the_least_count_is_taken() -> None:
    check_count("epoch", 0, minimum=0)
