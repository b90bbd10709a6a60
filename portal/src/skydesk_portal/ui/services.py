"""What the Portal's pages work with, put together for one process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skydesk_portal.services.fitsaddresses import FitsAddresses
from skydesk_portal.services.image_files import ImageFileService
from skydesk_portal.services.images import ImageService
from skydesk_portal.services.result_transfers import ResultTransferService
from skydesk_portal.services.transfers import TransferMonitor
from skydesk_portal.services.views import ViewRegistry

if TYPE_CHECKING:
    from skydesk_portal.config import PortalConfig
    from skydesk_portal.factory import Factory
    from skydesk_portal.pipeline.releases import ReleaseStore
    from skydesk_portal.services.alert_subscriptions import AlertSubscriptionService
    from skydesk_portal.services.alerts import AlertService
    from skydesk_portal.services.archives import ArchiveService
    from skydesk_portal.services.estimate import EstimateService
    from skydesk_portal.services.files import FilesService
    from skydesk_portal.services.find import FindService
    from skydesk_portal.services.hips import HipsService
    from skydesk_portal.services.history import HistoryService
    from skydesk_portal.services.jobs import JobService
    from skydesk_portal.services.limits import LimitService
    from skydesk_portal.services.notebooks import NotebookService
    from skydesk_portal.services.notices import NoticeService
    from skydesk_portal.services.position_lists import PositionListService
    from skydesk_portal.services.preferences import PreferenceService
    from skydesk_portal.services.resultsets import ResultSetService
    from skydesk_portal.services.saved_queries import SavedQueryService
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
    soda, hips
        Cut-outs, and maps of the whole sky.
    find
        The search box.
    alerts, subscriptions
        Alerts of releases, and what people subscribed to of them.
    notices, transfers
        What people are told, and their downloads under way.
    image_files, result_transfers
        Files of images and results of queries, sent to the disk or into storage and tables.
    lists, archives
        Lists of positions, and archives outside.
    files, tables, sharing
        Files and tables of people, and who may read them.
    history, saved
        Past queries, and those that people keep and share.
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
    hips: HipsService
    find: FindService
    lists: PositionListService
    archives: ArchiveService
    alerts: AlertService
    subscriptions: AlertSubscriptionService
    notices: NoticeService
    transfers: TransferMonitor
    image_files: ImageFileService
    result_transfers: ResultTransferService
    files: FilesService
    tables: TableService
    sharing: SharingService
    history: HistoryService
    saved: SavedQueryService
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
    soda, tables = factory.create_soda_service(), factory.create_table_service()
    addresses = FitsAddresses(factory.create_upload_service(), settings.portal.image_hosts)
    images = ImageService(releases, queries, settings.home / "cache" / "pyramids", files, addresses)
    results = factory.create_result_set_service()
    return PortalServices(
        releases=releases,
        queries=queries,
        jobs=factory.create_job_service(),
        images=images,
        soda=soda,
        hips=factory.create_hips_service(),
        find=factory.create_find_service(),
        lists=factory.create_position_list_service(),
        archives=factory.create_archive_service(),
        alerts=factory.create_alert_service(),
        subscriptions=factory.create_alert_subscription_service(),
        notices=factory.create_notice_service(),
        transfers=TransferMonitor(factory.create_notice_service()),
        image_files=ImageFileService(soda, images.files, files),
        result_transfers=ResultTransferService(results, files, tables),
        files=files,
        tables=tables,
        sharing=factory.create_sharing_service(),
        history=factory.create_history_service(),
        saved=factory.create_saved_query_service(),
        results=results,
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
