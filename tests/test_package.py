"""What is published: built as for a release, installed alone, and used from outside."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from email import message_from_bytes
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import pottery

pytest.importorskip("build", reason="an older environment, without what builds packages")
pytest.importorskip("hatchling", reason="an older environment, without what builds packages")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
README_URL = "redis://localhost:6379/1"
# What is under version control and of use only there.
NOT_PUBLISHED = (".ci/", ".editorconfig", ".github/")
# A link of Markdown, and how one begins that leads somewhere from any page.
LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")
LEADS = ("#", "https:")
URLS = re.compile(r"^\[project\.urls\]\n(?:.+\n)*", re.MULTILINE)
# What leads programs to the repository, and to the server of these tests.
ELSEWHERE = ("PYTHON", "REDIS_URL")
# What needs an extra, or pytest.
NEEDS_MORE = {"pottery.otel", "pottery.testing.plugin"}

IMPORT_ALL = """
import pkgutil, sys, pottery
for found in pkgutil.walk_packages(pottery.__path__, "pottery."):
    try:
        __import__(found.name) if found.name != "pottery.__main__" else None
    except ImportError as error:
        print(found.name, error.name)
print(pottery.__file__, pottery.__version__)
"""


def run(*command, cwd, **environ):
    """Return what a program prints; the test fails with it if the program fails."""
    kept = {name: os.environ[name] for name in os.environ if not name.startswith(ELSEWHERE)}
    ended = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=kept | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def build(source, target, *options):
    command = (sys.executable, "-m", "build", "--no-isolation", "--outdir", target)
    run(*command, *options, source, cwd=target.parent)
    return target


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """An sdist, and a wheel built from that: those in the directory DIST, if it is set."""
    if "DIST" in os.environ:
        return ROOT / os.environ["DIST"]
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def sdist(dist):
    (path,) = dist.glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel(dist):
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def unpacked(sdist, tmp_path_factory):
    """The directory that is in the sdist."""
    target = tmp_path_factory.mktemp("unpacked")
    run(sys.executable, "-m", "tarfile", "-e", sdist, target, cwd=target)
    (directory,) = target.iterdir()
    return directory


@pytest.fixture(scope="module")
def metadata(wheel):
    return metadata_of(wheel)


def metadata_of(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def outside(wheel, metadata, tmp_path_factory):
    """A directory with a virtual environment of the wheel, and of nothing that it does not name.

    What the wheel depends on is copied from the environment of the tests, so that no network is
    needed.
    """
    home = tmp_path_factory.mktemp("outside")
    venv.create(home / "venv")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python(home))
    run(*pip, "install", "-q", "--no-index", "--no-deps", wheel, cwd=home)
    for name in needed(metadata.get_all("Requires-Dist")):
        lend(name, site_packages(home))
    run(*pip, "check", cwd=home)
    return home


def python(home):
    return home / "venv" / "bin" / "python"


def site_packages(home):
    (directory,) = home.glob("venv/lib/python*/site-packages")
    return directory


def needed(requirements):
    """Return the names of all that these need, and that those need."""
    names = set()
    for text in requirements or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            names |= {requirement.name, *needed(distribution(requirement.name).requires)}
    return names


def lend(name, target):
    for file in distribution(name).files:
        if ".." not in file.parts:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.locate(), target / file)


def names_in_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_wheel_has_the_package_and_nothing_else(wheel):
    sources = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("pottery/**/*.py")}

    assert names_in_wheel(wheel) == sources | {"pottery/py.typed"}


def test_metadata_say_what_is_so(metadata, wheel):
    with zipfile.ZipFile(wheel) as archive:
        licence = archive.read(f"pottery-{pottery.__version__}.dist-info/licenses/LICENSE")

    assert metadata["Version"] == pottery.__version__
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert licence == (ROOT / "LICENSE").read_bytes()


def readme_in(metadata):
    return metadata.get_payload(decode=True).decode()


def test_readme_that_is_published_differs_in_its_links_alone(metadata):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert LINK.sub(r"\1", readme_in(metadata)) == LINK.sub(r"\1", readme)
    assert [to for _, to in LINK.findall(readme_in(metadata)) if not to.startswith(LEADS)] == []


def test_readme_links_to_the_repository_once_its_address_is_known(unpacked, tmp_path):
    shutil.copytree(unpacked, source := tmp_path / "source")
    (source / "PKG-INFO").unlink()
    urls = '\n[project.urls]\nRepository = "https://example.org/pottery"\n'
    text = (source / "pyproject.toml").read_text(encoding="utf-8")
    (source / "pyproject.toml").write_text(URLS.sub("", text) + urls, encoding="utf-8")
    (wheel,) = build(source, tmp_path / "dist", "--wheel").glob("*.whl")
    files = f"https://example.org/pottery/blob/v{pottery.__version__}"

    links = [to for _, to in LINK.findall(readme_in(metadata_of(wheel)))]
    there = [to.removeprefix(f"{files}/") for to in links if to.startswith(files)]
    assert "docs/tutorial.md" in there
    assert [to for to in there if not (ROOT / to).is_file()] == []
    assert [to for to in links if not to.startswith(LEADS)] == []


def test_wheel_from_the_sdist_is_the_wheel_from_the_repository(wheel, tmp_path):
    (directly,) = build(ROOT, tmp_path / "dist", "--wheel").glob("*.whl")

    assert directly.name == wheel.name
    assert directly.read_bytes() == wheel.read_bytes()


def test_sdist_has_all_that_is_under_version_control(unpacked):
    if not (ROOT / ".git").exists():
        pytest.skip("no repository")
    known = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).split()
    published = {name for name in known if not name.startswith(NOT_PUBLISHED)}
    files = (path for path in unpacked.rglob("*") if path.is_file())

    assert {path.relative_to(unpacked).as_posix() for path in files} == published | {"PKG-INFO"}


def test_tests_in_the_sdist_can_be_run(unpacked):
    pytest_ = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    said = run(*pytest_, "tests/test_set.py", "tests/test_layers.py", cwd=unpacked)

    assert " passed" in said
    assert "failed" not in said


def test_all_modules_can_be_imported_from_the_wheel(outside):
    *failed, last = run(python(outside), "-W", "error", "-c", IMPORT_ALL, cwd=outside).splitlines()

    assert {line.split()[0] for line in failed} == NEEDS_MORE
    assert last.split() == [
        str(site_packages(outside) / "pottery/__init__.py"),
        pottery.__version__,
    ]


def test_examples_of_the_readme_do_what_it_says_by_the_wheel(outside, redis, server):
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace(README_URL, server.url)
    (outside / "README.md").write_text(text, encoding="utf-8")

    assert run(python(outside), "-W", "ignore", "-m", "doctest", "README.md", cwd=outside) == ""


def test_command_of_the_wheel_runs(outside, redis, server):
    command = outside / "venv" / "bin" / "pottery"
    pottery.RedisList([1, 2, 3], redis=redis, key="numbers")

    assert run(command, "--help", cwd=outside).startswith("usage: pottery ")
    assert run(command, "--version", cwd=outside) == f"pottery {pottery.__version__}\n"
    assert "numbers" in run(command, "ls", cwd=outside, REDIS_URL=server.url)


@pytest.fixture(scope="module")
def typed(outside):
    """The same place, with the files of tests/typing in it."""
    shutil.copytree(ROOT / "tests" / "typing", outside / "typed")
    strictly = '{"typeCheckingMode": "strict", "include": ["typed"]}'
    (outside / "pyrightconfig.json").write_text(strictly)
    return outside


def test_mypy_finds_the_types_of_the_wheel(typed):
    options = ("--strict", "--python-executable", python(typed), "--cache-dir", typed / "mypy")
    said = run(sys.executable, "-m", "mypy", *options, "typed/api.py", "typed/server.py", cwd=typed)

    assert said.startswith("Success")


def test_pyright_finds_the_types_of_the_wheel(typed):
    said = run(sys.executable, "-m", "pyright", "--pythonpath", python(typed), cwd=typed)

    assert "0 errors, 0 warnings" in said
