"""What services there are for which release, as lsst-rsp reads it."""

from __future__ import annotations

from typing import Any

from skydesk_portal.models.identity import Identity
from skydesk_portal.pipeline.releases import ReleaseStore
from skydesk_portal.services.sharing import OWN_PREFIX, SharingService

__all__ = ["DiscoveryService"]

_STANDARDS = {
    "tap": [("tap-1.1", "ivo://ivoa.net/std/TAP", "")],
    "sia": [("sia-query-2.0", "ivo://ivoa.net/std/SIA#query-2.0", "/query")],
    "cutout": [
        ("soda-sync-1.0", "ivo://ivoa.net/std/SODA#sync-1.0", "/sync"),
        ("soda-async-1.0", "ivo://ivoa.net/std/SODA#async-1.0", "/async"),
    ],
    "hips": [("hipslist-1.0", "ivo://ivoa.net/std/hips#hipslist-1.0", "/list")],
    "datalink": [("datalink-links-1.1", "ivo://ivoa.net/std/DataLink#links-1.1", "/links")],
}

_VOSI = [
    ("vosi-capabilities-1.1", "ivo://ivoa.net/std/VOSI#capabilities", "/capabilities"),
    ("vosi-availability-1.1", "ivo://ivoa.net/std/VOSI#availability", "/availability"),
]


class DiscoveryService:
    """Describes the platform to clients.

    Parameters
    ----------
    releases
        The releases.
    sharing
        The Butler repositories.
    url
        Public base address.
    site_name
        Name of the platform.
    """

    def __init__(self, releases: ReleaseStore, sharing: SharingService, url: str, site_name: str) -> None:
        self._releases = releases
        self._sharing = sharing
        self._url = url
        self._site = site_name

    def describe(self, identity: Identity | None = None) -> dict[str, Any]:
        """Return the discovery document.

        Parameters
        ----------
        identity
            The caller, if known: clients fetch the document before they send
            any token. Releases that not everybody may read, and repositories of
            people, are told to those who may read them.

        Returns
        -------
        dict
            Releases with the address of each service; the form of Repertoire
            that lsst-rsp 1.x reads.
        """
        caller = identity or Identity("")
        document: dict[str, Any] = {
            "environment_name": self._site,
            "applications": [
                "alerts",
                "api",
                "batch",
                "butler",
                "datalinker",
                "files",
                "hips",
                "hub",
                "nublado",
                "portal",
                "repertoire",
                "sia",
                "tap",
                "vo-cutouts",
            ],
            "datasets": {
                release.name: self._describe_release(release)
                for release in self._releases.list_visible(caller)
            },
            "influxdb_databases": {},
            "services": {"internal": self._internal(), "ui": self._pages()},
        }
        if identity is not None:
            labels = [label for label in self._sharing.list_labels(identity) if label.startswith(OWN_PREFIX)]
            document["butler_repositories"] = {label: self._butler(label) for label in labels}
        return document

    def _butler(self, label: str) -> str:
        return f"{self._url}/api/butler/repo/{label}/butler.yaml"

    def _describe_release(self, release: Any) -> dict[str, Any]:
        name = release.name
        urls = {
            "tap": f"{self._url}/api/tap",
            "sia": f"{self._url}/api/sia/{name}",
            "cutout": f"{self._url}/api/cutout",
            "datalink": f"{self._url}/api/datalink",
        }
        if release.manifest.hips:
            urls["hips"] = f"{self._url}/api/hips/v2/{name}"
        if release.manifest.alerts is not None:
            urls["alerts"] = f"{self._url}/api/alerts"
        return {
            "description": release.manifest.title,
            "butler_config": self._butler(name),
            "docs_url": f"{self._url}/docs/",
            "services": {
                key: {
                    "url": url,
                    "versions": {
                        version: {"url": url + path, "ivoa_standard_id": standard}
                        for version, standard, path in [*_STANDARDS.get(key, []), *_VOSI]
                    },
                }
                for key, url in urls.items()
            },
        }

    def _internal(self) -> dict[str, Any]:
        paths = {
            "auth": "/auth/api/v1",
            "batch": "/api/batch",
            "files": "/api/files",
            "gafaelfawr": "/auth/api/v1",
            "sharing": "/api/sharing",
            "tables": "/api/tables",
            "webdav": "/files",
        }
        told: dict[str, Any] = {
            name: {"url": self._url + path, "versions": {}} for name, path in paths.items()
        }
        for name in ("batch", "files", "sharing", "tables"):
            told[name]["openapi"] = f"{self._url}/api/openapi.json"
        return told

    def _pages(self) -> dict[str, Any]:
        paths = {"docs": "/docs/", "nublado": "/nb/", "portal": "/portal/app/", "squareone": "/"}
        return {name: {"url": self._url + path} for name, path in paths.items()}
