"""How a process writes its logs: which lines, how many of a kind, without secrets, in which form.

Only the standard library is used, and of the rest of the client nothing, so that the service's
processes can use it as well. A log call names its event and what it is about in ``extra``::

    log.warning("commit refused: %s", error, extra={"event": "commit_refused", "group": group})

``schemas/log_events.py`` of the service lists the events and the names of fields.
"""
