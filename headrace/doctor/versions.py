"""Whether what is installed fits together. Pure, but for ``installed_facts``."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from headrace.preflight.findings import Finding
from headrace_client.cli.versions import installed

_OURS = ("headrace", "headrace-client")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledFacts:
    """What is installed here, and what this release asks for.

    Attributes:
        versions: By distribution, and of ``Python``.
        requirements: Of this release, as ``ray>=2.60,<2.61``.
        has_fast_records: Whether aiokafka has its C extensions.
    """

    versions: Mapping[str, str]
    requirements: Sequence[str] = field(default=())
    has_fast_records: bool = True


def installed_facts(*, has_fast_records: bool) -> InstalledFacts:
    versions = installed()
    asked = []
    for name in _OURS:
        try:
            asked += requires(name) or []
        except PackageNotFoundError:
            continue
    for each in asked:
        requirement = _requirement(each)
        if requirement is not None and requirement.name not in versions:
            try:
                versions[requirement.name] = version(requirement.name)
            except PackageNotFoundError:
                continue
    return InstalledFacts(
        versions={**versions, "Python": platform.python_version()},
        requirements=asked,
        has_fast_records=has_fast_records,
    )


def version_findings(facts: InstalledFacts) -> list[Finding]:
    found = []
    ours = {name: facts.versions[name] for name in _OURS if name in facts.versions}
    if len(set(ours.values())) > 1:
        says = " and ".join(f"{name} {each}" for name, each in ours.items())
        fix = f"install headrace-client {ours['headrace']}"
        found.append(Finding("error", "versions", "headrace", f"{says} are of two releases", fix))
    for text in facts.requirements:
        asked = _requirement(text)
        have = None if asked is None else facts.versions.get(asked.name)
        # Extras that are not wanted are not installed, and what is missing shows at once.
        if asked is None or have is None or _fits(asked, have):
            continue
        found.append(
            Finding(
                "warning",
                "versions",
                asked.name,
                f"{have} is installed, and this release was tested with {asked.specifier}",
                f"pip install '{asked.name}{asked.specifier}'",
            )
        )
    if not facts.has_fast_records:
        found.append(
            Finding(
                "warning",
                "versions",
                "aiokafka",
                "runs without its C extensions, some 30 times slower",
                "install a wheel for this platform, and unset AIOKAFKA_NO_EXTENSIONS",
            )
        )
    if not found:
        names = ("headrace", "ray", "vllm", "torch", "aiokafka", "Python")
        says = ", ".join(
            f"{name} {facts.versions[name]}" for name in names if name in facts.versions
        )
        found.append(Finding("ok", "versions", "installed", says))
    return found


def _requirement(text: str) -> Requirement | None:
    try:
        asked = Requirement(text)
    except InvalidRequirement:
        return None
    # Of an extra: it counts where the distribution is installed.
    marker = asked.marker
    if marker is not None and "extra" not in str(marker) and not marker.evaluate():
        return None
    return asked


def _fits(asked: Requirement, have: str) -> bool:
    try:
        # Local builds as 2.13.0+cpu count as their release.
        return asked.specifier.contains(Version(have).public, prereleases=True)
    except InvalidVersion:
        return True
