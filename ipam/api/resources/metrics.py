"""/metrics"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import falcon
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ipam import __version__
from ipam.api.http.query_params import refuse_unknown
from ipam.api.http.responses import Json
from ipam.api.resources.health import FINE, Kept, state_of
from ipam.errors import Transient
from ipam.models.pool import Pool
from ipam.storage.ledgers import Usage
from ipam.storage.query import Query
from ipam.storage.stores import Stores
from ipam.util.rfc3339 import parse_time

# For so long what was read of parts and pools is shown to all that ask.
_PARTS_KEPT_S = 5.0
_POOLS_KEPT_S = 60.0


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric that is a figure in the state of a part."""

    name: str
    help: str
    part: str
    figure: str


FIGURES = (
    Figure("ipam_jobs_open", "Jobs that have not ended, 10,000 meaning so many or more.", "queue", "open"),
    Figure("ipam_jobs_oldest_age_seconds", "Age of the oldest job that has not ended.", "queue", "oldest_s"),
    Figure("ipam_relay_lag_seconds", "Age of the oldest event that the log does not have.", "relay", "behind_s"),
    Figure("ipam_bus_lag_events", "Events of the log that the bus does not have.", "bus", "behind"),
    Figure("ipam_bus_lag_seconds", "Age of the oldest of these events.", "bus", "behind_s"),
    Figure("ipam_recovery_last_run_timestamp_seconds", "When recovery ran last.", "recovery", "last_run_at"),
)


class Metrics:
    """The metrics of web processes and of what they know of the other parts, for Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show them as text, or as OpenMetrics if that is asked for."""
        refuse_unknown(req)
        encode, resp.content_type = choose_encoder(req.accept)
        resp.data = encode(self._registry)


class InstallationCollector(Collector):
    """Metrics of what all processes share: it is read when they are asked for.

    Args:
        parts: By name, what returns the state of a part.
        stores: Of the pools.
        pools: How many pools are told of, the oldest first; none if 0.
    """

    def __init__(self, parts: Mapping[str, Callable[[], Json]], stores: Stores, pools: int) -> None:
        self._stores = stores
        self._pools = pools
        self._states = Kept(lambda: {name: state_of(name, look) for name, look in parts.items()}, _PARTS_KEPT_S)
        self._usage = Kept(self._read_usage, _POOLS_KEPT_S)

    def describe(self) -> Iterable[Metric]:
        """Return nothing: what there is is found out when it is collected, and not when ipam starts."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, without those of parts that cannot be asked."""
        yield InfoMetricFamily("ipam_build", "The version that runs.", {"version": __version__})
        states = self._states.get()
        up = GaugeMetricFamily("ipam_part_up", "1 if a part is as it should be, as in /status.", labels=["part"])
        for part, state in states.items():
            up.add_metric([part], float(state["status"] in FINE))
        yield up
        for one in FIGURES:
            if (value := states.get(one.part, {}).get(one.figure)) is not None:
                number = parse_time(value).timestamp() if isinstance(value, str) else float(value)
                yield GaugeMetricFamily(one.name, one.help, number)
        yield from self._of_pools()

    def _of_pools(self) -> Iterator[Metric]:
        labels = ["pool_id", "pool"]
        size = GaugeMetricFamily("ipam_pool_addresses", "Addresses that a pool can lease.", labels=labels)
        used = GaugeMetricFamily("ipam_pool_used_addresses", "Addresses of it that are leased.", labels=labels)
        try:
            known = self._usage.get()
        except Transient:  # `ipam_part_up` tells of it, and what was not read is not kept.
            return
        for pool, usage in known:
            size.add_metric([str(pool.id), pool.name], float(usage.size))
            used.add_metric([str(pool.id), pool.name], float(usage.used))
        yield from (size, used)

    def _read_usage(self) -> list[tuple[Pool, Usage]]:
        if not self._pools:
            return []
        pools = list(self._stores.pools.page(Query(limit=self._pools)).items)
        usage = self._stores.ledgers.usage([pool.id for pool in pools])
        return [(pool, usage[pool.id]) for pool in pools]
