"""Prometheus and Grafana of the compose file: their files, as far as they can be proven."""

import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
import yaml

from headrace.observability.alerts.groups import alert_groups
from headrace.observability.dashboard import dashboard
from headrace.settings.file import load_settings

ROOT = Path(__file__).parents[4]
FOLDER = ROOT / "monitoring"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PROMETHEUS, GRAFANA = (COMPOSE["services"][name] for name in ("prometheus", "grafana"))


def read(path: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / path).read_text())
    return found


@pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not installed: it comes with Prometheus (apt-get install prometheus)",
)
def test_prometheus_takes_its_configuration() -> None:
    done = subprocess.run(
        ["promtool", "check", "config", str(FOLDER / "prometheus.yml")],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_and_dashboard_are_what_the_settings_render_to() -> None:
    groups = alert_groups(load_settings(ROOT / "headrace.yaml"))

    assert read("alerts.yaml") == {"groups": groups}, "run `make docs`"
    found = orjson.loads((FOLDER / "grafana/dashboards/headrace.json").read_bytes())
    assert found == dashboard(), "run `make docs`"


def test_prometheus_scrapes_where_the_service_has_its_metrics() -> None:
    command = COMPOSE["services"]["headrace"]["command"]
    port = command[command.index("--metrics-port") + 1]
    [job] = read("prometheus.yml")["scrape_configs"]

    assert job["static_configs"] == [{"targets": [f"headrace:{port}"]}]


def test_the_service_is_started_as_its_image_starts_it() -> None:
    [line] = [
        line.removeprefix("CMD ")
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("CMD ")
    ]
    default = yaml.safe_load(line)

    assert COMPOSE["services"]["headrace"]["command"][: len(default)] == default


def test_grafana_asks_the_prometheus_that_runs_beside_it() -> None:
    [source] = read("grafana/datasources/prometheus.yaml")["datasources"]
    address = urlsplit(source["url"])
    [variable] = [
        each for each in dashboard()["templating"]["list"] if each["name"] == "datasource"
    ]

    assert address.hostname in COMPOSE["services"]
    assert any(port.endswith(f":{address.port}") for port in PROMETHEUS["ports"])
    assert (variable["type"], variable["query"]) == ("datasource", source["type"])
    assert source["isDefault"]
    # A rate's window is four scrapes at least.
    assert source["jsonData"]["timeInterval"] == read("prometheus.yml")["global"]["scrape_interval"]


def test_grafana_finds_the_dashboard_where_it_is_mounted() -> None:
    [mounted] = [each for each in GRAFANA["volumes"] if each.startswith("./")]
    inside = mounted.split(":")[1]
    [provider] = read("grafana/dashboards/headrace.yaml")["providers"]
    home = GRAFANA["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]

    assert mounted.split(":")[0] == "./monitoring/grafana"
    assert provider["options"]["path"] == f"{inside}/dashboards"
    assert home == f"{inside}/dashboards/headrace.json"


def test_both_start_only_if_they_are_asked_for() -> None:
    assert PROMETHEUS["profiles"] == GRAFANA["profiles"] == ["observe"]


def test_nobody_can_change_anything_in_grafana() -> None:
    environment = GRAFANA["environment"]

    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"


def test_what_they_mount_exists() -> None:
    for service in (PROMETHEUS, GRAFANA):
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert not source.startswith("./") or (ROOT / source).exists()
            assert source.startswith("./") or source in COMPOSE["volumes"]
