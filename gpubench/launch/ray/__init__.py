"""A sweep whose cells the nodes of a Ray cluster measure. docs/ray.md describes it."""
