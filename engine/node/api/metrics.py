"""What a monitoring system asks of a node: GET /metrics, in Prometheus' text format or in OpenMetrics."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.node.api.web import answering
from engine.node.callers.access import allow
from engine.node.monitoring.metrics_now import Now
from engine.node.parts import Parts


def routes(parts: Parts, version: str) -> list[Route]:
    """The route, bound to the node's parts."""
    now = CollectorRegistry(auto_describe=False)
    now.register(Now(parts, version))

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))

        def written() -> bytes:
            return bytes(encode(_Both(parts.metrics.registry, now)))

        return Response(await asyncio.to_thread(written), media_type=None, headers={"content-type": content_type})

    return [Route("/metrics", answering(allow("viewer", metrics)), methods=["GET"])]


class _Both(CollectorRegistry):
    """What was counted, then what is looked up."""

    def __init__(self, *registries: CollectorRegistry) -> None:
        super().__init__(auto_describe=False)
        for registry in registries:
            self.register(registry)  # it collects like a collector
