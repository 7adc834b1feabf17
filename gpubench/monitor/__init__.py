"""Live metrics of a measurement, for Prometheus and OpenTelemetry: see docs/monitoring.md.

    Progress ──> Metrics ──> figures ──> pipe │ child process ──> HTTP, push gateway, OTLP

The measuring process writes to the pipe only between measurements. Everything else happens in the
child process.
"""
