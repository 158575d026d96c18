"""Every config in the repository is one that the server takes."""

import pytest
from tests.unit.settings.configs import CONFIGS

from extproc.settings.load import load


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS.keys())
def test_it_is_taken(text: str) -> None:
    load(text=text, flag_values={})


@pytest.mark.parametrize(("folder", "least"), [("manifests", 3), ("docs", 2), ("test_llmd", 6)])
def test_configs_are_found_there(folder: str, least: int) -> None:
    assert len([name for name in CONFIGS if name.startswith(folder)]) >= least
