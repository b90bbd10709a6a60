"""Steer open pages of the Portal from Python and read what is selected in them.

A page that a person has open in a browser is a view with a short name. Views of other people do not exist for a token.
"""

from __future__ import annotations

import io
import secrets
import time
import warnings
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import httpx
import numpy as np
from astropy.table import Table

from skydesk_lab.platform import Platform, PlatformError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["ImageView", "Portal", "TableView", "View", "ViewError"]

PREFIX = "/portal/app"
STRETCHES = ("linear", "sqrt", "log", "gamma", "histogram", "asinh")
"""Stretches of the image view, as its own list has them."""

_POLL_S = 20.0
_ANSWER_S = 40.0
_POSITIONS = (
    ("coord_ra", "coord_dec"),
    ("ra", "dec"),
    ("ra_deg", "dec_deg"),
    ("RA", "DEC"),
    ("s_ra", "s_dec"),
)


class ViewError(PlatformError):
    """A page is not open, does not answer or cannot do what was asked; the message says which."""

    code = "view"


class Portal:
    """The Portal of a platform, as one person has it open.

    Parameters
    ----------
    platform
        The platform; without it the one of this lab.
    url, token
        Base URL and access token outside a lab, as for `Platform`. The token needs the scope ``exec:portal``, for
        selections ``read:tap`` too.
    """

    def __init__(
        self, platform: Platform | None = None, *, url: str | None = None, token: str | None = None
    ) -> None:
        self.platform = platform or Platform(url, token=token)

    def list_views(self) -> list[View]:
        """Return the pages that the person has open, the one used last in front."""
        return [View(self, str(found["name"])) for found in self._ask("GET", "")["views"]]

    def get_view(self, name: str) -> View:
        """Return a page that is open.

        Parameters
        ----------
        name
            Its name, such as ``images-1``.

        Raises
        ------
        ViewError
            Raised if no page of that name is open.
        """
        view = View(self, name)
        view.describe()
        return view

    def find_view(self, page: str | None = None) -> View | None:
        """Return the page used last, or the last one of a kind.

        Parameters
        ----------
        page
            ``images``, ``catalogs``, ``lightcurves``, ``jobs`` or ``home``.
        """
        found = self._ask("GET", "")["views"]
        names = [str(v["name"]) for v in found if page is None or v["page"] == page]
        return View(self, names[0]) if names else None

    def open_images(
        self,
        *,
        release: str | None = None,
        dataset_id: str | None = None,
        ra_deg: float | None = None,
        dec_deg: float | None = None,
        radius_arcsec: float | None = None,
        dataset_type: str | None = None,
        band: str | None = None,
        visit: int | None = None,
        detector: int | None = None,
        sources: str | None = None,
        view: View | str | None = None,
        wait_s: float = 120.0,
    ) -> View:
        """Show an image in an open page.

        Parameters
        ----------
        release
            Name of the release; without it the one that the lab is configured for.
        dataset_id
            Butler identifier (UUID) of the image; without it the visit or the position decides.
        ra_deg, dec_deg
            Where to look, degrees, ICRS.
        radius_arcsec
            Radius of the circle that fills the view.
        dataset_type, band
            Kind of image and band that are preferred.
        visit, detector
            The visit image to show.
        sources
            Table whose rows are drawn over the image, such as ``Object``.
        view
            The page, or its name; without it the Images page used last.
        wait_s
            How long to wait for the person to open a page if there is none.

        Returns
        -------
        View
            The page.

        Raises
        ------
        ViewError
            Raised if no page was opened in time, or it does not answer.
        """
        values = {
            "release": release or self.platform.release,
            "id": dataset_id,
            "ra": ra_deg,
            "dec": dec_deg,
            "rad": radius_arcsec,
            "kind": dataset_type,
            "band": band,
            "visit": visit,
            "detector": detector,
            "src": sources,
        }
        return self._open("images", _image_query(values), view, wait_s)

    def open_query(self, adql: str, *, view: View | str | None = None, wait_s: float = 120.0) -> View:
        """Run an ADQL query in an open Catalogs page.

        Parameters
        ----------
        adql
            The query, short enough for an address (about 1900 characters).
        view, wait_s
            As for `open_images`.
        """
        return self._open("catalogs", {"query": adql}, view, wait_s)

    def open_light_curve(
        self,
        object_id: int,
        *,
        release: str | None = None,
        difference: bool = False,
        view: View | str | None = None,
        wait_s: float = 120.0,
    ) -> View:
        """Show a light curve in an open page.

        Parameters
        ----------
        object_id
            ``objectId``, or ``diaObjectId`` if ``difference`` is set.
        release
            Name of the release; without it the one that the lab is configured for.
        difference
            Whether the identifier is one of a DiaObject.
        view, wait_s
            As for `open_images`.
        """
        key = "diaobject" if difference else "object"
        query = {"release": release or self.platform.release, key: str(int(object_id))}
        return self._open("lightcurves", query, view, wait_s)

    def _open(self, page: str, query: Mapping[str, str], view: View | str | None, wait_s: float) -> View:
        found = self.get_view(view) if isinstance(view, str) else view or self.find_view(page)
        if found is not None:
            found.go(page, query)
            return found
        name = f"{page}-{secrets.token_hex(3)}"
        address = (
            f"{self.platform.public_url}{PREFIX}/{page}?{urlencode({**query, 'view': name}, quote_via=quote)}"
        )
        _offer_link(address)
        shown = View(self, name)
        shown.wait_open(wait_s)
        return shown

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        answer = self._request(method, path, **options)
        return answer.json() if answer.content else None

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = httpx.request(
                method,
                f"{self.platform.url}{PREFIX}/views{path}",
                headers={"Authorization": f"Bearer {self.platform.token}"},
                timeout=_ANSWER_S,
                **options,
            )
        except httpx.TransportError as error:
            raise ViewError(f"the Portal at {self.platform.url} cannot be reached: {error}") from error
        if answer.is_success:
            return answer
        try:
            detail = str(answer.json()["detail"])
        except (ValueError, KeyError, TypeError):
            detail = answer.text.strip()[:300]
        raise ViewError(f"the Portal refused ({answer.status_code}): {detail}")


