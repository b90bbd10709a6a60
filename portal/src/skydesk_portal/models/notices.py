"""Notices that people get while they do something else."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Notice"]


@dataclass(frozen=True)
class Notice:
    """Something that a person shall know.

    Parameters
    ----------
    id
        Number, in the order in which they were made.
    subject
        What it is about, such as ``job/4f2a``: what is new about the same takes the place of an unread notice.
    text
        One sentence, as plain text.
    link
        Path on the platform where there is more; empty for none.
    kind
        ``info`` or ``error``.
    at_s
        When it was made (Unix time).
    is_read
        Whether the person has seen it.
    """

    id: int
    subject: str
    text: str
    link: str
    kind: str
    at_s: float
    is_read: bool
