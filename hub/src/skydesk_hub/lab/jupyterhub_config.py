"""The configuration file of JupyterHub; everything of substance is in `skydesk_hub.lab.settings`."""

from skydesk_hub.lab.settings import configure
from skydesk_hub.supervisor.table import Platform

configure(get_config(), Platform.from_environment())  # type: ignore[name-defined]  # noqa: F821  # given by JupyterHub
