"""What the service counts, for Prometheus: by route, kind and gallery's name, never by what was asked."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Metrics:
    """The counters of one service."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "medsiglip_requests", "Requests answered", ["method", "route", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            "medsiglip_request_seconds",
            "Time until the first byte of an answer",
            ["route"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self._registry,
        )
        self.batch = Histogram(
            "medsiglip_query_batch",
            "Queries answered together",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self._registry,
        )
        self.refused = Counter(
            "medsiglip_refused",
            "Requests refused before they were looked at",
            ["why"],
            registry=self._registry,
        )
        self.images = Gauge("medsiglip_images", "Images of a gallery", ["gallery"], registry=self._registry)
        self.ready = Gauge(
            "medsiglip_gallery_ready", "1 where a gallery can be asked", ["gallery"], registry=self._registry
        )
        self.jobs = Gauge("medsiglip_jobs", "Jobs by state", ["state"], registry=self._registry)

    def count_jobs(self, states: Sequence[str]) -> None:
        """Tell how many jobs are in which state."""
        for state in ("waiting", "running", "done", "failed", "cancelled", "interrupted"):
            self.jobs.labels(state).set(states.count(state))

    def text(self) -> bytes:
        """Return all of them, as Prometheus reads them."""
        return generate_latest(self._registry)
