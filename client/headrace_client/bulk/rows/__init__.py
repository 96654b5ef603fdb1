"""Input files as numbered rows, and what a row becomes: a text or a request body, checked.

``source.Source`` opens files and reads rows. A renderer makes JSON of them: for ``bulk embed``
``texts.TextColumn(schema, column=None, ...)`` and ``texts.TextTemplate(template, schema, ...)``,
for ``bulk run`` ``bodies.BodyTemplate(document, schema, ...)`` and ``batch_lines.BatchLines(...)``,
each with ``max_text_bytes`` and ``truncate_text``. ``identity.identity`` and ``seen.SeenItems``
find rows that are the same work, ``grouping.Grouper`` cuts requests.
"""
