import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from galahstream.errors import DestinationExistsError, SourceMissingError
from galahstream.system.atomic import atomic_write, is_special_file, publish_on_success


def test_nothing_is_left_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), publish_on_success(tmp_path / "a") as path:
        path.write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(RuntimeError), publish_on_success(tmp_path / "a", overwrite=True) as path:
        path.write_text("half")
        raise RuntimeError
    assert (tmp_path / "a").read_text() == "old"
    with publish_on_success(tmp_path / "a", overwrite=True) as path:
        path.write_text("new")
        assert (tmp_path / "a").read_text() == "old"
    assert (tmp_path / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_destination_that_exists_or_has_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(DestinationExistsError, match="exists"), publish_on_success(tmp_path / "a"):
        pass
    with (
        pytest.raises(SourceMissingError, match="folder"),
        publish_on_success(tmp_path / "b" / "c"),
    ):
        pass


def write(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_file_is_replaced_only_if_the_work_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write(path, "old")
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half")
        assert temporary.suffix == ".txt"
        assert path.read_text() == "old"
        raise RuntimeError
    assert path.read_text() == "old"
    write(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_gets_the_mode_of_the_umask(tmp_path: Path, umask: int) -> None:
    write(tmp_path / "a", "new")
    assert mode_of(tmp_path / "a") == 0o666 & ~umask


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_an_existing_file_keeps_its_mode(tmp_path: Path, umask: int, mode: int) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(mode)
    with atomic_write(path) as temporary:
        assert mode_of(temporary) == mode
        temporary.write_text("new")
    assert (path.read_text(), mode_of(path)) == ("new", mode)


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_stays_and_its_target_is_written(tmp_path: Path, exists: bool) -> None:
    target, link = tmp_path / "there" / "target.csv", tmp_path / "link.csv"
    target.parent.mkdir()
    if exists:
        target.write_text("old")
    link.symlink_to("there/target.csv")
    write(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert sorted(tmp_path.rglob("*")) == [link, target.parent, target]


def test_a_pipe_gets_the_bytes_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()))
    reader.start()
    write(pipe, "new")
    reader.join()
    assert received == ["new"]
    assert is_special_file(pipe)
    assert list(tmp_path.iterdir()) == [pipe]


def test_the_null_device_stays_a_device() -> None:
    write(Path(os.devnull), "new")
    assert is_special_file(Path(os.devnull))


STDOUT = """
import pathlib, sys
from galahstream.system.atomic import atomic_write
print("before")
with atomic_write(pathlib.Path(sys.argv[1])) as temporary:
    temporary.write_text("written\\n")
print("after")
"""


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "link"])
@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_standard_output_gets_the_bytes_in_order(tmp_path: Path, name: str, kind: str) -> None:
    if name == "link":
        name = str(tmp_path / "link")
        Path(name).symlink_to("/dev/stdout")
    command, out = [sys.executable, "-c", STDOUT, name], tmp_path / "out"
    if kind == "pipe":
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    else:
        with out.open("w") as file:
            subprocess.run(command, stdout=file, check=True)
        text = out.read_text()
    assert text.splitlines() == ["before", "written", "after"]


def test_a_folder_or_a_name_in_no_folder_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DestinationExistsError, match="is a folder"):
        write(tmp_path, "new")
    with pytest.raises(SourceMissingError, match=r"folder .*none does not exist"):
        write(tmp_path / "none" / "a", "new")
