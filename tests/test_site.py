"""The documentation as a site: every public name is in it, it builds without a warning, its links lead somewhere."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

DOCS = Path(__file__).parent.parent / "docs"
MODULES = [
    "convnet",
    "convnet.functional",
    "convnet.webpage",
    "convnet.distributed",
    "convnet.estimator",
    "convnet.onnx",
]


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_in_the_api_once(module):
    listed = []
    for page in (DOCS / "api").glob("*.rst"):
        text = page.read_text("utf-8")
        if f".. currentmodule:: {module}\n" in text:
            for table in re.findall(r"^\.\. autosummary::\n(?:   :.*\n)*\n((?:   .*\n)+)", text, re.M):
                listed += table.split()
    public = set(import_module(module).__all__)
    if module == "convnet":
        public -= {"functional", "naive", "webpage"}  # modules, with a page each
        assert {path.stem for path in (DOCS / "api").glob("*.rst")} >= {"functional", "naive", "webpage"}
    assert sorted(listed) == sorted(public)


def test_every_page_of_the_api_is_in_its_index():
    index = (DOCS / "api" / "index.rst").read_text("utf-8").split(".. toctree::")[1]
    pages = {path.stem for path in (DOCS / "api").glob("*.rst")}
    assert {*re.findall(r"^   (\w+)$", index, re.M), "index"} == pages


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("sphinx_gallery")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-P", "-m", "sphinx", "-W", "--keep-going", DOCS, folder]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return folder


class Page(HTMLParser):
    """The places of a page that links can lead to, and what it links to and shows."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.targets = set(), []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("id", "name"):
                self.ids.add(value)
            elif name in ("href", "src") or (name == "srcset" and value):
                self.targets += [part.split()[0] for part in value.split(",")] if name == "srcset" else [value]


@pytest.mark.slow
def test_every_link_of_the_site_leads_somewhere(site):
    pages = {path: Page(path) for path in site.rglob("*.html")}
    assert len(pages) > 200
    lost = []
    for path, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or target.startswith(("//", "data:")):
                assert parts.scheme in ("https", "data"), f"{path.relative_to(site)}: {target}"
                continue
            found = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            # Back from a module's source to a name's page, Sphinx guesses the place; the page has that name alone.
            has_place = not parts.fragment or path.is_relative_to(site / "_modules") or found not in pages
            if not found.is_file() or not (has_place or parts.fragment in pages[found].ids):
                lost.append(f"{path.relative_to(site)}: {target}")
    assert not lost, "\n".join(lost)


@pytest.mark.slow
def test_the_site_takes_nothing_from_elsewhere(site):
    """It reads without a network: no script, style or picture comes from another server."""
    for path in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=\"(https?:)?//", path.read_text("utf-8"))
        assert not loaded, path.relative_to(site)


@pytest.mark.slow
def test_functions_with_loops_show_them(site):
    import convnet

    for module in (convnet, convnet.functional):
        for name in set(convnet.naive.__all__) & set(module.__all__):
            text = (site / "api" / "generated" / f"{module.__name__}.{name}.html").read_text("utf-8")
            assert f'<span class="nf">{name}</span>' in text, name
