"""Documents of the cut-out service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode
from xml.sax.saxutils import escape, quoteattr

__all__ = ["CutoutExample", "examples_xhtml"]


@dataclass(frozen=True)
class CutoutExample:
    """A request to begin with."""

    name: str
    title: str
    parameters: tuple[tuple[str, str], ...]


def examples_xhtml(base_url: str, examples: Sequence[CutoutExample]) -> bytes:
    """Return the examples of the service (DALI 1.1, section 2.3).

    Parameters
    ----------
    base_url
        Address of the service.
    examples
        Requests to begin with.

    Returns
    -------
    bytes
        XHTML with RDFa.
    """
    parts = []
    for example in examples:
        url = f"{base_url}/sync?{urlencode(example.parameters)}"
        rows = "\n".join(
            '<tr property="generic-parameter" typeof="keyval">'
            f'<td property="key">{escape(key)}</td><td property="value">{escape(value)}</td></tr>'
            for key, value in example.parameters
        )
        parts.append(
            f'<div typeof="example" id={quoteattr(example.name)} resource={quoteattr("#" + example.name)}>\n'
            f'<h2 property="name">{escape(example.title)}</h2>\n'
            f'<p>Address: <a href={quoteattr(url)} property="capability" '
            f'resource="ivo://ivoa.net/std/SODA#sync-1.0">{escape(url)}</a></p>\n'
            f"<table>\n{rows}\n</table>\n</div>"
        )
    body = "\n".join(parts)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<html xmlns="http://www.w3.org/1999/xhtml">\n'
        '<head><title>Cut-outs to begin with</title></head>\n<body vocab="http://www.ivoa.net/rdf/examples#">\n'
        f"<h1>Cut-outs to begin with</h1>\n{body}\n</body></html>\n"
    ).encode()
