"""Tokens of AWS's IAM for Amazon MSK: a provider for ``kafka.sasl.oauth.token_provider``.

Needs ``aws-msk-iam-sasl-signer-python`` (``headrace-client[msk]``), which signs with whatever
credentials boto3 finds: the environment, a profile, the role of a node or a pod.
"""

from headrace_client.errors import SettingsError


def make_token(
    region: str, *, role_arn: str | None = None, profile: str | None = None
) -> tuple[str, float]:
    """Return a token for MSK in ``region``, and the epoch seconds at which it expires.

    ``role_arn`` is a role to assume first; ``profile`` is one of AWS's configuration files.
    """
    try:
        from aws_msk_iam_sasl_signer import (  # noqa: PLC0415 - nobody else needs boto3
            MSKAuthTokenProvider,
        )
    except ImportError as error:
        raise SettingsError(
            "tokens for MSK need aws-msk-iam-sasl-signer-python: `pip install "
            "'headrace-client[msk]'`"
        ) from error
    if role_arn is not None:
        token, expiry_ms = MSKAuthTokenProvider.generate_auth_token_from_role_arn(region, role_arn)
    elif profile is not None:
        token, expiry_ms = MSKAuthTokenProvider.generate_auth_token_from_profile(region, profile)
    else:
        token, expiry_ms = MSKAuthTokenProvider.generate_auth_token(region)
    return token, expiry_ms / 1000
