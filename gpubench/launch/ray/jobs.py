"""The jobs of a round, for the nodes of a cluster. A job is all turns of one engine."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence

from gpubench.measure.engine_key import engine_settings
from gpubench.measure.rounds import RepeatedCell, Turn

# A turn that was in work when its node or its process was lost is measured again so often.
MOST_REQUEUES = 2

# Synthetic cells may take a millisecond. So many are then a job that a node does not often wait for
# the next job, and so few that no node is without a job at the end.
_MOST_SYNTHETIC, _LEAST_JOBS = 20, 50


class RoundJobs:
    """Gives out the jobs of a round, and takes back what was not measured."""

    def __init__(self, turns: Iterable[Turn], type_of: Mapping[RepeatedCell, str]) -> None:
        """`type_of` has the node type of each cell. Only such nodes may measure it."""
        self._type_of = type_of
        self.lost: Counter[Turn] = Counter()  # how often a turn was in work when it was lost
        self._jobs: dict[str, deque[Sequence[Turn]]] = {}
        turns = list(turns)
        together = min(_MOST_SYNTHETIC, max(1, len(turns) // _LEAST_JOBS))
        by_engine: dict[tuple[str, str], list[Turn]] = {}
        for number, turn in enumerate(turns):
            cell = turn.of.cell
            # Cells without an engine can be in any job.
            engine = _engine(turn) if cell.service is None else str(number // together)
            by_engine.setdefault((type_of[turn.of], engine), []).append(turn)
        for (node_type, _), job in by_engine.items():
            self._jobs.setdefault(node_type, deque()).append(job)

    def take(self, node_type: str) -> Sequence[Turn]:
        """The next job for a node of this type. Empty if there is none."""
        jobs = self._jobs.get(node_type)
        return jobs.popleft() if jobs else ()

    def waiting(self) -> list[str]:
        """The node types for which there are jobs."""
        return [node_type for node_type, jobs in self._jobs.items() if jobs]

    def take_back(self, turns: Sequence[Turn], in_work: bool) -> Turn | None:
        """The node that had this job was lost. `turns` were not measured.

        `in_work` says whether the first of them had begun. Returns this turn if it has been lost
        too often, and is not measured again.
        """
        given_up = None
        if in_work:
            self.lost[turns[0]] += 1
            if self.lost[turns[0]] > MOST_REQUEUES:
                given_up, turns = turns[0], turns[1:]
        if turns:
            self._jobs.setdefault(self._type_of[turns[0].of], deque()).append(turns)
        return given_up

    def give_up(self, node_type: str) -> list[Turn]:
        """All turns that wait for a node of this type, which are not given out any more."""
        return [turn for job in self._jobs.pop(node_type, ()) for turn in job]


def _engine(turn: Turn) -> str:
    """Its name in this round. The files of a model may be only on the nodes, so none is read."""
    return repr(
        engine_settings(turn.of.cell)
    )  # a part of the settings is a dictionary, without a hash
