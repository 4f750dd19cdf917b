"""Holdfast, a deal workspace in which you never lose your place.

asgi.py, factory.py     the application and its composition root
config.py, resources.py settings (database_url.py, redis_url.py: how addresses are written); what is opened and closed around them
database.py, redis.py   the ways to SQL and Redis (postgresql.py: with a pooler between; database_faults.py: why not; redis_keys.py: names)
proxies.py, root_path.py    what proxies say of a request; the path the site lives below (trusted_proxies.py, hosts.py, cookies.py)
web.py, error_handlers.py   what every route shares: access, JSON, headers; how errors look
at_rest.py              JSON that another version may have written
texts.py                what no eye can see in a text
live.py                 server-sent events: what every stream shares
entrance.py             to the sign-in page and back, never in circles
sessions/               the core: sessions that survive Redis, restarts and servers; knows nothing of deals
auth/                   logins, passwords, people
deals/                  deals, access to them, the selection and its restoration
work/                   what the things inside a deal have in common
findings/, checklist/   the two kinds of them
workspace/              the pages
imports/, exports/      spreadsheets in and out
events/, ops/           the audit trail, health
notices/                what people are told, live and until they read it
models/                 the tables
"""
