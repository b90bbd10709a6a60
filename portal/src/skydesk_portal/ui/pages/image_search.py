"""The image search: images by data ID, time, quality, place and provenance."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import panel as pn
from panel.viewable import Viewable

from skydesk_portal.exceptions import ForbiddenError, PortalError, UsageError
from skydesk_portal.models.cutouts import parse_cutouts
from skydesk_portal.models.jobs import Job, JobKind
from skydesk_portal.models.photometry import band_order
from skydesk_portal.models.positions import parse_position
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.image_query import ImageQuery, write_kinds, write_query
from skydesk_portal.ui.image_transfer import ImageTransfer
from skydesk_portal.ui.shell import PageRequest, no_release, notice
from skydesk_portal.ui.tables import ResultTable
from skydesk_portal.ui.words import describe_download

if TYPE_CHECKING:
    from skydesk_portal.services.tap import QueryResult
    from skydesk_portal.ui.services import PortalServices

__all__ = ["build"]

_ROWS = 20_000
_WHOLE = ("detector", "tract", "patch", "input_visit", "inputs")
_MOST_CUTOUTS = 1000


class _Page:
    """The form and its result."""

    def __init__(self, services: PortalServices, request: PageRequest, releases: list[str]) -> None:
        self.services, self.request = services, request
        query = request.query
        wanted = query.get("release", "")
        self.release = pn.widgets.Select(
            name="Release", options=releases, value=wanted if wanted in releases else releases[0], width=130
        )
        self.kind = pn.widgets.Select(name="Kind", width=170)
        self.band = pn.widgets.Select(name="Band", width=90)
        self.raft = pn.widgets.Select(name="Raft", width=90, visible=False)
        self.texts = {
            name: pn.widgets.TextInput(name=label, value=query.get(name, ""), placeholder=hint, width=width)
            for name, label, hint, width in (
                ("visit", "Visit, or several", "", 190),
                ("detector", "Detector", "", 90),
                ("tract", "Tract", "", 90),
                ("patch", "Patch", "", 90),
                ("begin", "From (UTC, MJD, JD or BJD)", "2026-04-13T02:30", 190),
                ("end", "To (UTC, MJD, JD or BJD)", "61143.5", 190),
                ("seeing_arcsec", "Seeing at most (arcsec)", "1.2", 160),
                ("position", "Position", "53.13 -28.10", 200),
                ("radius_arcsec", "Radius (arcsec), 0 contains it", "0", 200),
                ("input_visit", "Made of visit", "", 150),
                ("inputs", "Made of visits, at least", "2", 160),
                ("exposure_s", "Exposure or depth at least (s)", "60", 200),
                ("visit_conditions", "Conditions on the visits", "airmass < 1.2; band <> 'u'", 300),
            )
        }
        self.search = pn.widgets.Button(name="Search", button_type="primary", width=100, align="end")
        self.message = pn.Column(sizing_mode="stretch_width", margin=0)
        self.table = ResultTable(self.pick, self.tick)
        self.transfer = ImageTransfer(services, request.identity)
        self.chosen = pn.pane.HTML("", sizing_mode="stretch_width")
        self.size = pn.widgets.FloatInput(
            name="Side (arcsec)", value=30.0, start=0.5, end=3600.0, step=5, width=130
        )
        self.cut = pn.widgets.Button(name="Cut them out around the position", width=260, align="end")
        self.cut.on_click(self.on_cut)
        self.cutouts = pn.FlexBox(self.size, self.cut, align_items="end", sizing_mode="stretch_width")
        self.told = pn.Column(sizing_mode="stretch_width", margin=0)
        self.result: QueryResult | None = None
        self.body = pn.Column(
            self.table.view,
            self.chosen,
            self.transfer.view,
            self.cutouts,
            self.told,
            sizing_mode="stretch_width",
            margin=0,
            visible=False,
        )
        self.offer()
        for widget, key in ((self.kind, "kind"), (self.band, "band"), (self.raft, "raft")):
            if query.get(key) in widget.values:
                widget.value = query[key]
        self.release.param.watch(lambda _e: self.offer(), "value")
        self.search.on_click(self.on_search)

    def offer(self) -> None:
        """Offer the kinds and bands that the chosen release has."""
        rows = self.services.queries.run_query(
            self.request.identity, write_kinds(self.release.value)
        ).table.to_pylist()
        for widget, found in (
            (self.kind, sorted({r["dataset_type"] for r in rows})),
            (self.band, sorted({r["lsst_band"] for r in rows if r["lsst_band"]}, key=band_order)),
        ):
            widget.options = {"all": "", **{name: name for name in found}}
        rafts = self.rafts()
        self.raft.param.update(options={"all": "", **{name: name for name in rafts}}, visible=bool(rafts))

    def rafts(self) -> Mapping[str, tuple[int, ...]]:
        """Return the detectors of the chosen release by the name of their raft."""
        release = self.services.images.get_release(self.request.identity, self.release.value)
        return release.manifest.rafts

    def form(self) -> ImageQuery:
        """Return what the form holds."""
        values: dict[str, Any] = {}
        for name, widget in self.texts.items():
            text = widget.value.strip()
            if not text:
                continue
            if name in _WHOLE:
                values[name] = _whole(widget.name, text)
            elif name == "visit":
                values["visits"] = tuple(
                    _whole(widget.name, word) for word in re.split(r"[\s,;]+", text) if word
                )
            elif name.endswith(("_arcsec", "_s")):
                try:
                    values[name] = float(text)
                except ValueError as error:
                    raise UsageError(f"{widget.name}: {text[:40]!r} is not a number") from error
            else:
                values[name] = text
        if self.raft.value:
            values["detectors"] = self.rafts()[self.raft.value]
        return ImageQuery(self.release.value, self.kind.value, self.band.value, **values)

    async def on_search(self, _event: Any = None) -> None:
        """Search, and let the address say what was searched for."""
        self.search.loading = True
        self.chosen.object = ""
        try:
            if "read:tap" not in self.request.identity.scopes:
                raise ForbiddenError("your token does not have the scope read:tap, which the search takes")
            adql = write_query(self.form(), _ROWS)
            self.result = await asyncio.to_thread(
                self.services.queries.run_query, self.request.identity, adql, _ROWS
            )
        except PortalError as error:
            text = str(error)
            self.message.objects = [notice(f"{escape(text[:1].upper() + text[1:])}.", "error")]
            return
        finally:
            self.search.loading = False
        rows = self.result.table.num_rows
        size = sum(v or 0 for v in self.result.table.column("access_estsize").to_pylist()) * 1000
        links = (
            f"<a href='{PREFIX}/catalogs?{urlencode({'query': adql})}'>the same search in Catalogs</a>, where it can be changed "
            "and downloaded"
        )
        found = (
            f"{rows:,} images, {describe_download(size)} in all"
            if rows
            else "No image fulfils all conditions"
        )
        self.message.objects = [notice(f"{found}; {links}.", "info")]
        self.body.visible = rows > 0
        self.transfer.offer(self.release.value, [])
        self.told.objects = []
        self.cutouts.visible = bool(self.texts["position"].value.strip())
        self.table.show(self.result.table, self.result.columns, f"Images of release {self.release.value}")
        if pn.state.location:
            chosen = {"release": self.release, "kind": self.kind, "band": self.band, "raft": self.raft}
            fields = {name: widget.value for name, widget in chosen.items()}
            fields |= {name: widget.value.strip() for name, widget in self.texts.items()}
            pn.state.location.search = f"?{urlencode({k: v for k, v in fields.items() if v} | {'run': 1})}"

    def tick(self) -> None:
        """Offer the ticked images for sending."""
        if self.result is None:
            return
        ids = self.result.table.column("dataset_id").to_pylist()
        self.transfer.offer(self.release.value, [ids[n] for n in sorted(self.table.ticked)])

    async def on_cut(self, _event: Any) -> None:
        """Hand cut-outs of all images found, around the position that was searched for, over as a job."""
        try:
            job = await asyncio.to_thread(self.submit_cutouts)
        except PortalError as error:
            self.told.objects = [notice(f"{escape(str(error)[:1].upper() + str(error)[1:])}.", "error")]
            return
        number = sum(name == "ID" for name, _ in job.parameters)
        self.told.objects = [
            notice(
                f"{number:,} cut-outs are job {job.id}: <a href='{PREFIX}/jobs?job={job.id}'>follow it and open them</a>.",
                "info",
            )
        ]

    def submit_cutouts(self) -> Job:
        """Make the job.

        Raises
        ------
        UsageError
            If there is no position, or nothing or too much to cut out.
        """
        if "read:image" not in self.request.identity.scopes:
            raise ForbiddenError("your token does not have the scope read:image, which cut-outs take")
        ra_deg, dec_deg = parse_position(self.texts["position"].value)
        columns = ("obs_publisher_did", "dataset_type", "s_ra")
        rows = self.result.table.select(columns).to_pylist() if self.result is not None else []
        # Raw images and calibrations have no place on the sky yet.
        found = [r["obs_publisher_did"] for r in rows if r["s_ra"] is not None and r["dataset_type"] != "raw"]
        if not 0 < len(found) <= _MOST_CUTOUTS:
            raise UsageError(
                f"cut-outs are made of 1 to {_MOST_CUTOUTS:,} images with a place on the sky, not of {len(found):,}"
            )
        circle = f"{ra_deg!r} {dec_deg!r} {float(self.size.value or 0) / 7200!r}"
        parameters = [*(("ID", did) for did in found), ("CIRCLE", circle)]
        parse_cutouts(parameters)
        return self.services.jobs.create_job(
            self.request.identity, kind=JobKind.CUTOUT, parameters=parameters, run=True
        )

    def pick(self, row: int) -> None:
        """Offer the pages of the chosen image."""
        if self.result is None:
            return
        values = self.result.table.slice(row, 1).to_pylist()[0]
        place = {"release": values["obs_collection"], "id": values["dataset_id"]}
        name = " ".join(
            f"{label} {values[f'lsst_{label}']}"
            for label in ("visit", "detector", "tract", "patch")
            if values[f"lsst_{label}"] is not None
        )
        self.chosen.object = (
            f"<div class='links'><a class='open' href='{PREFIX}/images?{urlencode(place)}'>Open {escape(values['dataset_type'])} "
            f"{escape(name)}</a></div>"
        )


def _whole(label: str, text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise UsageError(f"{label}: {text[:40]!r} is not a whole number")
    return int(text)


def build(services: PortalServices, request: PageRequest) -> Viewable:
    """Build the page.

    Parameters
    ----------
    services
        What the pages work with.
    request
        Who is looking, and for what.

    Returns
    -------
    panel.viewable.Viewable
        The page's content.
    """
    releases = [release.name for release in services.releases.list_visible(request.identity)]
    if not releases:
        return no_release()
    page = _Page(services, request, releases)
    form = pn.FlexBox(
        page.release,
        page.kind,
        page.band,
        page.raft,
        *page.texts.values(),
        page.search,
        align_items="end",
        sizing_mode="stretch_width",
    )
    if request.query.get("run"):
        pn.state.onload(page.on_search)
    heading = pn.pane.HTML(
        "<h1>Image search</h1><p class='soft'>All conditions that are filled in have to hold; "
        "a row of the list opens the image, ticked rows can be downloaded or kept. "
        "Dates are UTC, MJD (TAI), JD (UTC) or BJD (TDB, around the position).</p>",
        sizing_mode="stretch_width",
    )
    return pn.Column(heading, form, page.message, page.body, sizing_mode="stretch_width")
