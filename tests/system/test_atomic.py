import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from galahstream.errors import DestinationExistsError, SourceMissingError
from galahstream.system.atomic import atomic_write, check_destination, is_special_file, publish


def test_a_published_file_replaces_the_old_one_only_when_allowed(tmp_path: Path) -> None:
    destination, work, aside = (tmp_path / name for name in ("a", "work", "aside"))
    destination.write_text("old")
    work.write_text("new")
    with pytest.raises(DestinationExistsError, match="exists"):
        publish(work, destination, overwrite=False, aside=aside)
    assert (destination.read_text(), work.read_text()) == ("old", "new")
    publish(work, destination, overwrite=True, aside=aside)
    assert (destination.read_text(), aside.read_text()) == ("new", "old")
    assert not work.exists()


def test_the_old_file_comes_back_when_the_new_one_cannot_be_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination, work, aside = (tmp_path / name for name in ("a", "work", "aside"))
    destination.write_text("old")
    work.write_text("new")
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path == work:
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="Input/output"):
        publish(work, destination, overwrite=True, aside=aside)
    assert destination.read_text() == "old"


def test_a_file_that_fails_to_be_written_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]


def test_a_destination_that_exists_or_has_no_folder_raises(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(DestinationExistsError, match="exists"):
        check_destination(tmp_path / "a", overwrite=False)
    with pytest.raises(SourceMissingError, match="folder"):
        check_destination(tmp_path / "b" / "c", overwrite=True)


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
