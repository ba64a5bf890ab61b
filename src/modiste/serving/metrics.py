"""What a server counts, in Prometheus' form."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server; of two in one process each has its own."""

    def __init__(self) -> None:
        own = CollectorRegistry()
        self.registry = own
        self.requests = Counter("modiste_requests", "Requests answered.", ("route", "status"), registry=own)
        self.seconds = Histogram(
            "modiste_request_seconds", "From head to answer.", ("route",), buckets=SECONDS, registry=own
        )
        self.batch = Histogram("modiste_batch_images", "Images computed together.", buckets=SIZES, registry=own)
        self.pictures = Counter("modiste_pictures", "Pictures seen.", ("outcome",), registry=own)
        self.at_work = Gauge("modiste_requests_at_work", "Requests at work or waiting.", registry=own)

    def text(self) -> bytes:
        """Return everything counted."""
        return generate_latest(self.registry)
