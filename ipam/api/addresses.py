"""/addresses/{address}"""

from __future__ import annotations

import falcon

from ipam.api.media import negotiate
from ipam.api.queries import address_parameter, refuse_unknown
from ipam.api.rendering import render
from ipam.wiring import Services


class AddressItem:
    """One address, wherever it is."""

    def __init__(self, services: Services) -> None:
        self._stores = services.stores

    def on_get(self, req: falcon.Request, resp: falcon.Response, address: str) -> None:
        """Show who holds it, in each subnet that it lies in: of a pool that is one at most."""
        negotiate(req, "address")
        refuse_unknown(req)
        wanted = address_parameter(address)
        subnets = sorted(self._stores.subnets.containing(wanted), key=lambda subnet: subnet.id)
        leases = {one.subnet: one for one in self._stores.leases.at(wanted, [subnet.id for subnet in subnets])}
        reservations = self._stores.reservations.get_many(lease.reservation for lease in leases.values())
        holders = []
        for subnet in subnets:
            lease = leases.get(subnet.id)
            reservation = reservations.get(lease.reservation) if lease else None
            holders.append(
                {
                    "pool": str(subnet.pool),
                    "subnet": str(subnet.id),
                    "lease": str(lease.id) if lease else None,
                    "reservation": str(lease.reservation) if lease else None,
                    "name": reservation.name if reservation else None,
                }
            )
        render(req, resp, "address", {"address": str(wanted), "holders": holders})
