"""The sheet of one alert as it was raised: fields, cut-outs, light curve."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import panel as pn
from bokeh.models import ColumnDataSource, Whisker
from panel.viewable import Viewable

from skydesk_portal.services.alert_packets import (
    AlertPacket,
    Epoch,
    FieldGroup,
    draw_stamps,
    list_epochs,
    list_fields,
)
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.plots import band_style, make_figure
from skydesk_portal.ui.shell import PageRequest
from skydesk_portal.ui.words import describe_position

if TYPE_CHECKING:
    from skydesk_portal.models.tables import Catalog

__all__ = ["column_words", "show_packet"]

_TABLES = ("DiaSource", "DiaObject", "ForcedSourceOnDiaObject", "SSSource", "SSObject", "MPCORB")


def column_words(catalog: Catalog, releases: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return unit and description of the columns of difference imaging, by name.

    Parameters
    ----------
    catalog
        Tables that the reader may query.
    releases
        Releases whose descriptions count, the first one most.
    """
    found: dict[str, tuple[str, str]] = {}
    for release in releases:
        for name in _TABLES:
            table = catalog.find_table(f"{release}.{name}")
            for column in table.columns if table is not None else ():
                found.setdefault(column.name, (column.unit, column.description))
    return found


def _fields_html(groups: list[FieldGroup]) -> str:
    parts = []
    for n, group in enumerate(groups):
        rows = "".join(
            f"<tr><th scope='row'>{escape(r.name)}</th><td class='value'>{escape(r.value) or '<span class=soft>none</span>'}</td>"
            f"<td>{escape(r.unit)}</td><td class='soft'>{escape(r.description)}</td></tr>"
            for r in group.rows
        )
        parts.append(
            f"<details class='panel'{' open' if n < 2 else ''}>"
            f"<summary>{escape(group.title)} ({len(group.rows)} fields)</summary>"
            "<table class='plain'><thead><tr><th scope='col'>Field</th><th scope='col'>Value</th><th scope='col'>Unit</th>"
            f"<th scope='col'>Description</th></tr></thead><tbody>{rows}</tbody></table></details>"
        )
    return "".join(parts)


def _stamps_html(packet: AlertPacket) -> str:
    stamps = draw_stamps(packet)
    if not stamps:
        return "<p class='soft'>The packet has no cut-outs that can be shown.</p>"
    figures = []
    for stamp in stamps:
        code = base64.b64encode(stamp.png).decode("ascii")
        way = "north up, east left" if stamp.oriented else "as stored, no sky coordinates"
        size = f"; {stamp.side_arcsec:.1f}″ a side" if stamp.side_arcsec else ""
        figures.append(
            f"<figure><img src='data:image/png;base64,{code}' width='240' "
            f"alt='{stamp.title} cut-out of the alert, {way}'><figcaption>{stamp.title} <span class='soft'>{way}{size}</span>"
            "</figcaption></figure>"
        )
    return f"<div class='stamps'>{''.join(figures)}</div>"


def _plot(epochs: list[Epoch], dark: bool) -> pn.pane.Bokeh:
    plot = make_figure(dark, 260)
    plot.xaxis.axis_label = "Time (MJD TAI)"
    plot.yaxis.axis_label = "Difference flux (nJy)"
    for band in dict.fromkeys(e.band for e in epochs):
        style = band_style(band, dark)
        for kind in ("forced", "detection", "this alert"):
            here = [e for e in epochs if (e.band, e.kind) == (band, kind)]
            if not here:
                continue
            source = ColumnDataSource({
                "x": [e.mjd for e in here], "y": [e.flux_njy for e in here],
                "lo": [e.flux_njy - e.flux_err_njy for e in here], "hi": [e.flux_njy + e.flux_err_njy for e in here],
            })  # fmt: skip
            plot.add_layout(
                Whisker(base="x", lower="lo", upper="hi", source=source, line_color=style.colour, level="underlay",
                        upper_head=None, lower_head=None)
            )  # fmt: skip
            plot.scatter(
                "x", "y", source=source, marker=style.marker, color=style.colour, size=13 if kind == "this alert" else 7,
                fill_alpha=0.0 if kind == "forced" else 0.9, line_width=2 if kind == "this alert" else 1,
                legend_label=f"{band} {kind}",
            )  # fmt: skip
    plot.legend.label_text_font_size = "12px"
    plot.legend.background_fill_alpha = 0.6
    plot.add_layout(plot.legend[0], "right")
    return pn.pane.Bokeh(plot, sizing_mode="stretch_width", height=260)


