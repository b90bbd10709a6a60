"""Links to pages for people, which every answer of DataLink ends with."""

from __future__ import annotations

from skydesk_portal.models.datalink import Link

__all__ = ["link_pages"]


def link_pages(text: str, url: str, page: str | None, words: str) -> list[Link]:
    """Link a page of the portal, if there is one, and the documentation.

    Parameters
    ----------
    text
        Identifier as it was asked for.
    url
        Public base address of the platform.
    page
        Path of the page below that address, or None.
    words
        What the page shows.

    Returns
    -------
    list of Link
        The links, the documentation last.
    """
    links = []
    if page is not None:
        address = f"{url}{page}"
        links.append(
            Link(text, "#auxiliary", words, access_url=address, content_type="text/html", link_auth="true")
        )
    links.append(
        Link(
            text,
            "#auxiliary",
            "How the platform's data are made and described",
            access_url=f"{url}/docs/",
            content_type="text/html",
            local_semantics="documentation",
            link_auth="false",
            link_authorized=True,
        )
    )
    return links
