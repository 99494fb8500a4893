"""Writing to standard output and standard error, whatever they are connected to.

A pipe may be closed by its reader, a disk may be full, and a terminal may not
know every character. None of these is a defect of the work that was done.
"""

import json
import math
import os
import sys
from collections.abc import Mapping
from typing import TextIO

BROKEN_PIPE_STATUS = 141
"""128 + SIGPIPE: what a shell reports of a program whose reader closed the pipe."""


def tolerate_any_encoding() -> None:
    """Escape characters that the encoding of the output lacks, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


class StandardOutputError(Exception):
    """Standard output could not be written to.

    Attributes
    ----------
    status : int
        The exit status.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class StandardOutput:
    """Standard output as a file, for results that are written in parts."""

    def write(self, text: str) -> None:
        """Write a text, or raise `StandardOutputError` if it cannot be written."""
        status = write_text(text)
        if status:
            raise StandardOutputError(status)


def write_line(text: str) -> int:
    """Write text and a line break as :func:`write_text` does."""
    return write_text(text if text.endswith("\n") else f"{text}\n")


def write_text(text: str) -> int:
    """Write text to standard output and return the exit status.

    The status is that of other Unix programs: 0, or 141 if the reader of a pipe
    went away (silently), or 1 if the text could not be written (with one line on
    standard error).
    """
    if sys.stdout is None:  # closed by the caller
        return 0
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        _discard(sys.stdout)
        if isinstance(error, BrokenPipeError):
            return BROKEN_PIPE_STATUS
        write_message(f"galahstream: cannot write to standard output: {error.strerror or error}")
        return 1
    return 0


def write_message(message: str) -> None:
    """Write one line to standard error, or nothing where it cannot be written."""
    if sys.stderr is None:
        return
    try:
        print(message, file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def as_json(data: Mapping[str, object]) -> str:
    """Return data as strict JSON; a number that is not finite becomes null."""
    return json.dumps(_json_value(data), indent=1, allow_nan=False)


def _json_value(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    return value


def _discard(stream: TextIO) -> None:
    """Discard the rest of a stream's buffer, so that the interpreter exits without a message."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, stream.fileno())
    except (OSError, ValueError):  # not a file, as under a test
        pass
    finally:
        os.close(null)
