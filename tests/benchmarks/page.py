"""How fast the page of a run directory is, and how large: written, and usable in Chromium.

"write" is the time of `gpubench report` with its start; "ratio" divides it by that of the page of
one cell. "usable" is from the navigation until the slider, the table and the charts that are in
view work, and then until all charts are drawn. The targets for 500 cells are 5 s, 3 MB and 2 s.

    python tests/benchmarks/page.py [--cells 1,40,500] [--chromium /usr/bin/chromium]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import print_table

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))
from browser import chromium, draw_charts, open_page
from factories import samples
from planning_results import written
from swept_cells import sweep


def write(folder: Path, cells: int) -> tuple[Path, float]:
    """The page, and the seconds in which the command wrote it."""
    run = written(folder / f"run{cells}", *sweep(cells), measured=samples(1000))
    file = folder / f"page{cells}.html"
    command = [sys.executable, "-m", "gpubench", "report", run, "--output", str(file)]
    begin = time.perf_counter()
    subprocess.run(command, check=True, cwd=folder)
    return file, time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", default="1,40,500")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    asked = parser.parse_args()
    rows = []
    first_s = None
    with tempfile.TemporaryDirectory() as folder, chromium(asked.chromium) as browser:
        write(Path(folder), 2)  # the script of the charts is now in the cache
        for cells in map(int, asked.cells.split(",")):
            file, written_s = write(Path(folder), cells)
            first_s = first_s or written_s
            begin = time.perf_counter()
            with open_page(browser, file) as page:
                usable_s = time.perf_counter() - begin
                draw_charts(page)
                drawn_s = time.perf_counter() - begin
            figures = [written_s, written_s / first_s, file.stat().st_size / 1e6, usable_s, drawn_s]
            rows.append([str(cells), *(f"{figure:.2f}" for figure in figures)])
    print_table("The page", ["cells", "write s", "ratio", "MB", "usable s", "all drawn s"], rows)


if __name__ == "__main__":
    main()
