"""The price of an hour of an instance, and the cost of a result."""

from gpubench.pricing.catalog import Catalog, Instance, bundled_catalog
from gpubench.pricing.price_files import current_catalog

__all__ = ["Catalog", "Instance", "bundled_catalog", "current_catalog"]
