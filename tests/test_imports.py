import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "galahstream"
# Modules beside a room: they may import what the room may.
BESIDE = {"pair": "conversion", "config": "cli", "__main__": "cli", "__init__": "cli", "cli": "cli"}
# Small pieces that every room may use; they import errors alone.
COMMON = {"errors", "nameless", "options", "plain_hdf5", "processes"}
ALLOWED = {
    "errors": set(),
    "nameless": set(),
    "options": {"errors"},
    "processes": set(),
    "plain_hdf5": set(),
    "wavelength": COMMON,
    "splits": COMMON,
    "sources": COMMON | {"wavelength"},
    "store": COMMON | {"wavelength", "splits"},
    "journal": COMMON | {"store"},
    "transfer": COMMON | {"sources", "store", "journal"},
    "repair": COMMON | {"sources", "store"},
    "conversion": COMMON | {"wavelength", "splits", "sources", "store", "transfer", "journal"},
    "stream": COMMON | {"wavelength", "splits", "store"},
    "learn": COMMON | {"wavelength", "splits", "store", "stream"},
}


def room_of(path: Path) -> str:
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return BESIDE.get(name, name)


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=str)
def test_imports_run_one_way(path: Path) -> None:
    room = room_of(path)
    if room == "cli":
        return
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "galahstream" and len(parts) > 1:
            assert parts[1] == room or parts[1] in ALLOWED[room], f"{path} imports {name}"
        if room in {*ALLOWED} - {"stream", "learn"}:
            assert parts[0] != "torch", f"{path} imports torch"


def test_converting_needs_no_torch_and_importing_little() -> None:
    code = (
        "import sys, galahstream; assert 'numpy' not in sys.modules;"
        "galahstream.convert; galahstream.open_store; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there() -> None:
    import galahstream

    for name in galahstream.__all__:
        assert getattr(galahstream, name) is not None
    assert not hasattr(galahstream, "no_such_name")
