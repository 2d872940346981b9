"""What docs/events.md shows of `examples/` is what is there, and is run by the tests."""

import pytest

from tests.support.example_consumers import EXAMPLES

DOCS = (EXAMPLES.parent / "docs/events.md").read_text()


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_the_docs_show_an_example_as_it_is(example):
    assert f"```python\n{example.read_text()}```" in DOCS
