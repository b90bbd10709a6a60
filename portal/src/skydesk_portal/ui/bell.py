"""The bell on every page: notices of the person, and the downloads under way."""

from __future__ import annotations

from skydesk_portal.ui.gate import PREFIX

__all__ = ["write_bell"]

_BELL = (
    "<svg width='18' height='18' viewBox='0 0 24 24' fill='none' stroke='currentColor' stroke-width='2' aria-hidden='true'>"
    "<path d='M6 16V10a6 6 0 0 1 12 0v6l2 2H4z' stroke-linejoin='round'/><path d='M10 21h4' stroke-linecap='round'/></svg>"
)


def write_bell() -> str:
    """Return what the header of a page shows of notices and downloads, as HTML."""
    return (
        f"<link rel='stylesheet' href='{PREFIX}/assets/notices.css'>"
        f"<div class='sd-bell' data-base='{PREFIX}'>"
        "<button type='button' id='sd-bell' aria-expanded='false' aria-controls='sd-notices' aria-label='Notices'"
        f" title='Notices'>{_BELL}<span id='sd-bell-count' aria-hidden='true' hidden></span></button>"
        "<section id='sd-notices' aria-label='Notices' tabindex='-1' hidden><div class='sd-notices-head'>"
        "<b>Notices</b><button type='button' data-act='read'>Mark all as read</button>"
        "<button type='button' data-act='clear'>Clear</button>"
        "<button type='button' data-act='browser' hidden>Show them by the browser, too</button></div>"
        "<ul></ul><p class='sd-notices-none'>There are no notices.</p></section></div>"
        "<div id='sd-announce' class='sd-unseen' role='status' aria-live='polite'></div>"
        "<section id='sd-transfers' aria-label='Downloads' hidden></section>"
        f"<script src='{PREFIX}/assets/notices.js' defer></script>"
    )
