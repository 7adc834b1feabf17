"""A serverless function that measures itself: for AWS Lambda, and for containers that answer HTTP.

AWS Lambda calls `handler`. `python app.py` serves HTTP on $PORT instead, as Cloud Run expects. The
environment variable GPUBENCH_FUNCTION_SPEC has the settings of the model. docs/serverless.md says
how to deploy it and how to measure it.
"""

from __future__ import annotations

import os

from gpubench.serverless import MeasuredFunction, serve

function = MeasuredFunction.start()  # here, so that the model is loaded once in each process
handler = function.handle_event

if __name__ == "__main__":
    serve(function, os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "8080")))
