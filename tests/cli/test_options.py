"""The options of the commands: what --help says, and what can be chosen."""

import argparse
import re
from collections.abc import Callable
from functools import partial
from types import ModuleType

import pytest

import galahstream as gs
from galahstream.cli import command, convert, evaluate, mock, train
from galahstream.cli.main import COMMANDS, build_parser, main
from galahstream.errors import OptionError
from galahstream.mock.source import MockSource
from tests.conftest import Pair


def name_of(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


@pytest.mark.parametrize("name", [name_of(module) for module in COMMANDS])
def test_every_help_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    assert f"example: galahstream {name}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", [name_of(module) for module in COMMANDS])
def test_every_option_is_explained(name: str) -> None:
    (commands,) = (
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    for action in commands.choices[name]._actions:
        assert action.help, action.dest


def calling(
    function: Callable[..., object], *arguments: object, **options: object
) -> Callable[[], object]:
    return partial(function, *arguments, **options)


@pytest.mark.parametrize(
    ("choices", "call"),
    [
        (convert.FORMATS, calling(gs.convert, "raw", "other", format="?")),
        (convert.DTYPES, calling(gs.convert, "raw", "other", dtype="?")),
        (convert.COMPRESSIONS, calling(gs.convert, "raw", "other", compression="?", format="hdf5")),
        (convert.ON_BAD, calling(gs.convert, "raw", "other", on_bad="?")),
        (convert.JOINS, calling(gs.convert, "raw", "other", catalogue="t.csv", join="?")),
        (convert.SELECTS, calling(gs.convert, "raw", "other", catalogue="t.csv", select="?")),
        (convert.UNMATCHED, calling(gs.convert, "raw", "other", catalogue="t", unmatched="?")),
        (mock.FRAMES, calling(MockSource, 1, frame="?")),
        (command.SPLITS, calling(gs.SpectraDataset, "store", "?")),
        (train.MISSING, calling(gs.SpectraDataset, "store", missing="?")),
        (train.MODELS, calling(gs.train, "store", model="?")),
        (train.LOSSES, calling(gs.train, "store", loss="?")),
        (evaluate.MISSING, calling(gs.SpectraDataset, "store", missing="?")),
    ],
)
def test_the_choices_are_those_of_the_library(
    pair: Pair,
    monkeypatch: pytest.MonkeyPatch,
    choices: tuple[str, ...],
    call: Callable[[], object],
) -> None:
    monkeypatch.chdir(pair.folder.parent)
    gs.convert("raw", "store").close()
    with pytest.raises(OptionError) as caught:
        call()
    expected = re.findall(r"[\w-]+", str(caught.value).partition("expected ")[2])
    assert set(expected) - {"one", "of", "or"} == set(choices)


def test_an_option_that_is_not_a_choice_is_wrong_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["convert", "raw", "store", "--format", "zarr"])
    assert caught.value.code == 2
    assert "npy" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [["--split", "0.7,0.3"], ["--split", "a,b,c"], ["--flux-range", "1"]]
)
def test_a_list_that_cannot_be_read_is_wrong_usage(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["convert", "raw", "store", *options])
    assert caught.value.code == 2
    assert "cannot be read; expected" in capsys.readouterr().err


def test_wrong_usage_is_status_2() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["info"])
    assert caught.value.code == 2
