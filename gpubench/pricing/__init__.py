"""What an hour of an instance costs."""

from gpubench.pricing.catalog import Catalog, Instance, bundled_catalog

__all__ = ["Catalog", "Instance", "bundled_catalog"]
