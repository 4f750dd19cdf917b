"""Every setting, read once from the environment (and a `.env` beside it), checked, and passed in from there."""

import os
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic.config import JsonDict
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from app.core.database_url import UrlProblem, parse_database_url, with_pooler
from app.core.hosts import clean_host_rule
from app.core.redis_url import check_redis_url
from app.core.root_path import clean_root_path
from app.core.trusted_proxies import ANYBODY, UNIX, parse_network
from app.core.weak_settings import HOW_TO_MAKE_A_KEY, key_weakness, networks_too_wide

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
MIN_KEY_BYTES = 32
# In production: two or three looks of a load balancer at /health/ready.
DRAIN_SECONDS = 5
# OWASP's floor for argon2id with one lane.
MIN_PASSWORD_TIME_COST, MIN_PASSWORD_MEMORY_KIB = 2, 19456
# Far below what a datetime can hold, so that "now + lifetime" never overflows.
TEN_YEARS_SECONDS = 315_360_000


class ConfigError(Exception):
    """The settings do not allow a start; `problems` has one line for each reason, without secrets."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _seconds(low: float, high: float) -> BeforeValidator:
    def parse(value: object) -> timedelta:
        seconds = value.total_seconds() if isinstance(value, timedelta) else float(str(value))
        if not low <= seconds <= high:
            raise ValueError
        return timedelta(seconds=seconds)

    return BeforeValidator(parse)


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _zone(value: object) -> ZoneInfo:
    try:
        return value if isinstance(value, ZoneInfo) else ZoneInfo(str(value))
    except (ZoneInfoNotFoundError, OSError):  # OSError: "Europe" is a directory of zones
        raise ValueError from None


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Lifetime = Annotated[timedelta, _seconds(1, TEN_YEARS_SECONDS)]
Interval = Annotated[timedelta, _seconds(0.01, 3600)]
SECRET: JsonDict = {"secret": True}
LIFETIME_RULE = f"seconds from 1 to {TEN_YEARS_SECONDS}"
INTERVAL_RULE = "seconds from 0.01 to 3600"
QUOTA_RULE = "a whole number, 0 = no limit"
LIMIT_RULE = "a whole number of requests a minute, 0 = no limit"


class Settings(BaseSettings):
    """What the environment says. A field's description is what its variable may be, as the error line puts it."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True, validate_default=True, arbitrary_types_allowed=True
    )

    holdfast_env: Annotated[Literal["development", "production"], BeforeValidator(_lower)] = Field(
        default="development", description="development or production"
    )
    database_url: str = Field(
        default="sqlite+aiosqlite:///data/diligence.db",
        repr=False,
        description="sqlite+aiosqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME",
    )
    database_pooler: Annotated[Literal["", "session", "transaction"], BeforeValidator(_lower)] = Field(
        default="", description="session or transaction, the mode of the pooler that DATABASE_URL leads to; not set = found out"
    )
    redis_url: str | None = Field(
        default=None,
        repr=False,
        description="redis://, rediss://, unix://PATH or redis+sentinel://H1:P1,H2:P2/MASTER/DB; not set = SQL only",
    )
    redis_tls_url: str | None = Field(default=None, repr=False, description="rediss://; wins over REDIS_URL where both are set")
    # With a process's run id it fits into a column of 64 characters.
    redis_prefix: str = Field(default="", pattern=r"^[A-Za-z0-9_-]{0,16}$", description="at most 16 letters, digits, - or _")
    secret_key: str = Field(default="", repr=False, description=f"at least {MIN_KEY_BYTES} bytes", json_schema_extra=SECRET)
    secret_key_fallbacks: Names = Field(
        default=(), repr=False, description="older keys, separated by commas, which still verify", json_schema_extra=SECRET
    )
    permanent_session_lifetime: Lifetime = Field(default=timedelta(days=7), description=LIFETIME_RULE)
    login_idle: Lifetime = Field(default=timedelta(days=1), validation_alias="LOGIN_IDLE_SECONDS", description=LIFETIME_RULE)
    login_lifetime: Lifetime = Field(default=timedelta(days=30), validation_alias="LOGIN_LIFETIME_SECONDS", description=LIFETIME_RULE)
    auto_restore_deal: bool | None = Field(default=None, description="true or false")
    session_backend: Annotated[Literal["auto", "redis", "sql"], BeforeValidator(_lower)] = Field(
        default="auto", description="auto, redis or sql"
    )
    session_backend_poll: Interval = Field(
        default=timedelta(seconds=1), validation_alias="SESSION_BACKEND_POLL_SECONDS", description=INTERVAL_RULE
    )
    probe_interval: Interval = Field(default=timedelta(seconds=1), validation_alias="PROBE_INTERVAL_SECONDS", description=INTERVAL_RULE)
    probe_rise: Interval = Field(default=timedelta(seconds=10), validation_alias="PROBE_RISE_SECONDS", description=INTERVAL_RULE)
    # The hold of a write outlives its transaction (10 s against 5 s) only while Redis calls stay well below that.
    database_timeout: Annotated[timedelta, _seconds(0.1, 60)] = Field(
        default=timedelta(seconds=2), validation_alias="DATABASE_TIMEOUT_SECONDS", description="seconds from 0.1 to 60"
    )
    redis_timeout: Annotated[timedelta, _seconds(0.01, 2)] = Field(
        default=timedelta(milliseconds=250), validation_alias="REDIS_TIMEOUT_SECONDS", description="seconds from 0.01 to 2"
    )
    rate_limit_select: int = Field(default=600, ge=0, description=LIMIT_RULE)
    rate_limit_list: int = Field(default=600, ge=0, description=LIMIT_RULE)
    rate_limit_write: int = Field(default=300, ge=0, description=LIMIT_RULE)
    rate_limit_export: int = Field(default=20, ge=0, description=LIMIT_RULE)
    rate_limit_run: int = Field(default=30, ge=0, description=LIMIT_RULE)
    quota_deals: int = Field(default=200_000, ge=0, description=QUOTA_RULE)
    quota_people: int = Field(default=2_000, ge=0, description=QUOTA_RULE)
    quota_findings: int = Field(default=2_000, ge=0, description=QUOTA_RULE)
    quota_import_mib: int = Field(default=256, ge=0, description="a whole number of MiB, 0 = no limit")
    rate_limit_login: int = Field(default=5, ge=0, description="a whole number of failed sign-ins, 0 = no limit")
    # "Within seconds": a person waits so long, a script with a thousand addresses does so for each guess.
    login_slowdown: Annotated[timedelta, _seconds(0.01, 10)] = Field(
        default=timedelta(seconds=4), validation_alias="LOGIN_SLOWDOWN_SECONDS", description="seconds from 0.01 to 10"
    )
    host: str = Field(default="", pattern=r"^\S*$", description="an address or host name to listen on")
    port: int = Field(default=5001, ge=1, le=65535, description="a whole number from 1 to 65535")
    web_concurrency: int = Field(default=1, ge=1, le=64, description="a whole number of web processes from 1 to 64")
    keep_alive: Annotated[timedelta, _seconds(1, 3600)] = Field(
        default=timedelta(seconds=130), validation_alias="KEEP_ALIVE_SECONDS", description="seconds from 1 to 3600"
    )
    request_head: Annotated[timedelta, _seconds(1, 300)] = Field(
        default=timedelta(seconds=20), validation_alias="REQUEST_HEAD_SECONDS", description="seconds from 1 to 300"
    )
    min_bytes_per_second: int = Field(default=500, ge=1, le=1_000_000, description="a whole number of bytes from 1 to 1000000")
    stall: Annotated[timedelta, _seconds(1, 300)] = Field(
        default=timedelta(seconds=20), validation_alias="STALL_SECONDS", description="seconds from 1 to 300"
    )
    max_header_bytes: int = Field(default=32768, ge=4096, le=1_048_576, description="a whole number of bytes from 4096 to 1048576")
    max_connections: int = Field(default=2000, ge=10, le=100_000, description="a whole number of connections from 10 to 100000")
    max_connections_per_address: int = Field(default=200, ge=2, le=100_000, description="a whole number of connections from 2 to 100000")
    drain_seconds: Annotated[timedelta, _seconds(0, 300)] = Field(default=timedelta(0), description="seconds from 0 to 300")
    forwarded_allow_ips: str = Field(
        default="127.0.0.1", description="addresses or networks of proxies, or unix, separated by commas, or *"
    )
    allowed_hosts: Names = Field(
        default=(),
        description="host names without scheme, port or path, separated by commas; .example.com is that domain and all below it",
    )
    cookie_suffix: str = Field(default="", pattern=r"^[A-Za-z0-9_-]{0,32}$", description="at most 32 letters, digits, - or _")
    root_path: str = Field(default="", description="a path such as /holdfast: letters, digits, - . _ ~ and slashes, no . or .. alone")
    jobs_timezone: Annotated[ZoneInfo, BeforeValidator(_zone)] = Field(default=ZoneInfo("UTC"), description="a time zone, such as UTC")
    audit_enabled: bool = Field(default=True, description="true or false")
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        default="info", description="debug, info, warning or error"
    )
    log_format: Annotated[Literal["", "json", "console"], BeforeValidator(_lower)] = Field(default="", description="json or console")
    security_contact: Names = Field(default=(), description="mailto:, https:// or tel: addresses, separated by commas")
    metrics_token: str | None = Field(default=None, repr=False, description="at least 16 characters", json_schema_extra=SECRET)
    password_time_cost: int = Field(default=MIN_PASSWORD_TIME_COST, ge=1, le=20, description="a whole number of argon2 passes from 1 to 20")
    password_memory_kib: int = Field(
        default=MIN_PASSWORD_MEMORY_KIB, ge=8, le=1_048_576, description="a whole number of KiB from 8 to 1048576"
    )

    @property
    def is_production(self) -> bool:
        return self.holdfast_env == "production"

    @property
    def data_dir(self) -> Path:
        """What must outlive a restart on a machine of its own: the SQLite file, the development key, the embedded Valkey."""
        return Path("data")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The environment arrives as arguments from load_settings(), so that tests can hand in another one.
        return init_settings, dotenv_settings

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: str) -> str:
        return parse_database_url(value).render_as_string(hide_password=False)

    @field_validator("redis_url", "redis_tls_url")
    @classmethod
    def _redis(cls, value: str | None, info: ValidationInfo) -> str | None:
        return None if value is None else check_redis_url(value, tls_only=info.field_name == "redis_tls_url")

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(clean_host_rule(host) for host in value)

    @field_validator("root_path")
    @classmethod
    def _root(cls, value: str) -> str:
        return clean_root_path(value)

    @field_validator("security_contact")
    @classmethod
    def _contacts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(r"mailto:[^\s@]+@[^\s@]+|https://\S+|tel:\+?[0-9-]+", contact) for contact in value):
            raise ValueError
        return value

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _proxies(cls, value: str) -> str:
        parts = [UNIX if part.strip() == "unix:" else part.strip() for part in value.split(",")]
        for part in parts:
            if part not in (ANYBODY, UNIX):
                parse_network(part)
        return ",".join(parts)

    @model_validator(mode="before")
    @classmethod
    def _defaults_that_depend_on_others(cls, values: dict[str, Any]) -> dict[str, Any]:
        production = str(values.get("holdfast_env", "")).strip().lower() == "production"
        values.setdefault("host", "0.0.0.0" if production else "127.0.0.1")  # noqa: S104  a server is there to be reached
        values.setdefault("drain_seconds", DRAIN_SECONDS if production else 0)
        values.setdefault("log_format", "json" if production else "console")
        if not production:
            values.setdefault("allowed_hosts", LOOPBACK_HOSTS)
        return values

    @model_validator(mode="after")
    def _merge(self) -> "Settings":
        if self.redis_tls_url:
            object.__setattr__(self, "redis_url", self.redis_tls_url)
        if self.database_pooler and self.database_url.startswith("postgresql"):
            object.__setattr__(self, "database_url", with_pooler(self.database_url, self.database_pooler))
        return self


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of `environ`, or of the process and its `.env`. ConfigError names everything that is wrong at once."""
    source = os.environ if environ is None else environ
    given = {key: source[name] for name, key in variables().items() if source.get(name, "").strip()}
    if source.get("SCRIPT_NAME", "").strip():
        given.setdefault("root_path", source["SCRIPT_NAME"])  # as gunicorn and WSGI call it
    try:
        # An empty path, not None: None would be pydantic-settings' own default.
        settings = Settings(_env_file=".env" if environ is None else "", **given)  # type: ignore[arg-type]
    except ValidationError as invalid:
        raise ConfigError([_explain(dict(error)) for error in invalid.errors()]) from None
    problems = [problem for rule in _RULES for problem in rule(settings)]
    if settings.is_production and source.get("QUART_DEBUG", "").lower() not in ("", "0", "false", "no"):
        problems.append("QUART_DEBUG: must not be set in production")
    if problems:
        raise ConfigError(problems)
    return settings if settings.secret_key else settings.model_copy(update={"secret_key": _development_key(settings.data_dir)})


def variables() -> dict[str, str]:
    """Every variable's name, with the key `Settings` takes it under."""
    keys = [str(field.validation_alias or name) for name, field in Settings.model_fields.items()]
    return {key.upper(): key for key in keys}


