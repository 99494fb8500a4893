import re

import pytest

import galahstream as gs
from galahstream import errors

CLASSES = [item for item in vars(errors).values() if isinstance(item, type)]
ERRORS = [item for item in CLASSES if issubclass(item, errors.GalahStreamError)]


@pytest.mark.parametrize("error", [item for item in ERRORS if item is not errors.GalahStreamError])
def test_each_error_is_ours_and_a_builtin(error: type[Exception]) -> None:
    assert issubclass(error, errors.GalahStreamError)
    assert issubclass(error, ValueError | OSError | ImportError | ArithmeticError | RuntimeError)
    assert error.__doc__


def test_every_class_is_one_of_our_errors_or_a_warning() -> None:
    assert all(item in ERRORS or issubclass(item, UserWarning) for item in CLASSES)


def test_the_tree_in_the_docstring_shows_every_class_below_its_parents() -> None:
    lines = re.findall(r"^ {4}([ │]*)(?:[├└]── )?(\w+(?:Error|Warning))(?: \((\w+)\))?$",
                       errors.__doc__ or "", re.MULTILINE)  # fmt: skip
    assert sorted(name for _, name, _ in lines) == sorted(item.__name__ for item in CLASSES)
    parent = ""
    for indent, name, builtin in lines:
        bases = {base.__name__ for base in getattr(errors, name).__bases__}
        if name == "GalahStreamError":
            continue
        if name.endswith("Warning"):
            assert bases == {builtin}
        elif indent:
            assert bases == {parent}
        else:
            assert bases == {"GalahStreamError", builtin}
            parent = name


def test_the_base_class_and_the_module_are_public() -> None:
    assert gs.errors is errors
    assert gs.GalahStreamError is errors.GalahStreamError
    assert {"errors", "GalahStreamError"} <= set(gs.__all__)
