"""Asks the console of the connected service where it is."""

import ray
from ray import serve

from headrace.service.applications import CONSOLE_APPLICATION

ANSWER_WITHIN_S = 5.0


def console_line() -> str:
    """Return a line for a person: the console's address, or why there is none yet."""
    try:
        handle = serve.get_app_handle(CONSOLE_APPLICATION)
        standing = handle.standing.remote().result(timeout_s=ANSWER_WITHIN_S)
    except (serve.exceptions.RayServeException, TimeoutError, ray.exceptions.RayError) as error:
        return f"Console: it does not answer: {str(error).splitlines()[0]}"
    if standing["problem"] is not None:
        return f"Console: not open yet: {standing['problem']}"
    return f"Console: {standing['url']}"
