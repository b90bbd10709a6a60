"""Putting the services together for one process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from skydesk_portal.config import PortalSettings
from skydesk_portal.exceptions import ConfigError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import JobKind
from skydesk_portal.pipeline.pixels import PixelStore
from skydesk_portal.pipeline.releases import ReleaseStore, engine_name
from skydesk_portal.services.alert_delivery import AlertDelivery
from skydesk_portal.services.alert_subscriptions import AlertSubscriptionService
from skydesk_portal.services.alert_webhooks import AlertWebhooks
from skydesk_portal.services.alerts import AlertService
from skydesk_portal.services.archives import ArchiveService
from skydesk_portal.services.batch import BatchExecutor, BatchService
from skydesk_portal.services.bulk import BulkExecutor, BulkService
from skydesk_portal.services.cache import ResultCache
from skydesk_portal.services.catalogs import CatalogService
from skydesk_portal.services.datalink import DatalinkService
from skydesk_portal.services.discovery import DiscoveryService
from skydesk_portal.services.estimate import EstimateService
from skydesk_portal.services.execution import TapExecutor
from skydesk_portal.services.files import FilesService
from skydesk_portal.services.find import FindService
from skydesk_portal.services.find_names import NameResolver
from skydesk_portal.services.fitsfiles import measure_uploads
from skydesk_portal.services.hips import HipsService
from skydesk_portal.services.history import HistoryService
from skydesk_portal.services.identity import HubIdentityClient, IdentityClient
from skydesk_portal.services.jobs import JobService
from skydesk_portal.services.limits import LimitService
from skydesk_portal.services.notebooks import NotebookService
from skydesk_portal.services.notices import NoticeService
from skydesk_portal.services.pictures import PreviewService
from skydesk_portal.services.position_lists import PositionListService
from skydesk_portal.services.preferences import PreferenceService
from skydesk_portal.services.resultsets import ResultSetService
from skydesk_portal.services.saved_queries import SavedQueryService
from skydesk_portal.services.sharing import SharingService
from skydesk_portal.services.sia import SiaService
from skydesk_portal.services.signing import LinkSigner
from skydesk_portal.services.soda import CutoutExecutor, SodaService
from skydesk_portal.services.tables import TableService
from skydesk_portal.services.tables_jobs import TableExecutor
from skydesk_portal.services.tap import TapService
from skydesk_portal.services.uploads import UploadService
from skydesk_portal.services.userimages import UserImageService
from skydesk_portal.services.viewstates import ViewStateService
from skydesk_portal.services.vospace import TransferExecutor, VospaceService
from skydesk_portal.storage.alert_stream import AlertStream
from skydesk_portal.storage.alert_subscriptions import AlertSubscriptionStore
from skydesk_portal.storage.claims import ClaimStore
from skydesk_portal.storage.davlocks import LockTable
from skydesk_portal.storage.duckdb_engine import DuckdbEngine
from skydesk_portal.storage.engine import HomeEngine
from skydesk_portal.storage.history import SqliteHistoryStore
from skydesk_portal.storage.jobs import SqliteJobStore
from skydesk_portal.storage.limits import Counters
from skydesk_portal.storage.notices import NoticeStore
from skydesk_portal.storage.preferences import PreferenceStore
from skydesk_portal.storage.resultsets import ResultSetStore
from skydesk_portal.storage.routed_engine import RoutedEngine
from skydesk_portal.storage.saved_queries import SavedQueryStore
from skydesk_portal.storage.sharing import ShareStore
from skydesk_portal.storage.spill import SpillFolder
from skydesk_portal.storage.tables import SqliteTableStore
from skydesk_portal.storage.userimages import UserImageStore
from skydesk_portal.storage.viewstates import ViewStateStore
from skydesk_portal.storage.vospace import NodePropertyStore
from skydesk_portal.uws.runner import JobExecutor
from skydesk_portal.uws.store import JobStore

if TYPE_CHECKING:
    from skydesk_portal.pipeline import Release

__all__ = ["Factory", "create_factory"]


class Factory:
    """Makes the services of one process; each is made once.

    Parameters
    ----------
    settings
        What the process has to know.
    identity
        Replaces the hub as the judge of tokens.
    """

    def __init__(self, settings: PortalSettings, identity: IdentityClient | None = None) -> None:
        self.settings = settings
        self._identity = identity

    @cached_property
    def _releases(self) -> ReleaseStore:
        return ReleaseStore(self.settings.releases)

    @cached_property
    def _catalogs(self) -> CatalogService:
        return CatalogService(
            self._releases,
            self._open_engine,
            self.settings.url,
            self._table_store,
            self.settings.tables,
            self._user_images,
        )

    @cached_property
    def _table_store(self) -> SqliteTableStore:
        return SqliteTableStore(self.settings.home / "tables.sqlite")

    @cached_property
    def _tables(self) -> TableService:
        settings = self.settings
        return TableService(self._table_store, settings.tables, settings.portal, self._tap, self._uploads)

    def create_table_service(self) -> TableService:
        """Return the tables of people."""
        return self._tables

    def _open_engine(self, releases: Sequence[Release]) -> HomeEngine:
        portal = self.settings.portal
        spill = SpillFolder(self.settings.cache / "spill", portal.spill_mb) if portal.spill_mb else None
        files = {engine_name(release.name): release.duckdb_path for release in releases}
        home = DuckdbEngine(
            files, threads=portal.engine_threads, memory_mb=portal.engine_memory_mb, spill=spill
        )
        if portal.distributed is None:
            return home
        # Its client library is loaded only where it is used.
        from skydesk_portal.storage.spark_releases import open_spark

        spark = open_spark(portal.distributed, self.settings.distributed_token, releases)
        return RoutedEngine(home, [spark], portal.distributed.local_rows)

    def create_release_store(self) -> ReleaseStore:
        """Return the releases."""
        return self._releases

    def create_catalog_service(self) -> CatalogService:
        """Return tables and engine."""
        return self._catalogs

    @cached_property
    def _tap(self) -> TapService:
        return TapService(
            self._catalogs,
            self._uploads,
            self.settings.portal,
            self.settings.url,
            cache=self._cache,
            history=self._history,
            spool=self.settings.cache / "spool",
        )

    @cached_property
    def _cache(self) -> ResultCache:
        portal = self.settings.portal
        return ResultCache(self.settings.cache / "results", portal.cache_seconds, portal.cache_bytes)

    @cached_property
    def _history(self) -> HistoryService:
        portal = self.settings.portal
        store = SqliteHistoryStore(self.settings.history_file)
        return HistoryService(store, self._jobs, portal.history_days, portal.history_queries)

    def create_estimate_service(self) -> EstimateService:
        """Return what tells the cost of queries."""
        return EstimateService(self._tap, self.settings.portal)

    @cached_property
    def _result_sets(self) -> ResultSetService:
        portal, cache = self.settings.portal, self.settings.cache
        store = ResultSetStore(cache / "resultsets", portal.resultset_bytes, portal.resultset_hours * 3600)
        return ResultSetService(store, self._tap, portal, cache / "spool", self._history)

    def create_result_set_service(self) -> ResultSetService:
        """Return the results that people look at."""
        return self._result_sets

    def create_result_cache(self) -> ResultCache:
        """Return the kept answers."""
        return self._cache

    def create_history_service(self) -> HistoryService:
        """Return the queries people have run."""
        return self._history

    @cached_property
    def _uploads(self) -> UploadService:
        limit = self.settings.portal.upload_bytes
        return UploadService(self._jobs, self.create_files_service(), limit, self.settings.url)

    def create_upload_service(self) -> UploadService:
        """Return what reads tables that people send."""
        return self._uploads

    def create_tap_service(self) -> TapService:
        """Return the query service."""
        return self._tap

    @cached_property
    def _jobs(self) -> JobService:
        portal = self.settings.portal
        if portal.jobs_database is None:
            kept: JobStore = SqliteJobStore(self.settings.jobs_file)
        else:
            # Its client library is loaded only where it is used.
            from skydesk_portal.storage.jobs_postgres import PostgresJobStore

            password = self.settings.jobs_password
            kept = PostgresJobStore(portal.jobs_database, password.get_secret_value() if password else None)
        return JobService(kept, self.settings.results, portal, self._limits)

    @cached_property
    def _limits(self) -> LimitService:
        return LimitService(self.settings.portal, Counters(self.settings.run / "limits.sqlite"))

    def create_limit_service(self) -> LimitService:
        """Return the rate limits and quotas of people."""
        return self._limits

    def create_job_service(self) -> JobService:
        """Return the jobs of people."""
        return self._jobs

    def create_executors(self) -> dict[JobKind, JobExecutor]:
        """Return who does which kind of job."""
        return {
            JobKind.TAP: TapExecutor(self._tap, self._jobs),
            JobKind.TABLE: TableExecutor(self._tables),
            JobKind.CUTOUT: CutoutExecutor(self._soda),
            JobKind.BULK: BulkExecutor(self.create_bulk_service(), self._jobs, self.settings.portal),
            JobKind.TRANSFER: TransferExecutor(self.create_vospace_service()),
            JobKind.BATCH: BatchExecutor(
                self.create_batch_service(), self._user_images, self.settings.portal
            ),
        }

    @cached_property
    def _user_images(self) -> UserImageService:
        store = UserImageStore(self.settings.home / "userimages")
        return UserImageService(store, self.settings.users, self.settings.url)

    def create_user_image_service(self) -> UserImageService:
        """Return the images that people's own runs made."""
        return self._user_images

    def create_batch_service(self) -> BatchService:
        """Return user batch."""
        return BatchService(self._releases, self.settings.users)

    @cached_property
    def _soda(self) -> SodaService:
        pixels = PixelStore(self.settings.portal.cutout_pixels)
        return SodaService(self._releases, pixels, self._tap, self._user_images)

    def create_soda_service(self) -> SodaService:
        """Return the cut-out service."""
        return self._soda

    def create_bulk_service(self) -> BulkService:
        """Return the service of bulk cut-outs."""
        return BulkService(self._soda, self._tap, self.settings.portal)

    def create_preview_service(self) -> PreviewService:
        """Return the small pictures of images."""
        return PreviewService(self._soda, self.settings.home / "cache" / "previews")

    def create_sia_service(self) -> SiaService:
        """Return the image search."""
        return SiaService(self._tap, self._releases, self.settings.url)

    @cached_property
    def _signer(self) -> LinkSigner:
        return LinkSigner(self.settings.home / "links.key")

    def create_link_signer(self) -> LinkSigner:
        """Return what signs links to files."""
        return self._signer

    def create_datalink_service(self) -> DatalinkService:
        """Return the links of datasets."""
        seconds = self.settings.portal.link_seconds
        return DatalinkService(
            self._soda,
            self._tap,
            self._user_images,
            self.create_alert_service(),
            self._signer,
            self.settings.url,
            seconds,
        )

    def create_alert_service(self) -> AlertService:
        """Return the alerts of releases."""
        return AlertService(self._releases, self.settings.url)

    @cached_property
    def _alert_stream(self) -> AlertStream:
        return AlertStream(self.settings.alerts_file)

    def create_alert_stream(self) -> AlertStream:
        """Return the stream of alerts."""
        return self._alert_stream

    @cached_property
    def _alert_subscriptions(self) -> AlertSubscriptionService:
        portal = self.settings.portal
        return AlertSubscriptionService(
            AlertSubscriptionStore(self.settings.alerts_file),
            self._alert_stream,
            self.create_alert_service(),
            self._releases,
            self._tap,
            AlertWebhooks(portal.alert_webhooks),
            self._signer,
            self.settings.url,
            portal.alert_days,
        )

    def create_alert_subscription_service(self) -> AlertSubscriptionService:
        """Return the subscriptions to alerts."""
        return self._alert_subscriptions

    def create_alert_delivery(self) -> AlertDelivery:
        """Return what delivers alerts to subscriptions."""
        return AlertDelivery(
            self._alert_subscriptions,
            self.create_alert_service(),
            self._releases,
            self._tap,
            self._files,
            self._notices,
            self.settings.run / "alerts.lock",
        )

    @cached_property
    def _notices(self) -> NoticeService:
        portal = self.settings.portal
        store = NoticeStore(self.settings.home / "notices.sqlite")
        return NoticeService(store, portal.notice_days, portal.notice_seconds)

    def create_notice_service(self) -> NoticeService:
        """Return the notices of people."""
        return self._notices

    def create_preference_service(self) -> PreferenceService:
        """Return what people prefer."""
        return PreferenceService(PreferenceStore(self.settings.home / "preferences.sqlite"))

    @cached_property
    def _names(self) -> NameResolver | None:
        address = self.settings.portal.name_resolver
        return NameResolver(address) if address else None

    def create_view_state_service(self) -> ViewStateService:
        """Return what keeps the parts of views that addresses cannot hold."""
        return ViewStateService(ViewStateStore(self.settings.home / "viewstates.sqlite"))

    def create_find_service(self) -> FindService:
        """Return the search box."""
        return FindService(self._releases, self._tap, self._names)

    def create_archive_service(self) -> ArchiveService:
        """Return what asks archives outside."""
        return ArchiveService(self.settings.portal.archives)

    def create_position_list_service(self) -> PositionListService:
        """Return what reads lists of positions."""
        return PositionListService(self._tap, self._names)

    def create_hips_service(self) -> HipsService:
        """Return HiPS and coverage maps."""
        return HipsService(self._releases, self.settings.url)

    def create_discovery_service(self) -> DiscoveryService:
        """Return the description of the platform."""
        return DiscoveryService(
            self._releases, self._sharing, self.settings.url, self.settings.portal.site_name
        )

    @cached_property
    def _files(self) -> FilesService:
        store = NodePropertyStore(self.settings.home / "files.sqlite")
        limit = self.settings.portal.files_bytes
        claims = ClaimStore(self.settings.run / "claims.sqlite")
        uploads = self.settings.cache / "fitsfiles"
        return FilesService(
            self.settings.users,
            limit,
            self.settings.url,
            store,
            claims,
            measure_more=lambda name: measure_uploads(uploads, name),
        )

    def create_lock_table(self) -> LockTable:
        """Return the locks that WebDAV clients hold."""
        return LockTable(self.settings.home / "files.sqlite")

    def create_files_service(self) -> FilesService:
        """Return the files of people."""
        return self._files

    def create_notebook_service(self) -> NotebookService:
        """Return what writes notebooks into home folders."""
        return NotebookService(self._files, self.settings.url)

    @cached_property
    def _vospace(self) -> VospaceService:
        seconds = self.settings.portal.link_seconds
        return VospaceService(self._files, self._signer, self._jobs, self.settings.url, seconds)

    def create_vospace_service(self) -> VospaceService:
        """Return the files of people as nodes of a VOSpace."""
        return self._vospace

    @cached_property
    def _sharing(self) -> SharingService:
        store = ShareStore(self.settings.home / "sharing.sqlite")
        return SharingService(self._releases, self.settings.users, store)

    def create_sharing_service(self) -> SharingService:
        """Return who may read which Butler repository."""
        return self._sharing

    @cached_property
    def _saved_queries(self) -> SavedQueryService:
        return SavedQueryService(SavedQueryStore(self.settings.home / "savedqueries.sqlite"))

    def create_saved_query_service(self) -> SavedQueryService:
        """Return the queries that people save."""
        return self._saved_queries

    def warm(self) -> None:
        """Pay for imports and for opening the catalogues before the first request does."""
        import pyarrow as pa

        from skydesk_portal.adql.geometry import Circle, Point, Value, index_ranges
        from skydesk_portal.storage.cells import cells_around

        center = Point(Value("0.0", 0.0), Value("0.0", 0.0))
        index_ranges(Circle(center, Value("0.01", 0.01)))
        self.create_job_service()
        self._catalogs.view_for(Identity("warm"))
        cells_around(pa.array([0.0]), pa.array([0.0]), pa.array([0]))

    def warm_pixels(self) -> None:
        """Import what reads images and open the Butler of every release once."""
        self._soda.warm()

    @cached_property
    def _client(self) -> IdentityClient:
        if self._identity is not None:
            return self._identity
        if self.settings.hub_api is None:
            raise ConfigError("SKYDESK_HUB_API is not set: nobody could be told apart")
        # The provider serves on a socket of the same folder where the platform runs as a whole.
        return HubIdentityClient(
            self.settings.hub_api, self.settings.epoch, provider=self.settings.run / "identity.sock"
        )

    def create_identity_client(self) -> IdentityClient:
        """Return the judge of tokens."""
        return self._client

    def close(self) -> None:
        """Close the engine; other connections close with the process."""
        if "_catalogs" in self.__dict__:
            self._catalogs.close()


def create_factory(settings: PortalSettings, identity: IdentityClient | None = None) -> Factory:
    """Make the factory of one process.

    Parameters
    ----------
    settings
        What the process has to know.
    identity
        Replaces the hub as the judge of tokens.

    Returns
    -------
    Factory
        Makes the services.
    """
    return Factory(settings, identity)
