"""Simple Image Access 2.0: parameters become a query on the image list."""

from __future__ import annotations

import re

from skydesk_portal.exceptions import NotFoundError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.sia import SiaRequest, adql_text
from skydesk_portal.models.tap import TapRequest
from skydesk_portal.models.user_tables import schema_of
from skydesk_portal.pipeline.releases import ReleaseStore
from skydesk_portal.services.sharing import OWN_PREFIX
from skydesk_portal.services.tap import TapService, TapStream
from skydesk_portal.services.userimages import TABLE
from skydesk_portal.vo.sia import describe_service
from skydesk_portal.vo.votable import VOTableWriter

__all__ = ["SiaService"]

_LISTED = {
    "FACILITY": "facility_name",
    "INSTRUMENT": "instrument_name",
    "DPTYPE": "dataproduct_type",
    "DPSUBTYPE": "dataproduct_subtype",
    "CALIB": "calib_level",
    "TARGET": "target_name",
    "FORMAT": "access_format",
}
_MOST_OPTIONS = 200
_VOTABLE = re.compile(r"(votable(/td)?|application/x-votable\+xml.*|text/xml)\Z", re.IGNORECASE)


class SiaService:
    """Finds images.

    Parameters
    ----------
    tap
        Answers the query.
    releases
        The releases.
    url
        Public base address.
    """

    def __init__(self, tap: TapService, releases: ReleaseStore, url: str) -> None:
        self._tap = tap
        self._releases = releases
        self._url = url

    def _check_release(self, identity: Identity, release: str) -> None:
        if self._releases.find(identity, release) is None:
            raise NotFoundError(f"there is no release {release[:40]!r}")

    def open_stream(
        self, identity: Identity, release: str, request: SiaRequest, *, timeout_s: float
    ) -> TapStream:
        """Start a search for images of a release.

        Parameters
        ----------
        identity
            The caller.
        release
            Name of the release.
        request
            What is searched for.
        timeout_s
            When to stop.

        Returns
        -------
        TapStream
            The images as ObsCore rows.

        Raises
        ------
        NotFoundError
            If the caller has no such release.
        """
        self._check_release(identity, release)
        query = self._make_query(identity, release, request)
        return self._tap.open_stream(
            identity, TapRequest(query, request.maxrec, request.response_format), timeout_s=timeout_s
        )

    def _make_query(self, identity: Identity, release: str, request: SiaRequest) -> str:
        """Search the release; with COLLECTION=u-NAME/… what the caller's own runs made, too or instead."""
        conditions = " AND ".join(["1 = 1", *request.conditions])
        label = OWN_PREFIX + identity.name
        own = [c for c in request.collections if c == label or c.startswith(f"{label}/")]
        published = f"SELECT * FROM ivoa.ObsCore WHERE obs_collection = {adql_text(release)} AND {conditions}"
        catalog = self._tap.catalog_for(identity)
        table = catalog.find_table(f"{schema_of(identity.name)}.{TABLE}")
        if not own or table is None:
            return published
        if len(own) == len(request.collections):
            return f"SELECT * FROM {table.full_name} WHERE {conditions}"
        united = catalog.find_table("ivoa.ObsCore")
        # A release of an earlier version may know fewer columns.
        known = {column.name for column in united.columns} if united is not None else set()
        names = ", ".join(column.name for column in table.columns if column.name in known)
        mine = f"SELECT {names} FROM {table.full_name} WHERE {conditions}"
        return f"{published.replace('*', names, 1)} UNION ALL {mine}"

    def wants_description(self, request: SiaRequest) -> bool:
        """Tell whether a request asks what the service takes and gives, not for images."""
        return request.maxrec == 0 and _VOTABLE.match(request.response_format or "votable") is not None

    def describe(self, identity: Identity, release: str, request: SiaRequest) -> bytes:
        """Return what the service takes and gives.

        Parameters
        ----------
        identity
            The caller.
        release
            Name of the release.
        request
            A request with MAXREC=0; its parameters have been checked.

        Returns
        -------
        bytes
            A VOTable without rows, the columns of the answer and a descriptor
            of every parameter.

        Raises
        ------
        NotFoundError
            If the caller has no such release.
        """
        self._check_release(identity, release)
        options = {"COLLECTION": [release]}
        for name, column in _LISTED.items():
            query = (
                f"SELECT DISTINCT {column} FROM ivoa.ObsCore WHERE obs_collection = {adql_text(release)} "
                f"AND {column} IS NOT NULL ORDER BY {column}"
            )
            found = self._tap.run_query(identity, query, _MOST_OPTIONS).table.column(0).to_pylist()
            options[name] = [str(value) for value in found]
        columns = self._tap.check(identity, "SELECT * FROM ivoa.ObsCore").columns
        writer = VOTableWriter(
            columns, binary=False, extra=describe_service(f"{self._url}/api/sia/{release}/query", options)
        )
        return writer.begin() + writer.end(overflow=True)
