"""What the keys of this installation are called in a Redis that others may use as well."""

from app.core.errors import StoreUnavailable

# Shared by all installations, whatever their own keys are called.
INSTALLATIONS_KEY = "hf:installations"


class RedisKeys:
    """`hf:…` or `hf:{prefix}:…`. A process keeps to one of them from the first time the prefix is known until it ends."""

    def __init__(self, prefix: str | None = "") -> None:
        """None: SQL will tell."""
        self.prefix = prefix
        self.installation_id = ""

    def learn(self, installation_id: str, prefix: str) -> None:
        """What SQL says; a setting wins over it, and so does what was known before."""
        self.installation_id = self.installation_id or installation_id
        if self.prefix is None:
            self.prefix = prefix

    @property
    def are_known(self) -> bool:
        return self.prefix is not None

    def name(self, key: str) -> str:
        """Raises `StoreUnavailable` while nobody can say what it is called."""
        if self.prefix is None:
            raise StoreUnavailable("Redis waits for the database, which says what this installation's keys are called.")
        return f"hf:{self.prefix}:{key}" if self.prefix else f"hf:{key}"

    def place(self, run_id: str, database: int) -> str:
        """Which server, which of its databases and which names in it, in one word: keys of one place are never found in another.

        So that processes that disagree about any of it use no Redis together, those of older versions included.
        """
        return run_id + (f"/{database}" if database else "") + (f":{self.prefix}" if self.prefix else "")
