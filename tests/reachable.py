"""How many payload bytes objects keep alive, for tests of what is kept."""

import gc
from collections.abc import Iterable
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType

_SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType, CodeType)
_SMALL_BYTES = 64


def reachable_bytes(roots: Iterable[object], beyond: Iterable[object] = ()) -> int:
    """Return the size of all ``bytes`` that ``roots`` keep alive.

    Args:
        roots: Where to begin: objects, tasks, coroutines with their frames.
        beyond: Objects not to follow.
    """
    barred = {id(each) for each in beyond}
    seen: dict[int, object] = {}
    waiting = list(roots)
    size_bytes = 0
    while waiting:
        found = waiting.pop()
        if id(found) in seen or id(found) in barred or isinstance(found, _SHARED):
            continue
        seen[id(found)] = found
        if isinstance(found, bytes):
            size_bytes += len(found) if len(found) > _SMALL_BYTES else 0
        else:
            waiting.extend(gc.get_referents(found))
    return size_bytes
