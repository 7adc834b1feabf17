"""Sweeps on several machines: what other programs start, and what they run. docs/many_machines.md
explains the parts.
"""