def masked(settings: Settings) -> dict[str, str]:
    """The effective settings as text, by variable, fit to be shown: no secret, no password inside a URL."""
    shown = {}
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        text = "" if value is None else str(value)
        if isinstance(value, timedelta):
            text = f"{value.total_seconds():.3f}".rstrip("0").rstrip(".")
        elif isinstance(value, tuple):
            text = ",".join(value)
        elif isinstance(value, bool):
            text = text.lower()
        if field.json_schema_extra == SECRET and text:
            text = "***"
        shown[str(field.validation_alias or name).upper()] = mask_url(text)
    return shown


def mask_url(text: str) -> str:
    """The same text without the passwords of URLs in it."""
    # Also where the URL is broken, such as one without "//": this is how it gets into an error line.
    text = re.sub(r":(?!//)[^\s]+@", ":***@", text)
    return re.sub(r"(?i)([?&](?:password|sslpassword)=)[^&\s]+", r"\1***", text)


def _explain(error: dict[str, Any]) -> str:
    name = str(error["loc"][0]).upper() if error["loc"] else "settings"
    fields = {str(field.validation_alias or key).upper(): field for key, field in Settings.model_fields.items()}
    field = fields[name]
    value = "***" if field.json_schema_extra == SECRET else mask_url(str(error["input"]))
    problem = error.get("ctx", {}).get("error")
    why = f" ({problem})" if isinstance(problem, UrlProblem) else ""
    return f"{name}={value!r} is not allowed: it must be {field.description}{why}".replace("\n", " ")


