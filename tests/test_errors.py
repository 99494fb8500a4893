import pytest

from galahstream import errors

CLASSES = [
    item
    for item in vars(errors).values()
    if isinstance(item, type)
    and not issubclass(item, Warning)
    and item is not errors.GalahStreamError
]


@pytest.mark.parametrize("error", CLASSES)
def test_each_error_is_ours_and_a_builtin(error: type[Exception]) -> None:
    assert issubclass(error, errors.GalahStreamError)
    assert issubclass(error, ValueError | OSError | ImportError | ArithmeticError | RuntimeError)
    assert error.__doc__
