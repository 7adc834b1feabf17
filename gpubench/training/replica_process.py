"""The process of a replica other than 0: it loads its model, and makes a step for each byte.

Standard input: a ReplicaRequest in JSON on one line, then the bytes. Standard output: one line when
the model is loaded. Standard error: why it failed, on the last line.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from gpubench.errors import one_line


def start() -> NoReturn:
    """Train until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that measures ends this one
    commands, answers = sys.stdin.buffer, os.dup(1)
    os.dup2(2, 1)  # what a model prints must not look like the answer
    status = 0
    try:
        _train(commands.readline(), answers)
    except BaseException as error:
        print(one_line(error), file=sys.stderr, flush=True)
        status = 1
    os._exit(status)  # not through the ends of libraries, which may wait for other replicas


def _train(text: bytes, answers: int) -> None:
    import torch

    from gpubench.engines.precision import set_fp32_arithmetic
    from gpubench.models.base import load
    from gpubench.training.replica import build
    from gpubench.training.replicas import LOADED, TOY_STEP, ReplicaRequest, join, meeting_place

    request = ReplicaRequest.model_validate_json(text)
    cell = request.cell
    torch.set_num_threads(cell.threads)
    set_fp32_arithmetic(cell.precision)
    model = load(cell)
    os.write(answers, f"{LOADED}\n".encode())
    join(cell, meeting_place(request.port, cell.replicas), request.number)
    replica = build(model, cell, request.number)
    while command := sys.stdin.buffer.read(1):
        if command == TOY_STEP:
            replica.repeat_step()
        else:
            replica.take_step()