def _any_environment(settings: Settings) -> list[str]:
    problems = []
    if settings.session_backend == "redis" and not settings.redis_url:
        problems.append("SESSION_BACKEND='redis' is not allowed without REDIS_URL: set REDIS_URL, or use auto or sql")
    if settings.secret_key and len(settings.secret_key.encode()) < MIN_KEY_BYTES:
        problems.append(f"SECRET_KEY=*** is not allowed: it must be at least {MIN_KEY_BYTES} bytes")
    if any(len(key.encode()) < MIN_KEY_BYTES for key in settings.secret_key_fallbacks):
        problems.append(f"SECRET_KEY_FALLBACKS=*** is not allowed: each key must be at least {MIN_KEY_BYTES} bytes")
    if settings.metrics_token is not None and len(settings.metrics_token) < 16:
        problems.append("METRICS_TOKEN=*** is not allowed: it must be at least 16 characters")
    return problems


def _production(settings: Settings) -> list[str]:
    if not settings.is_production:
        return []
    problems = []
    if not settings.secret_key:
        problems.append(f"SECRET_KEY: required in production, at least {MIN_KEY_BYTES} bytes")
    if not settings.allowed_hosts or "*" in settings.allowed_hosts:
        problems.append("ALLOWED_HOSTS: required in production, the host names this site is reached by, separated by commas")
    if settings.password_time_cost < MIN_PASSWORD_TIME_COST:
        problems.append(f"PASSWORD_TIME_COST={settings.password_time_cost}: must be at least {MIN_PASSWORD_TIME_COST} in production")
    if settings.password_memory_kib < MIN_PASSWORD_MEMORY_KIB:
        problems.append(f"PASSWORD_MEMORY_KIB={settings.password_memory_kib}: must be at least {MIN_PASSWORD_MEMORY_KIB} in production")
    if settings.rate_limit_login == 0:
        problems.append("RATE_LIMIT_LOGIN=0: passwords could be guessed without limit; must be at least 1 in production")
    return problems + cautions(settings)


