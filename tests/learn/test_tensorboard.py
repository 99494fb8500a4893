"""A run in TensorBoard, as a browser shows it."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from galahstream.learn.results import TrainingResult
from tests.browser import headless_browser

pytestmark = pytest.mark.slow
SECONDS = 60


@pytest.fixture
def address(run: TrainingResult) -> Iterator[str]:
    """Serve the run with the program itself, on a port that it chooses."""
    program = [
        sys.executable, "-m", "tensorboard.main", "--logdir", str(run.out), "--host", "127.0.0.1",
        "--port", "0",
    ]  # fmt: skip
    server = subprocess.Popen(program, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        for line in server.stderr:
            if "http://" in line:
                yield "http://" + line.partition("http://")[2].split()[0]
                break
        else:
            pytest.fail("TensorBoard ended")
    finally:
        server.terminate()
        server.wait(SECONDS)


def test_the_pages_say_whether_it_learns_overfits_and_waits(address: str) -> None:
    wanted = {
        "timeseries": ["loss/training", "loss/validation"],
        "custom_scalars": [
            "Is it learning? Is it overfitting?",
            "loss: training and validation",
            "validation RMSE of teff [K]",
            "Is it waiting for data?",
        ],
        "images": ["pictures/loss", "pictures/predictions"],
    }
    # innerText does not have the shadow roots of TensorBoard's own elements.
    script = """
        const texts = [];
        const walk = node => {
            if (node.nodeType === Node.TEXT_NODE) texts.push(node.data.trim());
            if (node.shadowRoot) walk(node.shadowRoot);
            node.childNodes.forEach(walk);
        };
        walk(document.body);
        return texts.filter(text => text).join(" ").replaceAll(" / ", "/").replaceAll(" /", "/");
    """
    with headless_browser(1400) as browser:
        for page, words in wanted.items():
            browser.get(f"{address}#{page}")
            end, missing = time.monotonic() + SECONDS, words
            while missing and time.monotonic() < end:
                shown = browser.execute_script(script)
                missing = [word for word in words if word not in shown]
            assert not missing, f"{page} shows {shown}"
