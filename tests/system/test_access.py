"""What the system reported is told apart from damage."""

import errno
import os

import pytest

from galahstream.system.access import access_reason


@pytest.mark.parametrize("number", [errno.EACCES, errno.EAGAIN, errno.ENOLCK, errno.EMFILE])
def test_the_reason_holds_what_the_system_said_and_a_cure(number: int) -> None:
    reason = access_reason(OSError(number, "text of a library"))
    assert reason is not None
    said, cure = reason.split("; ", 1)
    assert said == os.strerror(number)
    assert cure


@pytest.mark.parametrize("error", [None, OSError("no number"), ValueError(errno.EACCES)])
def test_an_error_without_a_number_of_the_system_has_no_reason(error: Exception | None) -> None:
    assert access_reason(error) is None
