"""Amazon's signer is asked for what the settings say, and imported by nobody else."""

import sys
from types import SimpleNamespace

import pytest

from headrace_client import SettingsError
from headrace_client.kafka.security.msk_iam import make_token
from headrace_client.kafka.security.providers import provider_of

PATH = "headrace_client.kafka.security.msk_iam:make_token"


class Signer:
    @staticmethod
    def generate_auth_token(region: str) -> tuple[str, int]:
        return f"of-{region}", 1_700_000_000_500

    @staticmethod
    def generate_auth_token_from_role_arn(region: str, role_arn: str) -> tuple[str, int]:
        return f"{role_arn}-of-{region}", 1_000

    @staticmethod
    def generate_auth_token_from_profile(region: str, profile: str) -> tuple[str, int]:
        return f"{profile}-of-{region}", 1_000


def test_tokens_come_from_the_signer(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = SimpleNamespace(MSKAuthTokenProvider=Signer)
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", signer)

    assert provider_of(PATH, {"region": "eu-west-1"})() == ("of-eu-west-1", 1_700_000_000.5)
    assert make_token("r", role_arn="role") == ("role-of-r", 1.0)
    assert make_token("r", profile="mine") == ("mine-of-r", 1.0)


def test_without_the_signer_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", None)

    with pytest.raises(SettingsError, match=r"pip install 'headrace-client\[msk\]'"):
        make_token("r")
