"""How much room an engine has for adapters, which is fixed when it starts. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from serve_models.generation.adapters.checkpoint import AdapterCheckpoint, AdapterError

_ROOM_ARGUMENTS = ("max_loras", "max_lora_rank", "max_cpu_loras")
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
_LEAST_RANK = 16
_MOST_AT_A_TIME = 8
_LEAST_KEPT = 32


@dataclass(frozen=True, slots=True)
class AdapterRoom:
    """The room of a running engine.

    Attributes:
        max_lora_rank: The largest rank that it takes.
        max_cpu_loras: How many adapters it keeps in memory. vLLM would read one more again and
            again from its files, in the middle of other requests, and die without them.
    """

    max_lora_rank: int
    max_cpu_loras: int


def asks_for_room(engine_args: Mapping[str, JsonValue]) -> bool:
    """Whether an engine is to take adapters, though it may start without one."""
    return any(engine_args.get(name) is not None for name in _ROOM_ARGUMENTS)


def room_arguments(
    engine_args: Mapping[str, JsonValue],
    checkpoints: Sequence[AdapterCheckpoint],
    *,
    takes_adapters: bool = False,
) -> dict[str, JsonValue]:
    """Return the engine arguments for adapters; empty if the engine is to take none.

    It takes some if it starts with ``checkpoints``, or ``takes_adapters``, or ``engine_args`` ask
    for room. What those set is left out. Without an adapter vLLM runs faster, and compiles on CPUs.
    """
    if not (checkpoints or takes_adapters or asks_for_room(engine_args)):
        return {}
    at_a_time = min(max(len(checkpoints), 1), _MOST_AT_A_TIME)
    largest = max([_LEAST_RANK, *(each.rank for each in checkpoints)])
    max_loras = engine_args.get("max_loras")
    kept = max(
        _LEAST_KEPT, len(checkpoints), max_loras if isinstance(max_loras, int) else at_a_time
    )
    chosen: dict[str, JsonValue] = {
        "enable_lora": True,
        "max_loras": at_a_time,
        "max_lora_rank": next((rank for rank in _RANKS if rank >= largest), largest),
        "max_cpu_loras": kept,
    }
    return {name: value for name, value in chosen.items() if engine_args.get(name) is None}


def check_adapter(
    name: str,
    checkpoint: AdapterCheckpoint,
    room: AdapterRoom | None,
    *,
    kept: int,
    served_names: Collection[str],
) -> None:
    """Raise ``AdapterError`` if an engine that keeps ``kept`` adapters cannot take this one too."""
    if room is None:
        raise AdapterError(
            "the model started without room for adapters; set engine_args.max_loras (how many run "
            "in one batch) and engine_args.max_lora_rank, and restart it with `headrace up`"
        )
    check_adapter_name(name, served_names)
    if checkpoint.rank > room.max_lora_rank:
        raise AdapterError(
            f"rank {checkpoint.rank} is over the {room.max_lora_rank} that the engine has room "
            f"for; set engine_args.max_lora_rank to {_next_rank(checkpoint.rank)} and restart the "
            "model with `headrace up`"
        )
    if kept >= room.max_cpu_loras:
        raise AdapterError(
            f"{kept + 1} adapters are over the {room.max_cpu_loras} that the engine keeps; set "
            "engine_args.max_cpu_loras higher and restart the model with `headrace up`, or remove "
            "another adapter first"
        )


def check_adapter_name(name: str, served_names: Collection[str]) -> None:
    if name in served_names:
        raise AdapterError(
            f"'{name}' is a name of the model itself (its key in the settings or one of "
            "served_names); choose another"
        )


def _next_rank(rank: int) -> int:
    return next((each for each in _RANKS if each >= rank), rank)
