"""Fixtures of sources that come from elsewhere."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.sources.files import write_pair
from tests.sources.hub_server import Hub, contents, running


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Return a hub without data sets, with an empty cache and no account."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    constants = "huggingface_hub.constants"
    monkeypatch.setattr(f"{constants}.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(f"{constants}.HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setattr(f"{constants}.HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    monkeypatch.setattr(f"{constants}.HF_HUB_OFFLINE", False)
    package = pytest.importorskip("huggingface_hub")
    served = Hub()
    with running(served) as endpoint:
        monkeypatch.setattr(f"{constants}.ENDPOINT", endpoint)
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", template)
        package.close_session()
        yield served
    package.close_session()


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the hub's package try again at once."""
    clock = SimpleNamespace(sleep=lambda seconds: None, time=time.time, monotonic=time.monotonic)
    monkeypatch.setattr("huggingface_hub.file_download.time", clock)
    monkeypatch.setattr("huggingface_hub.utils._http.time", clock)


@pytest.fixture
def hub_pair(tmp_path: Path) -> dict[str, bytes]:
    return contents(write_pair(tmp_path / "pair"))
