"""What a run tells while it goes and when it is over."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["LabelCost", "Progress", "QuantumFailure", "RunReport"]


@dataclass(frozen=True)
class Progress:
    """The state of a run.

    Attributes
    ----------
    done, total
        Quanta that ended, with or without success, and all quanta.
    failed
        Quanta that failed or could not run because an input failed.
    label
        Label of the task that ended last; empty at the beginning.
    elapsed_s
        Time since the graph was ready.
    remaining_s
        Expected time to go; None while nothing is known.
    """

    done: int
    total: int
    failed: int
    label: str
    elapsed_s: float
    remaining_s: float | None


@dataclass(frozen=True)
class QuantumFailure:
    """A quantum that raised, or whose worker died too often.

    Attributes
    ----------
    label
        Label of the task.
    data_id
        Its data ID, printed.
    message
        Class and message of the error, one line.
    """

    label: str
    data_id: str
    message: str


@dataclass
class LabelCost:
    """What the quanta of one task cost together.

    Attributes
    ----------
    quanta
        How many ran.
    wall_s, cpu_s
        Time in the workers, the middleware included.
    """

    quanta: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0


@dataclass
class RunReport:
    """The result of a run.

    Attributes
    ----------
    output
        The CHAINED output collection.
    run
        The RUN collection that holds the new datasets.
    total
        Quanta that were to do; those done in an earlier run are not counted.
    succeeded
        Quanta that ended well, those that found nothing to do included.
    failures
        Quanta that failed.
    blocked
        Quanta that did not run because an input failed.
    aborted
        Whether the caller ended the run early.
    elapsed_s, graph_s
        Time in all, and the part of it that building the graph took.
    costs
        Cost by label.
    """

    output: str
    run: str
    total: int = 0
    succeeded: int = 0
    failures: list[QuantumFailure] = field(default_factory=list)
    blocked: int = 0
    aborted: bool = False
    elapsed_s: float = 0.0
    graph_s: float = 0.0
    costs: dict[str, LabelCost] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every quantum ended well; a run with nothing left to do did."""
        return not self.aborted and self.succeeded == self.total
