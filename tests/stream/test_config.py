import pytest

import galahstream as gs


def test_the_configuration_names_versions_and_device(capsys: pytest.CaptureFixture[str]) -> None:
    gs.show_config()
    printed = capsys.readouterr().out
    for word in ("galahstream 0.1.0", "torch ", "device ", "kernels numba"):
        assert word in printed
