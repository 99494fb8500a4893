from pathlib import Path

import pytest

from galahstream.errors import DestinationExistsError, SourceMissingError
from galahstream.system.atomic import publish_on_success


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
