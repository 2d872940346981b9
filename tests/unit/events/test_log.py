"""The log of `ipam up`."""

from contextlib import closing

from ipam.embedded import up


def test_the_log_of_a_long_life_takes_bounded_space(tmp_path, monkeypatch):
    monkeypatch.setattr(up, "_LOG_MAX_BYTES", 1000)
    with closing(up.open_log(tmp_path)) as log:
        for number in range(1000):
            log.write("web", f"line {number} with 100 % of everything")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 1 + up._LOGS_KEPT  # noqa: SLF001
    assert all(path.stat().st_size <= 1000 for path in files)
    assert (tmp_path / "ipam.log").read_text().splitlines()[-1] == "web      | line 999 with 100 % of everything"
