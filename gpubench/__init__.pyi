"""The public names with their types: `__init__.py` imports each one on first use."""

from gpubench import core as core
from gpubench.errors import GpubenchError as GpubenchError
from gpubench.errors import InputError as InputError
from gpubench.in_turn import ab as ab
from gpubench.loaded import Results as Results
from gpubench.loaded import load as load
from gpubench.loaded import report as report
from gpubench.measure.cell import Interrupted as Interrupted
from gpubench.measure.cell import run as run
from gpubench.measure.progress import Progress as Progress
from gpubench.measure.search import SearchInterrupted as SearchInterrupted
from gpubench.measure.search import search as search
from gpubench.measure.search_sweep import search_grid as search_grid
from gpubench.measure.sweep import sweep as sweep
from gpubench.models.own import OwnModel as OwnModel
from gpubench.monitor.metrics import Metrics as Metrics
from gpubench.planning.compare import compare as compare
from gpubench.planning.decision import plan as plan
from gpubench.results.result import Result as Result
from gpubench.results.samples import Samples as Samples
from gpubench.results.search_result import SearchResult as SearchResult
from gpubench.spec.settings import Settings as Settings
from gpubench.spec.spec import Spec as Spec
from gpubench.statistics.repeats import combine as combine
