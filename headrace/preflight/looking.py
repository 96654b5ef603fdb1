"""Looks at all that a service needs, before anything starts."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

from consumer.kafka.admin.admin import TopicAdmin
from consumer.ports import SourceError
from headrace.brokers.readiness import answers_metadata
from headrace.preflight.broker import ClusterView, broker_findings, merged_view
from headrace.preflight.findings import Finding
from headrace.preflight.generators import look_at_generators
from headrace.preflight.gpus import GpusFound, asks_for_gpus, gpu_findings, uncounted_gpus
from headrace.preflight.ray_nodes import RaySilentError, gpus_of_cluster
from headrace.preflight.weights import (
    bytes_of,
    find_weights,
    is_any_missing,
    weight_findings,
)
from headrace.topics import ClusterTopics, ask_unfit_topics, topics_by_cluster
from schemas.settings.file import Settings
from schemas.settings.secrets import KAFKA

BROKER_TIMEOUT_S = 15.0


def look(settings: Settings, *, use_ray: Literal["auto", "local"] = "auto") -> list[Finding]:
    """Return what was found; takes some seconds, and with generators some ten.

    With ``use_ray`` ``auto`` a Ray cluster that runs here is where the models will run.
    """
    with ThreadPoolExecutor(1) as others:
        weights = find_weights(settings)
        # vLLM takes the longest to ask.
        generators = others.submit(look_at_generators, settings, weights)
        broker = asyncio.run(look_at_broker(settings))
        silent: list[Finding] = []
        try:
            found = _find_gpus(settings, use_ray, looks_for_ray=is_any_missing(settings, weights))
        except RaySilentError as error:
            # `up` would wait for it.
            says = f"the Ray cluster whose address is known here {error}"
            fix = "`ray stop` forgets it if it is gone; or start another with --own-ray"
            silent = [Finding("error", "Ray", "ray", says, fix)]
            found = _find_gpus(settings, "local", looks_for_ray=False)
        sizes = {
            name: bytes_of(weights[model.source])
            for name, model in settings.models.items()
            if model.kind == "generator" and model.source in weights
        }
        tried = generators.result()
        if found.is_cluster:
            # Other nodes may have another build of vLLM.
            tried = [
                replace(each, level="warning") if each.level == "error" else each for each in tried
            ]
        return [
            *broker,
            *silent,
            *uncounted_gpus(settings),
            *gpu_findings(settings, found, sizes),
            *weight_findings(settings, weights, is_cluster=found.is_cluster),
            *tried,
        ]


async def look_at_broker(settings: Settings) -> list[Finding]:
    kafka = settings.kafka
    if kafka.broker != "external" and not _answers(kafka.bootstrap):
        says = f"none at {kafka.bootstrap} yet; `headrace up` starts one ({kafka.broker})"
        return [Finding("ok", "broker", "kafka.bootstrap", says)]
    findings: list[Finding] = []
    views: list[ClusterView] = []
    clusters = topics_by_cluster(settings)
    for cluster in clusters:
        bootstrap, where = cluster.kafka.bootstrap, f"{cluster.section}.bootstrap"
        try:
            async with asyncio.timeout(BROKER_TIMEOUT_S), TopicAdmin(cluster.kafka) as admin:
                views.append(await _view(settings, cluster, admin))
        except TimeoutError:
            says = f"no broker at {bootstrap} has answered within {BROKER_TIMEOUT_S:g} s"
            fix = "check the address, and that this machine may reach it"
            findings.append(Finding("error", "broker", where, says, fix))
        except SourceError as error:
            findings.append(Finding("error", "broker", cluster.section, str(error)))
        else:
            findings.append(Finding("ok", "broker", where, f"{bootstrap} answers"))
    if len(views) < len(clusters):
        return findings
    return [*findings, *broker_findings(settings, merged_view(views))]


def _answers(bootstrap: str) -> bool:
    host, _, port = bootstrap.rpartition(":")
    return port != "0" and answers_metadata(host, int(port))


async def _view(settings: Settings, cluster: ClusterTopics, admin: TopicAdmin) -> ClusterView:
    wanted = cluster.wanted
    topics = await admin.describe_topics(wanted)
    rights, hidden = await admin.topic_rights(sorted(wanted))
    missing = {
        topic: wanted[topic]
        for topic, info in topics.items()
        if info is None and topic not in hidden
    }
    groups = {route.group for route in settings.routes.values()}
    return ClusterView(
        topics=topics,
        hidden=hidden,
        uncreatable=await admin.explain_uncreatable(missing),
        topic_rights=rights,
        # Consumers commit where they read.
        group_rights=await admin.group_rights(groups if cluster.section == KAFKA else ()),
        unfit=tuple(await ask_unfit_topics(settings, admin, wanted)),
    )


def _find_gpus(
    settings: Settings, use_ray: Literal["auto", "local"], *, looks_for_ray: bool
) -> GpusFound:
    asks = asks_for_gpus(settings)
    if use_ray == "auto" and (asks or looks_for_ray):
        nodes = gpus_of_cluster()
        if nodes is not None:
            return GpusFound(nodes, is_cluster=True)
    if not asks:
        return GpusFound(())
    import torch  # noqa: PLC0415 - takes seconds, and only GPUs need it

    count = torch.cuda.device_count()
    sizes = [torch.cuda.get_device_properties(each).total_memory for each in range(count)]
    return GpusFound(
        (float(count),),
        has_cuda=torch.version.cuda is not None or torch.version.hip is not None,
        smallest_bytes=min(sizes, default=0),
    )
