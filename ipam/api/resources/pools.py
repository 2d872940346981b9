"""/pools"""

from __future__ import annotations

from collections.abc import Callable

import falcon
from bson import ObjectId

from ipam.api.http.coalesced_reader import coalesce_by_id
from ipam.api.http.idempotency import Idempotency
from ipam.api.http.item_resource import ItemResource
from ipam.api.http.media_types import negotiate, read_object
from ipam.api.http.query_params import bool_param, list_query, refuse_unknown
from ipam.api.http.readonly_fields import strip_readonly
from ipam.api.http.responses import Json, pool_json, render, render_page
from ipam.models.description import described
from ipam.models.pool import Pool
from ipam.storage.ledgers import Usage
from ipam.wiring import Services


class PoolCollection:
    """All pools."""

    def __init__(self, services: Services, idempotency: Idempotency) -> None:
        self._services = services
        self._idempotency = idempotency
        self._show = _showing(services)

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List pools."""
        negotiate(req, "pools")
        page = self._services.stores.pools.page(list_query(req))
        usage = self._services.stores.ledgers.usage([pool.id for pool in page.items])
        render_page(req, resp, "pools", page, lambda pools: (pool_json(pool, usage[pool.id]) for pool in pools))

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Create a pool."""
        negotiate(req, "pool")
        refuse_unknown(req)
        body = read_object(req, "pool")
        description = described(strip_readonly(body, {"id": None}, Pool.computed()))

        def create(id_: ObjectId) -> None:
            pool = self._services.provisioner.create_pool(Pool(id=id_, **description))
            render(req, resp, "pool", self._show(pool), status=201, location=f"/pools/{pool.id}")

        self._idempotency.once(req, resp, body, create)


def pool_item(services: Services) -> ItemResource[Pool]:
    """Return the resource of a pool."""
    return ItemResource(
        services,
        services.stores.pools,
        _showing(services),
        lambda id_, revisions, params: services.cascade_deleter.delete_pool(
            id_, revisions, cascade=bool_param(params, "cascade", default=True)
        ),
        parameters=("cascade",),
    )


def _showing(services: Services) -> Callable[[Pool], Json]:
    usage = coalesce_by_id(services.stores.ledgers.usage)
    return lambda pool: pool_json(pool, usage(pool.id) or Usage())
