"""The files that the documentation names exist."""

import re
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