class View:
    """A page that a person has open.

    Parameters
    ----------
    portal
        The Portal it belongs to.
    name
        Its name.
    """

    def __init__(self, portal: Portal, name: str) -> None:
        self.portal = portal
        self.name = name
        self._seen = 0

    def __repr__(self) -> str:
        """Return what one sees in a cell."""
        return f"View({self.name!r})"

    def describe(self) -> dict[str, Any]:
        """Return name, page, address and what is selected, as the service knows it.

        Raises
        ------
        ViewError
            Raised if the page is not open.
        """
        found: dict[str, Any] = self.portal._ask("GET", f"/{quote(self.name, safe='')}")
        return found

    @property
    def address(self) -> str:
        """URL that restores what the page shows."""
        return f"{self.portal.platform.public_url}{self.describe()['address']}"

    def wait_open(self, wait_s: float = 120.0) -> None:
        """Wait until a browser shows the page.

        Parameters
        ----------
        wait_s
            How long, in seconds.

        Raises
        ------
        ViewError
            Raised if it is not open by then.
        """
        end = time.monotonic() + wait_s
        while not any(found.name == self.name for found in self.portal.list_views()):
            if time.monotonic() > end:
                raise ViewError(f"the page {self.name!r} was not opened within {wait_s:g} s")
            time.sleep(0.3)

    def go(self, page: str, query: Mapping[str, str] | None = None) -> None:
        """Go to a page of the Portal in a state.

        Parameters
        ----------
        page
            ``images``, ``catalogs``, ``lightcurves``, ``jobs`` or ``home``.
        query
            The state, as the address of the page holds it.
        """
        self._command({"do": "go", "page": page, "query": dict(query or {})})

    def set_state(self, **changes: str | float | None) -> None:
        """Change parts of the state, as the address of the page holds it; None takes a part out.

        Parameters
        ----------
        **changes
            Values by name.
        """
        query = {k: v if v is None else str(v) for k, v in changes.items()}
        self._command({"do": "set", "query": query})

    def show(self, ra_deg: float, dec_deg: float, *, radius_arcsec: float | None = None) -> None:
        """Centre the image on a position; another image of the release is opened if it is not on this one.

        Parameters
        ----------
        ra_deg, dec_deg
            Position, degrees, ICRS.
        radius_arcsec
            Radius of the circle that fills the view; without it the scale stays.
        """
        change: dict[str, str | float | None] = {"ra": repr(float(ra_deg)), "dec": repr(float(dec_deg))}
        if radius_arcsec is not None:
            change["rad"] = repr(float(radius_arcsec))
        self.set_state(**change, id=None, visit=None, detector=None, x=None, y=None, r=None)

    def stretch(
        self,
        kind: str | None = None,
        low: float | None = None,
        high: float | None = None,
        *,
        gamma: float | None = None,
    ) -> None:
        """Change how pixel values become colours.

        Parameters
        ----------
        kind
            ``linear``, ``sqrt``, ``log``, ``gamma``, ``histogram`` or ``asinh``; without it the stretch stays.
        low, high
            Pixel values of the darkest and the brightest colour, both or none, in the unit of the image.
        gamma
            Exponent of the stretch ``gamma``, from 0.1 to 10: larger values show faint light brighter.
        """
        if kind is not None and kind not in STRETCHES:
            raise ValueError(f"no stretch {kind!r}: one of {', '.join(STRETCHES)}")
        if (low is None) != (high is None) or (low is not None and high is not None and not low < high):
            raise ValueError("give both limits, the lower one first")
        if gamma is not None and not 0.1 <= gamma <= 10:
            raise ValueError("gamma lies between 0.1 and 10")
        change: dict[str, str | float | None] = {} if kind is None else {"s": kind}
        if low is not None and high is not None:
            change |= {"lo": repr(float(low)), "hi": repr(float(high))}
        if gamma is not None:
            change["gam"] = repr(float(gamma))
        if change:
            self.set_state(**change)

    def colours(self, name: str) -> None:
        """Change the colour map.

        Parameters
        ----------
        name
            As the page offers it, such as ``grey`` or ``viridis``.
        """
        self.set_state(c=name)

    def add_catalog(
        self,
        table: Table,
        *,
        name: str = "catalog",
        colour: str = "#ffd166",
        ra: str | None = None,
        dec: str | None = None,
        label: str | None = None,
    ) -> int:
        """Draw the rows of a table over the image; they stay while the page is open, from image to image.

        Parameters
        ----------
        table
            At most 20 000 rows with positions in degrees, ICRS.
        name
            What it is called; a catalogue of the same name gives way.
        colour
            Colour of the symbols, such as ``#ffd166``.
        ra, dec
            Columns with the position; without them the usual names are looked for.
        label
            Column whose values are written beside the symbols.

        Returns
        -------
        int
            Number of rows with a position.
        """
        if ra is None or dec is None:
            pair = next((p for p in _POSITIONS if p[0] in table.colnames and p[1] in table.colnames), None)
            if pair is None:
                raise ValueError(
                    f"no position among the columns {', '.join(table.colnames)}: give ra= and dec="
                )
            ra, dec = pair
        ra_deg, dec_deg = _degrees(table[ra]), _degrees(table[dec])
        good = np.isfinite(ra_deg) & np.isfinite(dec_deg)
        labels = [str(value)[:60] for value in table[label][good]] if label is not None else []
        points = {"ra_deg": ra_deg[good].tolist(), "dec_deg": dec_deg[good].tolist(), "labels": labels}
        self._command({"do": "overlay", "name": name, "colour": colour, **points})
        return int(good.sum())

    def remove_catalog(self, name: str = "catalog") -> None:
        """Take away a catalogue that was drawn.

        Parameters
        ----------
        name
            What it is called.
        """
        self._command({"do": "overlay", "name": name, "ra_deg": [], "dec_deg": []})

    def selection(self) -> Table | None:
        """Return the rows that are selected in the page now.

        Returns
        -------
        astropy.table.Table or None
            The rows with their units; None if nothing has been selected since the page was opened.
        """
        return self._read_selection(0, 0.0)

    def wait_selection(self, wait_s: float = 300.0) -> Table | None:
        """Wait for the person to select something that has not been read yet.

        Parameters
        ----------
        wait_s
            How long, in seconds.

        Returns
        -------
        astropy.table.Table or None
            The rows; None if nothing was selected in this time.
        """
        end = time.monotonic() + wait_s
        while (left := end - time.monotonic()) > 0:
            found = self._read_selection(self._seen, min(left, _POLL_S))
            if found is not None:
                return found
        return None

    def _read_selection(self, after: int, wait_s: float) -> Table | None:
        path = f"/{quote(self.name, safe='')}/selection"
        answer = self.portal._request("GET", path, params={"after": after, "wait_s": wait_s})
        if answer.status_code == httpx.codes.NO_CONTENT:
            return None
        self._seen = int(answer.headers["x-selection-serial"])
        total = int(answer.headers["x-selection-rows"])
        table = Table.read(io.BytesIO(answer.content), format="votable")
        if total > len(table):
            warnings.warn(f"{total:,} rows are selected, the first {len(table):,} are here", stacklevel=3)
        return table

    def _command(self, command: Mapping[str, Any]) -> None:
        self.portal._ask("POST", f"/{quote(self.name, safe='')}/commands", json=command)


