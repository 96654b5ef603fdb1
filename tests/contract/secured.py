"""An Apache Kafka with TLS, SCRAM and ACLs that a test can also kill and restart."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from pydantic import SecretStr

from headrace.brokers.kafka_home import BrokerOptions, ExtraListener, start_kafka_home
from headrace.brokers.readiness import free_port
from headrace.brokers.running import RunningBroker
from schemas.settings.file import KafkaSettings, SaslSettings, TlsSettings

NOTHING_MORE: Mapping[str, str] = MappingProxyType({})
PASSWORDS = {"admin": "admin-pass-1", "stranger": "stranger-pass-2"}


class SecuredBroker:
    """One node: a plain listener, whose user may do anything, and one with TLS and SCRAM.

    There ``admin`` may do anything, and the others nothing until they get rights.
    """

    def __init__(
        self,
        directory: Path,
        passwords: Mapping[str, str] = PASSWORDS,
        *,
        more_listeners: Sequence[ExtraListener] = (),
        properties: Mapping[str, str] = NOTHING_MORE,
    ) -> None:
        self._directory = directory
        self._passwords = passwords
        self.ca_file, store = make_certificates(directory)
        self._port, self._secure_port = free_port(), free_port()
        self._options = BrokerOptions(
            extra_listeners=(
                ExtraListener(name="SECURE", protocol="SASL_SSL", port=self._secure_port),
                *more_listeners,
            ),
            scram_credentials=[
                f"SCRAM-SHA-512=[name={name},password={password}]"
                for name, password in passwords.items()
            ],
            properties={
                "sasl.enabled.mechanisms": "SCRAM-SHA-512",
                "listener.name.secure.scram-sha-512.sasl.jaas.config": (
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                ),
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(store),
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:admin;User:ANONYMOUS",
                **properties,
            },
        )
        self._broker = self._start()

    @property
    def plain(self) -> KafkaSettings:
        return KafkaSettings(bootstrap=f"127.0.0.1:{self._port}")

    def secure(self, user: str, password: str | None = None) -> KafkaSettings:
        return KafkaSettings(
            bootstrap=f"127.0.0.1:{self._secure_port}",
            tls=TlsSettings(ca_file=self.ca_file),
            sasl=SaslSettings(
                mechanism="SCRAM-SHA-512",
                username=user,
                password=SecretStr(password or self._passwords[user]),
            ),
        )

    def kill(self) -> None:
        self._broker.kill()

    def start_again(self) -> None:
        self._broker = self._start()

    def stop(self) -> None:
        self._broker.stop()

    def _start(self) -> RunningBroker:
        return start_kafka_home(
            data_dir=self._directory / "data", port=self._port, options=self._options
        )


@contextmanager
def running_secured_broker(
    directory: Path, passwords: Mapping[str, str] = PASSWORDS
) -> Iterator[SecuredBroker]:
    """Start the broker, and stop the one that runs at the end."""
    broker = SecuredBroker(directory, passwords)
    try:
        yield broker
    finally:
        broker.stop()


def make_certificates(directory: Path) -> tuple[Path, Path]:
    """Return a CA's certificate, and the broker's key and certificates in one PEM file."""

    def openssl(*arguments: str) -> None:
        subprocess.run(
            ["openssl", *arguments], check=True, capture_output=True, cwd=directory, timeout=60
        )

    for name in ("ca", "broker"):
        openssl(
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            f"{name}.key",
        )
    openssl(
        "req",
        "-x509",
        "-new",
        "-key",
        "ca.key",
        "-subj",
        "/CN=test-ca",
        "-days",
        "2",
        "-out",
        "ca.pem",
    )
    openssl("req", "-new", "-key", "broker.key", "-subj", "/CN=localhost", "-out", "broker.csr")
    (directory / "san.cnf").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    openssl(
        "x509", "-req", "-in", "broker.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
        "-days", "2", "-extfile", "san.cnf", "-out", "broker.pem",
    )  # fmt: skip
    store = directory / "keystore.pem"
    store.write_text(
        "".join((directory / name).read_text() for name in ("broker.key", "broker.pem", "ca.pem"))
    )
    return directory / "ca.pem", store


def make_client_certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """Return a certificate of the CA in ``directory`` for CN=name, and its key."""

    def openssl(*arguments: str) -> None:
        subprocess.run(
            ["openssl", *arguments], check=True, capture_output=True, cwd=directory, timeout=60
        )

    openssl(
        "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-keyout", f"{name}.key", "-subj", f"/CN={name}", "-out", f"{name}.csr",
    )  # fmt: skip
    openssl(
        "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
        "-CAcreateserial", "-days", "2", "-out", f"{name}.pem",
    )  # fmt: skip
    return directory / f"{name}.pem", directory / f"{name}.key"
