"""Training: one optimiser step as the request.

losses -> step -> replica (one copy of the model) -> replicas (data parallel over processes)
"""
