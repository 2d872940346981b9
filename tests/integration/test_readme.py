"""The README's session, typed as it stands, prints what the README says."""

import re
import subprocess
from pathlib import Path

from ipam.api.http.problems import PROBLEMS
from tests.support.stack import Stack

ROOT = Path(__file__).parents[2]


def steps() -> list[tuple[str, str]]:
    """Each command of the session with the output that is shown for it."""
    block = re.search(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(part.partition("\n")[0], part.partition("\n")[2].strip()) for part in parts]


def without_what_varies(text: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", re.sub(r"\b[0-9a-f]{24}\b", "ID", text))


def test_the_session_of_the_readme_works_as_it_stands(redis_stack: Stack):
    script = "".join(f"{command}\necho @@\n" for command, _ in steps())
    script = script.replace("http://127.0.0.1:8000", redis_stack.api.url)
    ran = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, timeout=90, check=False)
    assert ran.returncode == 0, ran.stderr
    printed = [part.strip() for part in ran.stdout.split("@@\n")[:-1]]
    assert [without_what_varies(text) for text in printed] == [without_what_varies(shown) for _, shown in steps()]


def test_every_problem_has_its_paragraph():
    headings = set(re.findall(r"^## `([a-z-]+)`", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE))
    assert headings == set(PROBLEMS)
