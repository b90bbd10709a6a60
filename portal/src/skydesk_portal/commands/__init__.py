"""Subcommands of ``skydesk`` that the portal brings; each imports what it needs when it is called."""

from skydesk_portal.commands.alerts import alerts

__all__ = ["alerts"]
