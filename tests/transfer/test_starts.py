from __future__ import annotations

import pytest
import torch

from tl_app.backbones.staged import StagedNetwork, build
from tl_app.transfer.starts import averaged


@pytest.fixture
def source() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {k: v.clone() + 1 for k, v in build("shufflenet_v2_x0_5").net.state_dict().items()}


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_every_layer_is_the_average(source: dict[str, torch.Tensor], share: float) -> None:
    torch.manual_seed(2)
    network = build("shufflenet_v2_x0_5")
    own = {name: value.clone() for name, value in network.net.state_dict().items()}

    def load(given: StagedNetwork) -> str:
        given.net.load_state_dict(source)
        return "loaded"

    assert averaged(network, share, load) == "loaded"
    for name, value in network.net.state_dict().items():
        expected = source[name]
        if value.is_floating_point():
            expected = share * source[name] + (1 - share) * own[name]
        torch.testing.assert_close(value, expected, msg=name)
    if share in (0.0, 1.0):  # not only nearly
        exact = source if share else own
        assert all(
            torch.equal(value, exact[name])
            for name, value in network.net.state_dict().items()
            if value.is_floating_point()
        )