class _Frame(View):
    """A page inside a cell of a notebook: what its constructor returns is shown, its methods steer it."""

    def __init__(self, page: str, query: Mapping[str, str], height: int, portal: Portal | None) -> None:
        super().__init__(portal or Portal(), f"cell-{secrets.token_hex(4)}")
        self.height = int(height)
        # Without the host: JupyterLab and the Portal have the same one, which the lab itself sees under another name.
        self._source = f"{PREFIX}/{page}?{urlencode({**query, 'view': self.name}, quote_via=quote)}"

    def _repr_html_(self) -> str:
        """Return the frame."""
        return (
            f'<iframe src="{escape(self._source)}" title="Portal: {escape(self.name)}" width="100%" '
            f'height="{self.height}" style="border: 1px solid #8886; border-radius: 6px"></iframe>'
        )


class ImageView(_Frame):
    """The image view of the Portal inside a cell of a notebook.

    Parameters
    ----------
    release, dataset_id, ra_deg, dec_deg, radius_arcsec, dataset_type, band, visit, detector, sources
        What to show first, as for `Portal.open_images`.
    height
        Height of the frame in pixels.
    portal
        The Portal; without it the one of this lab.
    """

    def __init__(
        self,
        release: str | None = None,
        dataset_id: str | None = None,
        *,
        ra_deg: float | None = None,
        dec_deg: float | None = None,
        radius_arcsec: float | None = None,
        dataset_type: str | None = None,
        band: str | None = None,
        visit: int | None = None,
        detector: int | None = None,
        sources: str | None = None,
        height: int = 720,
        portal: Portal | None = None,
    ) -> None:
        found = portal or Portal()
        values = {
            "release": release or found.platform.release,
            "id": dataset_id,
            "ra": ra_deg,
            "dec": dec_deg,
            "rad": radius_arcsec,
            "kind": dataset_type,
            "band": band,
            "visit": visit,
            "detector": detector,
            "src": sources,
        }
        super().__init__("images", _image_query(values), height, found)


