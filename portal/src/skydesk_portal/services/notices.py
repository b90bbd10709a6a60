"""Notices: what people are told while they do something else."""

from __future__ import annotations

import time
from collections.abc import Collection

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import Job, JobKind, Phase
from skydesk_portal.models.notices import Notice
from skydesk_portal.storage.notices import NoticeStore

__all__ = ["NoticeService"]

_DAY_S = 86_400.0
_MOST = 100
_LONGEST_SUBJECT = 200
_JOBS = {
    JobKind.TAP: "query", JobKind.CUTOUT: "cut-out", JobKind.BULK: "bulk cut-out", JobKind.BATCH: "pipeline run",
    JobKind.TRANSFER: "transfer", JobKind.TABLE: "table job",
}  # fmt: skip


class NoticeService:
    """Makes and shows notices.

    Parameters
    ----------
    store
        Keeps them.
    days
        How long a notice is kept.
    long_s
        A job that ran longer than this is told about also if nobody asked, in seconds.
    """

    def __init__(self, store: NoticeStore, days: float, long_s: float) -> None:
        self._store = store
        self._days = days
        self._long_s = long_s

    def add(
        self, owner: str, subject: str, text: str, *, link: str = "", kind: str = "info", amount: int = 0
    ) -> None:
        """Tell a person something.

        Parameters
        ----------
        owner
            Name of the person.
        subject
            What it is about: an unread notice about the same is replaced.
        text
            One sentence; ``{n}`` stands for the amount, with those of the unread notice that is replaced.
        link
            Path on the platform where there is more.
        kind
            ``info`` or ``error``.
        amount
            Of what it is about.
        """
        self._store.add(owner, subject[:_LONGEST_SUBJECT], text, amount, link, kind)

    def add_job(self, job: Job) -> None:
        """Tell the owner of a job how it ended, if that was asked for or the job was long.

        Parameters
        ----------
        job
            A job that has ended.
        """
        seconds = (job.end_time - job.start_time).total_seconds() if job.end_time and job.start_time else 0.0
        subject = f"job/{job.id}"
        if seconds < self._long_s and not self._store.is_wanted(job.owner, subject):
            return
        label = f" {job.run_id}" if job.run_id else f" {job.id}"
        what = f"Your {_JOBS.get(job.kind, 'job')}{label[:80]}"
        link = f"/portal/app/jobs?job={job.id}"
        if job.phase == Phase.COMPLETED:
            self.add(job.owner, subject, f"{what} is done", link=link)
        elif job.phase == Phase.ERROR:
            reason = job.error.message if job.error else "no reason is known"
            self.add(job.owner, subject, f"{what} failed: {reason[:300]}", link=link, kind="error")
        self._store.want(job.owner, subject, wanted=False)

    def want(self, identity: Identity, subject: str, *, wanted: bool = True) -> None:
        """Note that a person wants to be told about something, or does so no more.

        Raises
        ------
        UsageError
            If the subject is none.
        """
        if not subject or len(subject) > _LONGEST_SUBJECT:
            raise UsageError("what to tell about is named like job/NUMBER")
        self._store.want(identity.name, subject, wanted=wanted)

    def is_wanted(self, identity: Identity, subject: str) -> bool:
        """Tell whether a person wants to be told about something."""
        return self._store.is_wanted(identity.name, subject)

    def list_notices(self, identity: Identity, last: int = 50) -> list[Notice]:
        """Return the newest notices of a person, the newest first."""
        return self._store.list_newest(identity.name, min(last, _MOST))

    def count_unread(self, identity: Identity) -> int:
        """Return how many notices a person has not read."""
        return self._store.count_unread(identity.name)

    def mark_read(
        self, identity: Identity, ids: Collection[int] | None = None, *, is_read: bool = True
    ) -> None:
        """Let notices count as read or unread; by default all of them."""
        self._store.mark_read(identity.name, ids, is_read=is_read)

    def remove(self, identity: Identity, notice_id: int | None = None) -> None:
        """Forget a notice; by default all of them."""
        self._store.remove(identity.name, notice_id)

    def sweep(self) -> int:
        """Forget what is old; return how many notices."""
        return self._store.sweep(time.time() - self._days * _DAY_S)
