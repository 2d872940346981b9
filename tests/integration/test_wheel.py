"""What people install: the wheel, in an environment where there is nothing else of ours."""

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")


def run(*command: str | Path) -> str:
    """What a command prints, in a folder where there is no ipam."""
    ended = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_wheel_is_all_there_is_to_install(tmp_path: Path):
    source, wheels, there = tmp_path / "source", tmp_path / "wheels", tmp_path / "there"
    shutil.copytree(ROOT / "ipam", source / "ipam", ignore=shutil.ignore_patterns("__pycache__"))
    for name in SOURCES:
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--wheel-dir", wheels, source)
    (wheel,) = wheels.iterdir()
    venv.create(there)
    run(*pip, "--python", there / "bin" / "python", "install", "--no-deps", "--no-index", wheel)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(there), "platbase": str(there)}))
    # Other people's packages come from where the tests have them; a folder that is named so lends no editable ones.
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    assert run(there / "bin" / "python", "-c", "import ipam; print(ipam.__file__)").startswith(str(packages))
    assert (packages / "ipam" / "py.typed").exists()
    pages = packages / "ipam" / "api" / "pages"
    assert (pages / "errors.md").read_text() == (ROOT / "docs" / "errors.md").read_text()
    assert (pages / "swagger-ui" / "LICENSE").exists()
    version = run(there / "bin" / "ipam", "--version").split()[-1]
    assert wheel.name.startswith(f"ipam-{version}-")
    assert "--mongo" in run(there / "bin" / "ipam", "serve", "--help")


def test_docs_never_install_the_package_ipam_of_the_index():
    """The name belongs to another project on the package index."""
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        assert not re.search(r"pip install\s+(-\S+\s+)*['\"]?ipam\b", page.read_text()), page
