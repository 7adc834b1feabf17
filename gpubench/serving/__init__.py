"""Talking to a model server that speaks the KServe v2 protocol."""
