"""What README, docs and `.env.example` name exists: commands, settings, paths."""

import re
import subprocess
from pathlib import Path

import click
import pytest

from app.cli import COMMANDS, cli
from app.core.config import load_settings, masked, variables

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
# Names in capitals that are not settings of the app: they belong to make, to the tests, or to what we build on.
OTHER_VARIABLES = {
    "KEEP_STRAYS",
    "SCRIPT_NAME",
    "BROWSER",
    "WORKERS",
    "ARGS",
    "PYTHON",
    "PYTHONS",
    "TEST_DATABASE_URL",
    "TEST_REDIS_URL",
    "QUART_DEBUG",
    "PIP_INDEX_URL",
    "PROMETHEUS_MULTIPROC_DIR",
}
# Code spans that look like paths of the repository, by their first part.
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()}
pages = pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))


def code_in(page: Path) -> list[str]:
    """Code spans and the lines of code blocks."""
    text = page.read_text()
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return spans + [line for block in blocks for line in block.splitlines()]


@pages
def test_named_paths_exist(page: Path) -> None:
    for code in code_in(page):
        if re.fullmatch(r"[\w.-]+(/[\w.-]+)+/?|[\w-]+\.(md|toml|lock|py)", code) and code.split("/")[0] in FOLDERS - {"data"}:
            assert (ROOT / code).exists(), code
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pages
def test_named_settings_exist(page: Path) -> None:
    known = variables().keys() | OTHER_VARIABLES
    for code in code_in(page):
        for name in re.findall(r"^([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|PORT|HOST)(?:=\S*)?$", code):
            assert name in known, name


@pages
def test_named_commands_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for code in code_in(page):
        if called := re.match(r"make ([a-z-]+)", code):
            assert called[1] in targets, code
        if called := re.match(r"(?:\.venv/bin/)?holdfast ([a-z][a-z -]*)", code):
            assert_is_command(called[1].split())


def test_procfile_names_commands() -> None:
    for line in (ROOT / "Procfile").read_text().splitlines():
        _, command = line.split(": holdfast ")
        assert_is_command(command.split())


def test_every_command_can_be_loaded_and_explains_itself() -> None:
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        assert command.help


def test_every_make_target_is_explained() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    said = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert targets == set(re.findall(r"make ([a-z-]+)", said))


def test_env_example_names_every_setting_with_its_default() -> None:
    named = dict(re.findall(r"^#([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    defaults = masked(load_settings({"SECRET_KEY": "k" * 32})) | {"SECRET_KEY": "", "AUTO_RESTORE_DEAL": "true"}
    assert named == defaults


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert [name for name in variables() if f"`{name}`" not in text] == []


def test_log_lines_of_the_runbook_are_written_by_the_code() -> None:
    page = (ROOT / "docs" / "operations" / "quick-reference.md").read_text()
    [section] = re.findall(r"^## Log lines\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    lines = [line for cell in re.findall(r"^\| (`.+?`) \|", section, re.MULTILINE) for line in re.findall(r"`(.+?)`", cell)]
    source = "".join(path.read_text() for room in ("app", "worker") for path in (ROOT / room).rglob("*.py"))
    assert len(lines) > 15, "the table was found"
    assert [line for line in lines if line not in source] == []


@pages
def test_named_headings_exist(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text()):
        text = (page.parent / target if target else page).read_text()
        headings = {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
        assert anchor in headings, f"{target}#{anchor}"


def assert_is_command(words: list[str]) -> None:
    command: click.Command | None = cli
    for word in words:
        if not isinstance(command, click.Group):
            return
        command = command.get_command(click.Context(command), word)
        assert command is not None, " ".join(words)
