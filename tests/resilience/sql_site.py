"""A site whose PostgreSQL is its own, to be broken, and is reached by its processes through a proxy."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import make_url

from tests.resilience.proxy import TcpProxy
from tests.resilience.site import Site
from tests.servers import redis
from tests.servers.postgresql import PostgresServer


class SqlSite(Site):
    """Its processes reach PostgreSQL by `wire`; the tests themselves go there directly."""

    postgres: PostgresServer
    wire: TcpProxy


@contextmanager
def sql_site(postgres: PostgresServer) -> Iterator[SqlSite]:
    url = make_url(postgres.create_database())
    assert url.port is not None
    # Committed is committed when it is killed; the disk below is trusted.
    postgres.execute(f"ALTER DATABASE {url.database} SET synchronous_commit = on")
    wire, store = TcpProxy(url.port), redis.start("valkey")
    through_wire = url.set(port=wire.port).render_as_string(hide_password=False)
    site = SqlSite(url.render_as_string(hide_password=False), store, settings={"DATABASE_URL": through_wire})
    site.postgres, site.wire = postgres, wire
    try:
        site.start()
        yield site
    finally:
        site.remove()
        store.remove()
        wire.close()
