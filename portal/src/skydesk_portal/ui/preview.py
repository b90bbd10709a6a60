"""A look at the content of a file: a table, a picture or text."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import Any

import numpy as np
import panel as pn
from numpy.typing import NDArray
from panel.viewable import Viewable

from skydesk_portal.exceptions import PortalError
from skydesk_portal.models.cutouts import PictureStyle
from skydesk_portal.services.pictures import render_picture
from skydesk_portal.ui.shell import notice
from skydesk_portal.ui.tables import ResultTable
from skydesk_portal.ui.words import describe_bytes
from skydesk_portal.vo.uploads import read_table

__all__ = ["LARGEST_BYTES", "TABLE_SUFFIXES", "preview_file"]

LARGEST_BYTES = 32_000_000
"""What is larger is not read for a look."""

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".vot", ".votable", ".xml", ".fits", ".fit")
"""Endings of files that may hold a table."""

_TEXT_BYTES = 64_000
_PICTURE_PX = 640
_TEXTS = ("text/", "application/json", "application/x-ipynb", "application/yaml")


def _is_table(name: str, media_type: str) -> bool:
    return name.lower().endswith(TABLE_SUFFIXES) or any(
        word in media_type for word in ("votable", "parquet", "csv", "tab-separated", "fits")
    )


def _first_plane(content: bytes) -> tuple[NDArray[Any], str] | None:
    """Return the first image of a FITS file and the cards of its header; None if it has none."""
    from astropy.io import fits

    with fits.open(io.BytesIO(content), lazy_load_hdus=True) as hdus:
        for hdu in hdus:
            if getattr(hdu, "is_image", False) and hdu.header.get("NAXIS", 0) >= 2 and hdu.data is not None:
                plane = np.asarray(hdu.data, np.float32)
                while plane.ndim > 2:
                    plane = plane[0]
                return plane, hdu.header.tostring()
    return None


def _picture(content: bytes, media_type: str, name: str) -> Viewable:
    code = base64.b64encode(content).decode("ascii")
    return pn.pane.HTML(
        f"<img class='look' src='data:{media_type};base64,{code}' alt='Picture of {escape(name)}'>",
        sizing_mode="stretch_width",
    )


def _fits_picture(content: bytes, name: str) -> Viewable | None:
    found = _first_plane(content)
    if found is None:
        return None
    plane, _cards = found
    step = max(1, max(plane.shape) // (2 * _PICTURE_PX))
    style = PictureStyle(size_px=_PICTURE_PX)
    return _picture(render_picture(plane[::step, ::step], style, "png"), "image/png", name)


def preview_file(content: bytes, name: str, media_type: str) -> Viewable:
    """Make a look at a file.

    Parameters
    ----------
    content
        The file, or its beginning if it is text.
    name, media_type
        What it is.

    Returns
    -------
    panel.viewable.Viewable
        A table, a picture, text, or a sentence that says why there is nothing to see.
    """
    if len(content) > LARGEST_BYTES:
        return notice(
            f"{escape(name)} is larger than {describe_bytes(LARGEST_BYTES)}: download it to look at it."
        )
    if media_type in ("image/png", "image/jpeg"):
        return _picture(content, media_type, name)
    try:
        if content.startswith(b"SIMPLE  =") and (picture := _fits_picture(content, name)) is not None:
            return picture
        if _is_table(name, media_type):
            columns, table = read_table(name, content, LARGEST_BYTES)
            shown = ResultTable()
            shown.show(table, columns, f"{name}: {table.num_rows:,} rows")
            return shown.view
    except (PortalError, OSError, ValueError, TypeError) as error:
        return notice(f"{escape(name)} cannot be shown: {escape(str(error))}.", "error")
    if media_type.startswith(_TEXTS) or "xml" in media_type:
        text = content[:_TEXT_BYTES].decode("utf-8", "replace")
        more = "\n…" if len(content) > _TEXT_BYTES else ""
        return pn.pane.HTML(
            f"<pre class='look' tabindex='0' aria-label='Content of {escape(name)}'>{escape(text)}{more}</pre>",
            sizing_mode="stretch_width",
        )
    return notice(f"{escape(name)} is of a kind that is not shown here: download it.")
