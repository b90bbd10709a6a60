"""The session with a Spark Connect server: who we are, what the server is told, what it has to know of the files."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from skydesk_portal.exceptions import PortalError, UpstreamError
from skydesk_portal.log import get_logger
from skydesk_portal.storage.spark_sql import FILE_COLUMN

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

__all__ = ["AWAY", "SparkConnection", "cancel_stragglers"]

AWAY = "the distributed engine of this release does not answer; queries by position or identifier go on"
"""What people are told when there is no server."""


_SETTINGS = {
    "spark.sql.ansi.enabled": "true",  # a number out of range is an error, not NULL
    "spark.sql.caseSensitive": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.runSQLOnFiles": "false",
    # ORDER BY with the million rows that a query may return would be collected whole from each partition.
    "spark.sql.execution.topKSortFallbackThreshold": "10000",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "50000",
}
_STRAGGLERS_S = 30.0
_LOST = (
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "UNAUTHENTICATED",
    "INVALID_HANDLE",
    "RETRIES_EXCEEDED",
    "SESSION_CHANGED",
    "NO_ACTIVE_SESSION",
    "Connection refused",
    "SparkContext was shut down",
    "stopped SparkContext",
)


class SparkConnection:
    """One session with a server, opened when it is first needed.

    Parameters
    ----------
    url
        Address of the server, ``sc://host:port``, with ``/;use_ssl=true`` where TLS stands before it.
    token
        What the server asks for.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url
        self._token = token
        self._lock = threading.Lock()
        self._session: SparkSession | None = None
        self._known: set[str] = set()

    @staticmethod
    def is_lost(error: BaseException) -> bool:
        """Tell whether an error means that there is no server, or none that knows the session."""
        text = str(error)
        return any(word in text for word in _LOST)

    def open(self, folders: Mapping[str, str]) -> SparkSession:
        """Return the session, which then knows some tables.

        Parameters
        ----------
        folders
            Folder of parquet files by the name of the view over it.

        Raises
        ------
        UpstreamError
            If the server does not answer or does not know the token.
        PortalError
            If the cluster cannot read a folder.
        """
        with self._lock:
            session = self._session
            try:
                if session is None:
                    session, self._known = self._connect(), set()
                for name in folders.keys() - self._known:
                    named = f"_metadata.file_name AS `{FILE_COLUMN}`"
                    session.read.parquet(folders[name]).selectExpr("*", named).createOrReplaceTempView(name)
                    self._known.add(name)
            except Exception as error:
                self._session = None
                get_logger().error("no session with the distributed engine", error=str(error)[:500])
                if self.is_lost(error):
                    raise UpstreamError(AWAY) from error
                raise PortalError("the distributed engine cannot read the files of this release") from error
            self._session = session
            return session

    def _connect(self) -> SparkSession:
        import grpc
        from pyspark.sql.connect.client import DefaultChannelBuilder
        from pyspark.sql.connect.client.retries import DefaultPolicy
        from pyspark.sql.connect.session import SparkSession

        class Channel(DefaultChannelBuilder):
            """Sends a token without TLS to this machine only, under whatever name."""

            def toChannel(self) -> grpc.Channel:  # noqa: N802  # a name of the client library
                if self.token is None or self.use_ssl:
                    return super().toChannel()
                credentials = grpc.composite_channel_credentials(
                    grpc.local_channel_credentials(), grpc.access_token_call_credentials(self.token)
                )
                return self._secure_channel(self.endpoint, credentials)

        channel = Channel(self._url)
        if self._token is not None:
            channel.set("token", self._token)
        channel.set("user_id", "skydesk")
        session = SparkSession.builder.channelBuilder(channel).create()
        # By default the client tries for ten minutes.
        session.client.set_retry_policies([DefaultPolicy(max_retries=3, max_backoff=1000)])
        if str(session.conf.get("spark.sql.runSQLOnFiles")).lower() != "false":
            get_logger().warning(
                "the distributed engine reads files by their path: set spark.sql.runSQLOnFiles=false"
            )
        for name, value in _SETTINGS.items():
            session.conf.set(name, value)
        return session

    def forget(self, session: SparkSession) -> None:
        """Have the next query open a new session, unless one has done so already.

        Parameters
        ----------
        session
            The session that failed. It is not ended: other queries may still be read from it.
        """
        with self._lock:
            if self._session is session:
                self._session = None

    def close(self) -> None:
        """End the session."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            threading.Thread(target=_release, args=(session,), daemon=True).start()


def cancel_stragglers(session: SparkSession, operation_id: str) -> None:
    """Stop the jobs that an interrupted operation submitted after the server had stopped the others.

    Sub-queries, broadcasts and the stages of the adaptive planner are submitted from threads of their own, which an
    interrupt does not reach (SPARK-49057), and there is no request that stops the jobs of an operation which is over.
    But an operation that fails has the server stop all jobs with its identifier; so one of the same identifier
    is sent that cannot be planned.

    Parameters
    ----------
    session
        Where the operation ran.
    operation_id
        The operation; nothing happens while it is not over.
    """
    import pyspark.sql.connect.proto as pb2

    client = session.client
    request = client._execute_plan_request_with_metadata()
    request.operation_id = operation_id
    request.plan.root.sql.query = "SELECT nothing"
    with suppress(Exception):
        for _ in client._stub.ExecutePlan(
            request, metadata=client._builder.metadata(), timeout=_STRAGGLERS_S
        ):
            pass
    release = pb2.ReleaseExecuteRequest(
        session_id=request.session_id, user_context=request.user_context, operation_id=operation_id
    )
    release.release_all.SetInParent()
    with suppress(Exception):
        client._stub.ReleaseExecute(release, metadata=client._builder.metadata(), timeout=_STRAGGLERS_S)


def _release(session: SparkSession) -> None:
    with suppress(Exception):
        session.client.release_session()
    with suppress(Exception):
        session.client.close()