def cautions(settings: Settings) -> list[str]:
    """What protects nothing, a line each: refused in production, a warning elsewhere."""
    secrets_by_name = {
        "SECRET_KEY": [settings.secret_key],
        "SECRET_KEY_FALLBACKS": settings.secret_key_fallbacks,
        "METRICS_TOKEN": [settings.metrics_token],
    }
    lines = []
    for name, values in secrets_by_name.items():
        weaknesses = dict.fromkeys(weakness for value in values if value and (weakness := key_weakness(value)))
        lines += [f"{name}=*** can be guessed: it {weakness}; {HOW_TO_MAKE_A_KEY}" for weakness in weaknesses]
    for network in networks_too_wide(settings.forwarded_allow_ips):
        lines.append(f"FORWARDED_ALLOW_IPS={network!r}: any client could claim any address; name the proxies or their networks")
    return lines


_RULES: tuple[Callable[[Settings], list[str]], ...] = (_any_environment, _production)


def _development_key(data_dir: Path) -> str:
    """The key of this checkout, made at the first start. Web and worker may start at once: the first one's key stays."""
    path = data_dir / "secret_key"
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            draft = data_dir / f".secret_key.{os.getpid()}.{secrets.token_hex(4)}"
            draft.touch(mode=0o600)
            draft.write_text(secrets.token_urlsafe(48))
            try:
                os.link(draft, path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        key = path.read_text().strip()
    except OSError as failure:
        raise ConfigError([f"SECRET_KEY: not set, and {path} cannot be made or read: {failure.strerror}"]) from None
    if len(key.encode()) < MIN_KEY_BYTES:
        raise ConfigError([f"SECRET_KEY: {path} holds no key of at least {MIN_KEY_BYTES} bytes; delete it to have a new one made"])
    return key
