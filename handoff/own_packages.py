"""Whether Python imports Headrace's packages, or others of the same names."""

from importlib.util import find_spec
from pathlib import Path

_PACKAGES = ("handoff", "schemas", "consumer", "serve_models", "headrace")
_ROOT = Path(__file__).resolve().parents[1]


class HiddenPackageError(ImportError):
    """A package of the user's stands before one of ours; names both and the fix."""


def check_own_packages() -> None:
    """Look for the packages without importing them.

    Raises:
        HiddenPackageError: One is not ours.
    """
    for name in _PACKAGES:
        spec = find_spec(name)
        origin = None if spec is None else spec.origin
        if origin is not None and Path(origin).resolve().parent != _ROOT / name:
            raise HiddenPackageError(
                f"{origin} hides Headrace's package '{name}' ({_ROOT / name}): rename it, or keep "
                "your models in a folder without it and name that folder in PYTHONPATH"
            )
