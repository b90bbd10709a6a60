"""The subcommands that the core adds to ``skydesk``; their modules import only click and the standard library."""

from skydesk_core.commands.calib import calib
from skydesk_core.commands.camera import camera
from skydesk_core.commands.demo import demo
from skydesk_core.commands.ingest import ingest
from skydesk_core.commands.metrics import metrics
from skydesk_core.commands.orbits import orbits
from skydesk_core.commands.publish import publish
from skydesk_core.commands.refcat import refcat
from skydesk_core.commands.release import release
from skydesk_core.commands.run import run

__all__ = ["calib", "camera", "demo", "ingest", "metrics", "orbits", "publish", "refcat", "release", "run"]
