"""Documentation that works: each link leads somewhere, each make target and each guard command shown exists."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from guard.cli.main import app

MANY = 50  # commands are shown; far fewer mean that they are no longer found
FENCE = re.compile(r"^( *)```([a-z]*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
SHELL = {"sh", "bash", "shell", "console"}
INLINE = re.compile(r"(?<!`)`((?:guard|make) [^`\n]+)`")
LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)
ENDS_A_COMMAND = {"|", "||", "&&", ";", "&", ">", ">>", "<", "2>", "2>&1"}
OMITTED = re.compile(r"\.\.\.|…")


def anchors(text: str) -> set[str]:
    """The anchors that a renderer gives the headings of *text*: lower case, blanks to hyphens, punctuation dropped."""
    headings = HEADING.findall(FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path: Path, text: str) -> list[str]:
    """Links of *text*, the file *path*, that lead to no file or no heading; addresses elsewhere are not asked."""
    broken = []
    for found in LINK.finditer(FENCE.sub("", text)):
        target = found[1] or found[2]
        if SCHEME.match(target):
            continue
        name, _, anchor = target.partition("#")
        file = path.parent / name
        if (name and not file.exists()) or (
            anchor and anchor not in anchors(file.read_text(encoding="utf-8") if name else text)
        ):
            broken.append(target)
    return broken


def command_lines(text: str) -> list[str]:
    """Every line of *text* that shows a command: in shell blocks, and in code spans that begin with guard or make."""
    blocks = [body for _, language, body in FENCE.findall(text) if language in SHELL]
    joined = "\n".join(blocks).replace("\\\n", " ").splitlines()
    prompts = any(line.lstrip().startswith("$ ") for line in joined)
    lines = [line.strip() for line in joined if not prompts or line.lstrip().startswith("$ ")]
    return [line.removeprefix("$ ") for line in lines] + INLINE.findall(FENCE.sub("", text))


def words(line: str) -> list[str]:
    """The words of the first command in *line*, up to a comment, pipe or redirection."""
    split = shlex.shlex(line, posix=True, punctuation_chars=False)
    split.whitespace_split = True
    split.commenters = "#"
    found = []
    for word in split:
        if word in ENDS_A_COMMAND:
            break
        found.append(word.rstrip(";"))
    return found


def commands(text: str, program: str) -> set[tuple[str, ...]]:
    """The arguments of each call of *program* that *text* shows; a call that is cut short by dots is left out."""
    shown = [words(line) for line in command_lines(text) if not OMITTED.search(line)]
    return {tuple(each[1:]) for each in shown if each and each[0].rpartition("/")[2] == program}


def refused(arguments: tuple[str, ...]) -> str:
    """What `guard` says against *arguments*, or nothing. Help is asked for, so the command is parsed and not run."""
    answer = CliRunner().invoke(app, [*arguments, "--help"])  # in this process: two hundred of their own took minutes
    return "" if answer.exit_code == 0 else f"guard {shlex.join(arguments)}: {answer.output.strip()}"


@pytest.fixture(scope="module")
def pages(files):
    return {path: path.read_text(encoding="utf-8") for path in files if path.suffix == ".md"}


def test_each_link_leads_somewhere(root, pages):
    found = {str(path.relative_to(root)): broken_links(path, text) for path, text in pages.items()}
    assert {name: links for name, links in found.items() if links} == {}


def test_each_make_target_exists(root, pages):
    known = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    shown = {call for text in pages.values() for call in commands(text, "make")}
    asked = {word for call in shown for word in call if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-")}
    assert asked - known == set()


def test_each_guard_command_exists_with_its_options(pages):
    shown = sorted({call for text in pages.values() for call in commands(text, "guard")})
    assert len(shown) > MANY
    assert [complaint for call in shown if (complaint := refused(call))] == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("keys", "list"), ""),
        (("keys", "lists"), "No such command 'lists'"),
        (("nothing",), "No such command 'nothing'"),
        (("keys", "list", "--nothing"), "No such option: --nothing"),
    ],
)
def test_a_command_that_is_not_there_is_refused(arguments, complaint):
    assert complaint in refused(arguments)
    assert bool(refused(arguments)) == bool(complaint)


@pytest.mark.parametrize(
    ("text", "program", "found"),
    [
        ("```sh\nmake demo ONCE=1  # stays up otherwise\n```\n", "make", {("demo", "ONCE=1")}),
        ("```console\n$ guard keys list | head\nNAME STATE\n```\n", "guard", {("keys", "list")}),
        ("```sh\nguard a \\\n  --b c > file\n```\n", "guard", {("a", "--b", "c")}),
        ("Run `guard doctor --production` first.", "guard", {("doctor", "--production")}),
        ("```sh\n/opt/guard/.venv/bin/guard serve\n```\n", "guard", {("serve",)}),
        ("```python\nguard = 1\n```\nand `guarded x`, `guard`", "guard", set()),
        ("like `guard keys …`", "guard", set()),
    ],
)
def test_commands_are_found_where_they_are_shown(text, program, found):
    assert commands(text, program) == found


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("[a](other.md)", []),
        ("[a](other.md#two-words)", []),
        ("[a](#here)\n# Here\n", []),
        ("[a](https://example.org/x)", []),
        ("[a](gone.md)", ["gone.md"]),
        ("[a](other.md#three)", ["other.md#three"]),
        ("![a](gone.png)", ["gone.png"]),
        ("```\n[a](gone.md)\n```\n", []),
    ],
)
def test_broken_links_are_found(tmp_path, text, broken):
    (tmp_path / "other.md").write_text("# Two, words!\n", encoding="utf-8")
    assert broken_links(tmp_path / "page.md", text) == broken
