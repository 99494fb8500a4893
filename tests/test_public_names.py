import subprocess
import sys


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
