import inspect
import re
from pathlib import Path

import pytest

import galahstream as gs
from galahstream import errors
from tests.conftest import Pair
from tests.error_examples import EXAMPLES

DOCUMENT = Path(__file__).parents[1] / "docs" / "errors.md"
SHOWN = dict(
    re.findall(
        r"^## (\w+)\n.*?^```text\n(.*?)\n```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE
    )
)
CLASSES: dict[str, type[BaseException]] = {
    name: item
    for name, item in vars(errors).items()
    if inspect.isclass(item)
    and issubclass(item, BaseException)
    and item is not errors.GalahStreamError
}


def test_every_error_is_documented_with_an_example() -> None:
    assert set(SHOWN) == set(CLASSES) == {item.__name__ for item in EXAMPLES}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:galahstream reads")
@pytest.mark.parametrize("name", SHOWN)
def test_the_message_shown_is_the_one_that_is_raised(
    name: str, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pair.folder.parent
    monkeypatch.chdir(folder)
    gs.convert("raw", "store").close()
    with pytest.raises(CLASSES[name]) as caught:
        EXAMPLES[CLASSES[name]](monkeypatch)
    assert caught.type is CLASSES[name]
    assert str(caught.value).replace(str(folder), "/survey") == SHOWN[name]