def _epochs_html(epochs: list[Epoch]) -> str:
    rows = "".join(
        f"<tr><td>{e.mjd:.5f}</td><td>{escape(e.band)}</td><td>{e.flux_njy:.4g}</td><td>{e.flux_err_njy:.2g}</td><td>{e.kind}</td></tr>"
        for e in epochs
    )
    return (
        f"<details><summary>The {len(epochs)} epochs as a table</summary><table class='plain'><thead><tr>"
        "<th scope='col'>MJD TAI</th><th scope='col'>Band</th><th scope='col'>Flux (nJy)</th><th scope='col'>Error (nJy)</th>"
        f"<th scope='col'>Kind</th></tr></thead><tbody>{rows}</tbody></table></details>"
    )


def _links_html(packet: AlertPacket, release: str | None) -> str:
    if release is None:
        return ""
    source = packet.source
    links = []
    if source.get("diaObjectId"):
        address = f"{PREFIX}/lightcurves?release={release}&diaobject={source['diaObjectId']}"
        links.append(f"<a class='open' href='{escape(address)}'>Light curve of its DIA object</a>")
    if source.get("visit") is not None and source.get("ra") is not None:
        sky = f"ra={source['ra']:.7f}&dec={source['dec']:.7f}"
        place = f"release={release}&visit={source['visit']}&detector={source['detector']}&{sky}"
        for kind, words in (("difference_image", "Difference image"), ("visit_image", "Visit image")):
            links.append(
                f"<a class='open second' href='{escape(f'{PREFIX}/images?{place}&kind={kind}&src=DiaSource')}'>{words}</a>"
            )
    for form in ("avro", "fits", "json"):
        address = f"{PREFIX}/alerts/packet/{release}/{packet.alert_id}.{form}"
        links.append(
            f"<a class='open second' href='{escape(address)}'>Packet as {form.upper() if form != 'avro' else 'Avro'}</a>"
        )
    return f"<div class='links'>{''.join(links)}</div>"


def _facts(source: Mapping[str, Any], coordinates: str) -> Iterator[tuple[str, str]]:
    """Say in a few lines what the source of an alert is, leaving out what the packet does not hold."""
    if source.get("ra") is not None and source.get("dec") is not None:
        yield "Position", describe_position(source["ra"], source["dec"], coordinates)
    if source.get("midpointMjdTai") is not None:
        yield "Seen", f"MJD {source['midpointMjdTai']:.5f} TAI in {source.get('band') or 'no band'}"
    if source.get("visit") is not None:
        yield "Visit", f"{source['visit']}, detector {source.get('detector')}"
    if source.get("psfFlux") is not None:
        error = f" ± {source['psfFluxErr']:.2g}" if source.get("psfFluxErr") is not None else ""
        yield "Difference flux", f"{source['psfFlux']:.4g}{error} nJy"
    if source.get("snr") is not None:
        yield "Signal to noise", f"{source['snr']:.1f}"
    yield "DIA object", str(source.get("diaObjectId") or "none")


def show_packet(
    packet: AlertPacket, words: Mapping[str, tuple[str, str]], request: PageRequest, release: str | None
) -> Viewable:
    """Show an alert as it was raised.

    Parameters
    ----------
    packet
        The packet.
    words
        Unit and description of columns, see `column_words`.
    request
        Who is looking, and how.
    release
        Release that it belongs to; None for a file.

    Returns
    -------
    panel.viewable.Viewable
        Head, cut-outs, light curve and all fields.
    """
    sheet = "".join(
        f"<dt>{k}</dt><dd>{escape(v)}</dd>" for k, v in _facts(packet.source, request.preferences.coordinates)
    )
    head = (
        f"<div class='panel'><h2>Alert {packet.alert_id}</h2><dl class='facts'>{sheet}</dl>{_links_html(packet, release)}</div>"
        f"<h2>Cut-outs</h2>{_stamps_html(packet)}"
    )
    epochs = list_epochs(packet)
    parts: list[Viewable] = [pn.pane.HTML(head, sizing_mode="stretch_width")]
    if epochs:
        parts.append(pn.pane.HTML("<h2>Light curve in the packet</h2>", sizing_mode="stretch_width"))
        parts.append(_plot(epochs, request.dark))
        parts.append(pn.pane.HTML(_epochs_html(epochs), sizing_mode="stretch_width"))
    fields = _fields_html(list_fields(packet, words))
    parts.append(pn.pane.HTML(f"<h2>All fields of the packet</h2>{fields}", sizing_mode="stretch_width"))
    return pn.Column(*parts, sizing_mode="stretch_width")
