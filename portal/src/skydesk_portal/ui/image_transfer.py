"""Images, sent to the disk or kept in the reader's storage: from the viewer and from lists."""

from __future__ import annotations

import asyncio
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import panel as pn

from skydesk_portal.exceptions import PortalError
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.download_archives import ARCHIVES
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.shell import notice
from skydesk_portal.ui.words import describe_download

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["ImageTransfer"]


class ImageTransfer:
    """Links and a button for the files of chosen images; invisible while none is chosen.

    Parameters
    ----------
    services
        What the page works with.
    identity
        Who is looking.
    """

    def __init__(self, services: PortalServices, identity: Identity) -> None:
        self._service, self._who = services.image_files, identity
        self._release = ""
        self._ids: list[str] = []
        self._links = pn.pane.HTML("", align="center")
        self._folder = pn.widgets.TextInput(name="Folder of my files", value="images", width=160)
        self._keep = pn.widgets.Button(name="Keep in my files", align="end")
        self._message = pn.Column(sizing_mode="stretch_width", margin=0)
        self._keep.on_click(self._store)
        self.view = pn.Column(
            pn.FlexBox(self._links, self._folder, self._keep, align_items="end", sizing_mode="stretch_width"),
            self._message,
            sizing_mode="stretch_width",
            margin=0,
            visible=False,
        )

    def follow(self, wanted: dict[str, Any]) -> None:
        """Offer the image that a viewer shows."""
        self.offer(str(wanted.get("release", "")), [str(wanted["id"])] if wanted.get("id") else [])

    def offer(self, release: str, dataset_ids: list[str]) -> None:
        """Offer the files of images.

        Parameters
        ----------
        release
            Name of the release.
        dataset_ids
            Identifiers of the images.
        """
        self._release, self._ids = release, dataset_ids
        self._message.objects = []
        try:
            found = self._service.find_files(self._who, release, dataset_ids) if dataset_ids else []
        except PortalError:
            found = []  # a whole focal plane, or an image that is gone: there is no one file of it
        self.view.visible = bool(found)
        if not found:
            return
        size = describe_download(sum(image.size_bytes for image in found))
        address = f"{PREFIX}/transfer/images?{urlencode({'release': release, 'id': dataset_ids}, doseq=True)}"
        if len(found) == 1:
            links = f"<a class='open second' href='{escape(address)}'>Download {escape(found[0].name)} ({size})</a>"
        else:
            forms = "".join(
                f"<a class='open second' href='{escape(address)}&amp;form={form}'>as {form}</a>"
                for form in ARCHIVES
            )
            links = f"<span class='soft'>Download {len(found):,} images ({size}):</span>{forms}"
        self._links.object = f"<div class='links'>{links}</div>"

    async def _store(self, _event: Any) -> None:
        self._keep.loading = True
        try:
            found = self._service.find_files(self._who, self._release, self._ids)
            written = await asyncio.to_thread(
                self._service.store, self._who, found, self._folder.value.strip()
            )
        except PortalError as error:
            text = str(error)
            self._message.objects = [notice(f"{escape(text[:1].upper() + text[1:])}.", "error")]
            return
        finally:
            self._keep.loading = False
        folder = written[0].rpartition("/")[0]
        what = escape(written[0]) if len(written) == 1 else f"{len(written):,} images"
        self._message.objects = [
            notice(
                f"Kept in <a href='{PREFIX}/files?{urlencode({'path': folder})}'>your files</a>: {what}.",
                "info",
            )
        ]