class TableView(_Frame):
    """The result of a query in the Portal's table, inside a cell of a notebook.

    Parameters
    ----------
    adql
        The query.
    height
        Height of the frame in pixels.
    portal
        The Portal; without it the one of this lab.
    """

    def __init__(self, adql: str, *, height: int = 700, portal: Portal | None = None) -> None:
        super().__init__("catalogs", {"query": adql}, height, portal)


def _image_query(values: Mapping[str, str | float | None]) -> dict[str, str]:
    """Return the state of the Images page that shows what is asked for."""
    if (values["ra"] is None) != (values["dec"] is None):
        raise ValueError("a position needs both ra_deg and dec_deg")
    if values["rad"] is not None and values["ra"] is None:
        raise ValueError("a radius needs a position: ra_deg and dec_deg")
    return {key: str(value) for key, value in values.items() if value is not None}


def _degrees(column: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a column of angles as plain degrees; missing values are NaN."""
    unit = getattr(column, "unit", None)
    values: ArrayLike = column.to_value("deg") if hasattr(column, "to_value") and unit is not None else column
    return np.asarray(np.ma.filled(np.ma.asarray(values, dtype=float), np.nan))


def _offer_link(address: str) -> None:
    """Show a link to a page that the person has to open."""
    try:
        from IPython.core.getipython import get_ipython
        from IPython.display import HTML, display
    except ImportError:
        pass
    else:
        if get_ipython() is not None:
            link = escape(address)
            display(
                HTML(f'Open <a href="{link}" target="_blank" rel="noopener">this page of the Portal</a>.')
            )
            return
    print(f"Open this page of the Portal: {address}")  # noqa: T201 - the person has to see it
