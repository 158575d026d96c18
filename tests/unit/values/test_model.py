"""values/model: when two cards say the same."""

import pytest

from extproc.values.model import ModelCard

CARD = ModelCard("phi", created=1, owned_by="vllm", root="org/phi", parent="base", max_model_len=4096)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        pytest.param(ModelCard("phi", 1, "vllm", "org/phi", "base", 4096), True, id="nothing differs"),
        pytest.param(ModelCard("phi", 2, "vllm", "org/phi", "base", 4096), True, id="created"),
        pytest.param(ModelCard("Phi", 1, "vllm", "org/phi", "base", 4096), False, id="id"),
        pytest.param(ModelCard("phi", 1, "me", "org/phi", "base", 4096), False, id="owned_by"),
        pytest.param(ModelCard("phi", 1, "vllm", "org/phi2", "base", 4096), False, id="root"),
        pytest.param(ModelCard("phi", 1, "vllm", "org/phi", None, 4096), False, id="parent"),
        pytest.param(ModelCard("phi", 1, "vllm", "org/phi", "base", 2048), False, id="max_model_len"),
    ],
)
def test_created_alone_may_differ(other: ModelCard, same: bool) -> None:
    assert CARD.says_the_same_as(other) is same
    assert other.says_the_same_as(CARD) is same
