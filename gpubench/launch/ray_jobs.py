"""The jobs of a round, for the nodes of a cluster. A job is all turns of one engine."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence

from gpubench.measure.engine_key import engine_settings
from gpubench.measure.rounds import RepeatedCell, Turn

# A turn that was in work when its node or its process was lost is measured again so often.
MOST_REQUEUES = 2


class RoundJobs:
    """Gives out the jobs of a round, and takes back what was not measured."""

    def __init__(self, turns: Iterable[Turn], type_of: Mapping[RepeatedCell, str]) -> None:
        """`type_of` has the node type of each cell. Only such nodes may measure it."""
        self._type_of = type_of
        self.lost: Counter[Turn] = Counter()  # how often a turn was in work when it was lost
        self._jobs: dict[str, deque[Sequence[Turn]]] = {}
        by_engine: dict[tuple[str, str], list[Turn]] = {}
        for turn in turns:
            by_engine.setdefault((type_of[turn.of], _engine(turn)), []).append(turn)
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
    cell = turn.of.cell
    if cell.service is not None:
        return turn.name  # it has no engine to share
    return repr(engine_settings(cell))  # a part of the settings is a dictionary, without a hash
