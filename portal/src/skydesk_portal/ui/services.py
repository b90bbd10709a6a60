"""What the Portal's pages work with, put together for one process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skydesk_portal.services.fitsaddresses import FitsAddresses
from skydesk_portal.services.images import ImageService
from skydesk_portal.services.views import ViewRegistry

if TYPE_CHECKING:
    from skydesk_portal.config import PortalConfig
    from skydesk_portal.factory import Factory
    from skydesk_portal.pipeline.releases import ReleaseStore
    from skydesk_portal.services.alerts import AlertService
    from skydesk_portal.services.estimate import EstimateService
    from skydesk_portal.services.files import FilesService
    from skydesk_portal.services.find import FindService
    from skydesk_portal.services.history import HistoryService
    from skydesk_portal.services.jobs import JobService
    from skydesk_portal.services.limits import LimitService
    from skydesk_portal.services.notebooks import NotebookService
    from skydesk_portal.services.preferences import PreferenceService
    from skydesk_portal.services.resultsets import ResultSetService
    from skydesk_portal.services.sharing import SharingService
    from skydesk_portal.services.soda import SodaService
    from skydesk_portal.services.tables import TableService
    from skydesk_portal.services.tap import TapService
    from skydesk_portal.services.viewstates import ViewStateService

__all__ = ["PortalServices", "create_services"]


@dataclass(frozen=True)
class PortalServices:
    """What the pages work with.

    Parameters
    ----------
    releases, queries, jobs, images
        Releases, the query service, jobs and pixels.
    soda
        Cut-outs.
    find
        The search box.
    alerts
        Alerts of releases.
    files, tables, sharing
        Files and tables of people, and who may read them.
    history
        Past queries.
    results, estimates
        Results that are looked at, and the cost of queries.
    limits
        What people may use.
    preferences
        What people prefer.
    notebooks
        Writes what a page shows into notebooks.
    views
        The open pages of everybody.
    viewstates
        What lies over images and is too long for an address.
    run
        Folder in which workers say that they live.
    config
        Settings of the services.
    download_seconds
        Longest time that a query for a download may take.
    """

    releases: ReleaseStore
    queries: TapService
    jobs: JobService
    images: ImageService
    soda: SodaService
    find: FindService
    alerts: AlertService
    files: FilesService
    tables: TableService
    sharing: SharingService
    history: HistoryService
    results: ResultSetService
    estimates: EstimateService
    limits: LimitService
    preferences: PreferenceService
    notebooks: NotebookService
    views: ViewRegistry
    viewstates: ViewStateService
    run: Path
    config: PortalConfig
    download_seconds: float = 60.0


def create_services(factory: Factory) -> PortalServices:
    """Put together what the pages of one process work with.

    Parameters
    ----------
    factory
        Makes the services.

    Returns
    -------
    PortalServices
        All of them.
    """
    settings = factory.settings
    releases, queries = factory.create_release_store(), factory.create_tap_service()
    files = factory.create_files_service()
    addresses = FitsAddresses(factory.create_upload_service(), settings.portal.image_hosts)
    return PortalServices(
        releases=releases,
        queries=queries,
        jobs=factory.create_job_service(),
        images=ImageService(releases, queries, settings.home / "cache" / "pyramids", files, addresses),
        soda=factory.create_soda_service(),
        find=factory.create_find_service(),
        alerts=factory.create_alert_service(),
        files=files,
        tables=factory.create_table_service(),
        sharing=factory.create_sharing_service(),
        history=factory.create_history_service(),
        results=factory.create_result_set_service(),
        estimates=factory.create_estimate_service(),
        limits=factory.create_limit_service(),
        preferences=factory.create_preference_service(),
        notebooks=factory.create_notebook_service(),
        views=ViewRegistry(),
        viewstates=factory.create_view_state_service(),
        run=settings.run,
        config=settings.portal,
        download_seconds=settings.portal.sync_seconds,
    )
