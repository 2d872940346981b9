"""The files that the documentation names exist."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
PATH = re.compile(r"`((?:ipam|tests|examples|benchmarks|scripts)/[\w/.-]+)`")
# A full path, or the name of a file in the folder of the last full path.
PATH_OR_NAME = re.compile(r"`((?:ipam|tests)/[\w/]+\.py|\w+\.py)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_paths_on_a_page_of_documentation_exist(page: Path):
    missing = [path for path in PATH.findall(page.read_text()) if not (ROOT / path).exists()]
    assert not missing


def test_the_files_that_the_flow_of_a_request_names_exist():
    folder, missing = ROOT, []
    for path in PATH_OR_NAME.findall((ROOT / "docs/flow.md").read_text()):
        file = ROOT / path if "/" in path else folder / path
        folder = file.parent
        if not file.exists():
            missing.append(path)
    assert not missing


def names_of_code() -> set[str]:
    """Return names of classes and functions that are no English words: `such_as_this` or `SuchAsThis`."""
    trees = (ast.parse(file.read_text()) for file in ROOT.glob("ipam/**/*.py"))
    defined = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    names = {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, defined)}
    return {name for name in names if re.fullmatch(r"[a-z]+(_[a-z]+)+|[A-Z][a-z]+([A-Z][a-z]+)+", name)}


def sentences(file: Path) -> Iterator[str]:
    """What *file* says to people, without what it marks as code."""
    text = file.read_text()
    if file.suffix == ".md":
        yield re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT) and " " in token.string:
            plain = re.sub(r"`[^`]*`|\{[^{}]*\}|\*\w+\*|noqa: .*", "", token.string)
            yield re.sub(
                r"^ *\w+: ", "", plain, flags=re.MULTILINE
            )  # The names of arguments, attributes and errors.


def test_sentences_mark_names_of_the_code_as_such():
    names = re.compile(rf"(?<![\w./])({'|'.join(sorted(names_of_code()))})(?![\w(=])")
    found = {
        (str(file.relative_to(ROOT)), name)
        for file in [*PAGES, *ROOT.glob("ipam/**/*.py")]
        for sentence in sentences(file)
        for name in names.findall(sentence)
    }
    assert not found
