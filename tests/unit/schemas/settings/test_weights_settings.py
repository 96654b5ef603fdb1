from pathlib import Path

import pytest
from pydantic import ValidationError

from schemas.settings.weights import WeightsSettings


def test_unset_each_pod_pulls_to_the_nodes_disk() -> None:
    settings = WeightsSettings()

    assert settings.cache is None
    assert settings.volume.kind == "empty_dir"
    assert not settings.volume.is_read_only


@pytest.mark.parametrize(
    ("volume", "is_read_only"),
    [
        ({"kind": "claim", "size_gib": 100}, False),
        ({"kind": "claim", "access_mode": "ReadOnlyMany"}, True),
        ({"kind": "host_path", "path": "/mnt/nvme"}, False),
        ({"kind": "host_path", "path": "/mnt/nvme", "read_only": True}, True),
        ({"kind": "image", "reference": "r.example/weights:1"}, True),
    ],
)
def test_volumes_that_nothing_is_pulled_into(volume: dict[str, object], is_read_only: bool) -> None:
    settings = WeightsSettings.model_validate({"cache": "/srv/weights", "volume": volume})

    assert settings.cache == Path("/srv/weights")
    assert settings.volume.is_read_only is is_read_only


@pytest.mark.parametrize(
    "keys",
    [
        {"cache": "weights"},
        {"cache": "/"},
        {"cache": "/srv/../etc"},
        {"volume": {"kind": "host_path", "path": "mnt"}},
        {"volume": {"kind": "claim", "name": "Not_A_Name"}},
        {"volume": {"kind": "empty_dir", "path": "/x"}},
        {"volume": {"kind": "nfs"}},
        {"max_model_gib": 0},
    ],
)
def test_illegal_settings_are_refused(keys: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        WeightsSettings.model_validate(keys)
