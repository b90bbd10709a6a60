"""Reading positions as people write them."""

from __future__ import annotations

from skydesk_portal.models.positions import parse_position

__all__ = ["parse_position"]
