from pathlib import Path

import pytest

from galahstream.errors import DestinationExistsError, SourceMissingError
from galahstream.system.atomic import atomic_write, check_destination, publish


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
