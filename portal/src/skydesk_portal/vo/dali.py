"""What DALI 1.1 says about errors and parameters."""

from __future__ import annotations

from xml.sax.saxutils import escape

__all__ = ["error_votable"]


def error_votable(message: str) -> bytes:
    """Return the VOTable that tells of an error.

    Parameters
    ----------
    message
        What went wrong, in one line.

    Returns
    -------
    bytes
        A VOTable with QUERY_STATUS=ERROR (DALI 1.1, section 4.4.1).
    """
    return (
        "<?xml version='1.0' encoding='utf-8'?>\n"
        "<VOTABLE version='1.4' xmlns='http://www.ivoa.net/xml/VOTable/v1.3'>\n<RESOURCE type='results'>\n"
        f"<INFO name='QUERY_STATUS' value='ERROR'>{escape(message)}</INFO>\n</RESOURCE>\n</VOTABLE>\n"
    ).encode()
