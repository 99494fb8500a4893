"""The hub is offline, refuses, or its disk is full: what is said, and how to bring the files."""

from pathlib import Path

import numpy as np
import pytest

from galahstream.conversion.convert import convert
from galahstream.errors import (
    ExtraMissingError,
    GalahStreamError,
    SourceAccessError,
    SourceMissingError,
    StorageFullError,
)
from galahstream.sources import huggingface
from galahstream.sources.open import open_source
from tests.sources.contract import read_all
from tests.sources.files import FLUX
from tests.sources.hub_server import ADDRESS, BY_HAND, GATED, Hub

pytest.importorskip("huggingface_hub")


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_a_cached_data_set_is_read_offline(
    hub: Hub, hub_pair: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = hub.commit(hub_pair)
    open_source(ADDRESS, progress=False)
    hub.requests.clear()
    offline(monkeypatch)
    for address in (ADDRESS, f"{ADDRESS}@{sha}"):
        source = open_source(address, progress=False)
        assert np.array_equal(read_all(source, 5), FLUX, equal_nan=True)
        assert source.fingerprint == sha
    assert hub.requests == []


def test_offline_without_a_cache_says_how_to_bring_the_files(
    hub: Hub, hub_pair: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit(hub_pair)
    offline(monkeypatch)
    with pytest.raises(SourceAccessError, match=f"HF_HUB_OFFLINE is set.*{BY_HAND}"):
        open_source(ADDRESS, progress=False)


def test_an_incomplete_cache_is_not_read_offline(
    hub: Hub, hub_pair: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit(hub_pair)
    open_source(ADDRESS, progress=False)
    next((tmp_path / "cache").rglob("labels.npy")).unlink()
    offline(monkeypatch)
    with pytest.raises(SourceAccessError, match=f"its cache lacks the files; or {BY_HAND}"):
        open_source(ADDRESS, progress=False)


def test_a_hub_that_is_not_reached_is_named(
    hub: Hub, hub_pair: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit(hub_pair)
    cached = open_source(ADDRESS, progress=False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert open_source(ADDRESS, progress=False).name == cached.name
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/nowhere/at/all")
    with pytest.raises(SourceAccessError, match=f"the hub is not reached .*{BY_HAND}") as caught:
        open_source(ADDRESS, progress=False)
    assert "\n" not in str(caught.value)


REFUSALS: dict[str, tuple[int, dict[str, str], type[GalahStreamError], str]] = {
    "gated": (403, GATED, SourceAccessError, "its owners grant access: ask for it on its page"),
    "gated, no account": (401, GATED, SourceAccessError, "its owners grant access"),
    "private": (401, {"X-Error-Code": "RepoNotFound"}, SourceMissingError, "no such data set"),
    "unauthorised": (401, {}, SourceAccessError, "HTTP status 401: log in"),
    "forbidden": (403, {}, SourceAccessError, "HTTP status 403: log in"),
    "no data set": (404, {"X-Error-Code": "RepoNotFound"}, SourceMissingError, "no such data set"),
    "not a hub": (404, {}, SourceAccessError, "HTTP status 404"),
    "down": (500, {}, SourceAccessError, "HTTP status 500: try again later"),
}


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_says_why_and_how_to_bring_the_files(
    hub: Hub, hub_pair: dict[str, bytes], tmp_path: Path, kind: str
) -> None:
    hub.commit(hub_pair)
    status, headers, error, reason = REFUSALS[kind]
    hub.refusal = (status, headers)
    with pytest.raises(
        error, match=f"{ADDRESS} cannot be downloaded: .*{reason}.*{BY_HAND}"
    ) as seen:
        convert(ADDRESS, tmp_path / "store", progress=False)
    assert "\n" not in str(seen.value)
    assert type(seen.value) is error
    assert not (tmp_path / ".store.partial").exists()


def test_a_missing_revision_is_named(hub: Hub, hub_pair: dict[str, bytes]) -> None:
    hub.commit(hub_pair)
    with pytest.raises(SourceMissingError, match="it has no revision 'v9'"):
        open_source(f"{ADDRESS}@v9", progress=False)


def test_a_full_disk_of_the_cache_is_named(
    hub: Hub, hub_pair: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit(hub_pair)

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    with pytest.raises(StorageFullError, match=r"disk of its cache .*cache is full"):
        open_source(ADDRESS, progress=False)


def test_without_the_package_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(huggingface, "import_module", missing)
    match = r"galahstream\[hub\].*huggingface.co/datasets/simbaswe/galah4"
    with pytest.raises(ExtraMissingError, match=match):
        open_source(ADDRESS)
