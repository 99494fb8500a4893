import gc
import mmap
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from galahstream.system.shared_memory import anonymous_shared_file


class Owner:
    pass


def test_another_process_maps_the_same_memory() -> None:
    owner = Owner()
    descriptor, path = anonymous_shared_file(owner)
    try:
        os.ftruncate(descriptor, 16)
        memory = mmap.mmap(descriptor, 16)
        code = "import sys; open(sys.argv[1], 'r+b').write(b'written there')"
        subprocess.run([sys.executable, "-c", code, path], check=True)
        assert memory[:13] == b"written there"
    finally:
        os.close(descriptor)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no anonymous files on this system")
def test_nothing_of_it_is_in_the_file_system() -> None:
    before = set(Path(tempfile.gettempdir()).glob("galahstream-*"))
    descriptor, path = anonymous_shared_file(Owner())
    assert set(Path(tempfile.gettempdir()).glob("galahstream-*")) == before
    os.close(descriptor)
    assert not Path(path).exists()


@pytest.mark.slow
def test_the_temporary_file_of_other_systems_ends_with_its_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("os.memfd_create", raising=False)
    owner = Owner()
    descriptor, path = anonymous_shared_file(owner)
    os.close(descriptor)
    assert Path(path).is_file()
    del owner
    gc.collect()
    assert not Path(path).exists()
