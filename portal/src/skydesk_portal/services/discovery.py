"""What services there are for which release, as lsst-rsp reads it."""

from __future__ import annotations

from typing import Any

from skydesk_portal.models.identity import Identity
from skydesk_portal.pipeline.releases import ReleaseStore

__all__ = ["DiscoveryService"]

_STANDARDS = {
    "tap": ("tap-1.1", "ivo://ivoa.net/std/TAP", ""),
    "sia": ("sia-query-2.0", "ivo://ivoa.net/std/SIA#query-2.0", "/query"),
    "cutout": ("soda-sync-1.0", "ivo://ivoa.net/std/SODA#sync-1.0", "/sync"),
    "datalink": ("datalink-links-1.1", "ivo://ivoa.net/std/DataLink#links-1.1", "/links"),
}
_MORE = {"cutout": ("soda-async-1.0", "ivo://ivoa.net/std/SODA#async-1.0", "/async")}


class DiscoveryService:
    """Describes the platform to clients.

    Parameters
    ----------
    releases
        The releases.
    url
        Public base address.
    site_name
        Name of the platform.
    """

    def __init__(self, releases: ReleaseStore, url: str, site_name: str) -> None:
        self._releases = releases
        self._url = url
        self._site = site_name

    def describe(self) -> dict[str, Any]:
        """Return the discovery document.

        Returns
        -------
        dict
            Releases that everybody may read, with the address of each
            service; the form of Repertoire that lsst-rsp 1.x reads. Clients
            fetch it before they send any token.
        """
        nobody = Identity("")
        datasets = {}
        for release in self._releases.list_visible(nobody):
            name = release.name
            urls = {
                "tap": f"{self._url}/api/tap",
                "sia": f"{self._url}/api/sia/{name}",
                "cutout": f"{self._url}/api/cutout",
                "datalink": f"{self._url}/api/datalink",
            }
            datasets[name] = {
                "description": release.manifest.title,
                "butler_config": f"{self._url}/api/butler/repo/{name}/butler.yaml",
                "docs_url": f"{self._url}/docs/",
                "services": {
                    key: {"url": url, "versions": self._versions(key, url)} for key, url in urls.items()
                },
            }
        return {
            "environment_name": self._site,
            "applications": ["api", "butler", "hub", "portal"],
            "datasets": datasets,
            "influxdb_databases": {},
            "services": {
                "internal": {
                    "batch": {"url": f"{self._url}/api/batch", "versions": {}},
                    "auth": {"url": f"{self._url}/auth/api/v1", "versions": {}},
                },
                "ui": {
                    "portal": {"url": f"{self._url}/portal/app/"},
                    "nublado": {"url": f"{self._url}/nb/"},
                    "docs": {"url": f"{self._url}/docs/"},
                },
            },
        }

    def _versions(self, service: str, url: str) -> dict[str, dict[str, str]]:
        found = [_STANDARDS[service]] + ([_MORE[service]] if service in _MORE else [])
        return {name: {"url": url + path, "ivoa_standard_id": standard} for name, standard, path in found}
