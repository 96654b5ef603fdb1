"""Checks manifests against Kubernetes' schemas and those of the operators' resources."""

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate

KUBERNETES_VERSION = "1.33"
SCHEMAS = Path(__file__).parent / "schemas"


def problems_of(document: Mapping[str, Any]) -> list[str]:
    """Return what the API server would refuse of a document, one line each."""
    group, _, version = str(document["apiVersion"]).rpartition("/")
    schema = SCHEMAS / f"{document['kind']}-{group}-{version}.json"
    if schema.exists():
        return sorted(_custom(schema, document))
    try:
        kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.path))}: {error.message}"]
    return []


def _custom(schema: Path, document: Mapping[str, Any]) -> Iterator[str]:
    for error in _validator(schema).iter_errors(document):
        yield f"{'.'.join(map(str, error.path))}: {error.message}"


@functools.cache
def _validator(schema: Path) -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(json.loads(schema.read_text()))
