"""What belongs to a dataset: its file, its cut-out service, related data (DataLink 1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from skydesk_portal.exceptions import NotFoundError, PortalError
from skydesk_portal.models.datasets import DatasetFacts, DatasetId, parse_dataset_id
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.signing import LinkSigner
from skydesk_portal.services.soda import SodaService

__all__ = ["DatalinkService", "Link"]

FITS = "application/fits"


@dataclass(frozen=True)
class Link:
    """One row of a links answer; exactly one of URL, service and error is set."""

    id: str
    semantics: str
    description: str = ""
    access_url: str | None = None
    service_def: str | None = None
    error_message: str | None = None
    content_type: str | None = None
    content_length: int | None = None


class DatalinkService:
    """Finds the links of datasets.

    Parameters
    ----------
    soda
        Knows the datasets and makes cut-outs.
    signer
        Signs links to files.
    url
        Public base address.
    link_seconds
        How long a link to a file works.
    """

    def __init__(self, soda: SodaService, signer: LinkSigner, url: str, link_seconds: int) -> None:
        self._soda = soda
        self._signer = signer
        self._url = url
        self._seconds = link_seconds

    def list_links(self, identity: Identity, ids: list[str]) -> list[Link]:
        """Return the links of some datasets.

        Parameters
        ----------
        identity
            The caller.
        ids
            Identifiers as given; a wrong one gets a row with the error.

        Returns
        -------
        list of Link
            Rows in the order of the identifiers.
        """
        out: list[Link] = []
        for text in ids:
            try:
                facts = self._soda.get_facts(identity, parse_dataset_id(text))
            except NotFoundError as error:
                out.append(Link(text, "#this", error_message=f"NotFoundFault: {error}"))
            except PortalError as error:
                out.append(Link(text, "#this", error_message=f"UsageFault: {error}"))
            else:
                out += self._links_of(text, facts)
        return out

    def _links_of(self, text: str, facts: DatasetFacts) -> list[Link]:
        links = [
            Link(
                text,
                "#this",
                f"The whole {facts.dataset_type}",
                access_url=self._file_url(facts.id),
                content_type=FITS,
                content_length=facts.size,
            )
        ]
        if "Image" in facts.storage_class or "Coadd" in facts.storage_class:
            if facts.storage_class != "RawImage":
                links.append(
                    Link(text, "#cutout", "Cut-outs, waiting", service_def="cutout-sync", content_type=FITS)
                )
                links.append(
                    Link(text, "#cutout", "Cut-outs, as a job", service_def="cutout-async", content_type=FITS)
                )
            page = f"{self._url}/portal/app/images?release={quote(facts.id.release)}&id={facts.id.uuid}"
            links.append(
                Link(text, "#auxiliary", "The image in the portal", access_url=page, content_type="text/html")
            )
        return links

    def _file_url(self, dataset: DatasetId) -> str:
        path = f"/api/datalink/file/{quote(dataset.release)}/{dataset.uuid}"
        return f"{self._url}{path}?{self._signer.sign(path, self._seconds)}"

    def check_link(self, path: str, expires: int, signature: str) -> bool:
        """Tell whether a signed link is good."""
        return self._signer.check(path, expires, signature)
