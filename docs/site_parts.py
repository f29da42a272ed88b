"""Parts of the site beside Sphinx and its extensions: formulas, copies of files, loops, pictures of examples."""

import ast
import inspect
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.inspect import stringify_signature
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import ExtensionMetadata

import convnet

DOCS = Path(__file__).parent
ROOT = DOCS.parent
logger = logging.getLogger(__name__)

# ---- Formulas, as MathML: a browser shows them by itself, without a script and without a network.


def _mathml(node: nodes.Element, formula: str, as_block: bool) -> str:
    formula = re.sub(r"\\dots\b", r"\\ldots", formula)  # which the converter does not know
    if as_block and r"\\" in formula and r"\begin" not in formula:
        formula = rf"\begin{{aligned}}{formula}\end{{aligned}}"
    try:
        return str(tex2mathml(formula, as_block=as_block))
    except MathError as error:
        logger.warning("formula %r: %s", formula, error, location=node)
        return ""


def visit_math(translator: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    translator.body.append(_mathml(node, node.astext(), as_block=False))
    raise nodes.SkipNode


def visit_displaymath(translator: Any, node: nodes.math_block) -> None:
    """Write formulas on lines of their own; blank lines part them."""
    formulas = [_mathml(node, formula, as_block=True) for formula in node.astext().split("\n\n") if formula.strip()]
    number = f'<span class="eqno">({node["number"]})</span>' if node["number"] else ""
    ids = "".join(f' id="{name}"' for name in node["ids"][:1])
    translator.body.append(f'<div class="math-block"{ids}>{number}{"".join(formulas)}</div>\n')
    raise nodes.SkipNode


# ---- Files of the repository. Where a page names one, it links to a page with a copy.

COPIES = DOCS / "repository"
LANGUAGES = {".py": "python", ".pyi": "python", ".pyx": "cython", ".pxi": "cython", ".h": "c", ".c": "c"}
LANGUAGES |= {".js": "javascript", ".css": "css", ".html": "html", ".toml": "toml", ".sh": "bash"}
MARKDOWN_LINK = re.compile(r"\]\(((?:\.\./|chapters/)[^)#\s]*)")


def repository_file(name: str) -> str | None:
    """Return the path, from the root, of the file that a text names, such as ``naive.py``; None if it names none."""
    path = Path(name)
    if path.suffix not in LANGUAGES or path.is_absolute() or ".." in path.parts:
        return None
    return next((str(base / path) for base in (Path(), Path("convnet")) if (ROOT / base / path).is_file()), None)


@cache
def documents() -> dict[str, str]:
    """Return the documents that show files and folders in another way than by a copy, by the path from the root."""
    shown = {"CHANGELOG.md": "changelog"}
    for folder, gallery in (("examples", "examples_gallery"), ("docs/chapters", "chapters_gallery")):
        shown |= {folder: f"{gallery}/index", f"{folder}/GALLERY_HEADER.rst": f"{gallery}/index"}
        programs = [file.stem for file in (ROOT / folder).glob("*.py") if file.name != "drawing.py"]
        shown |= {f"{folder}/{program}.py": f"{gallery}/{program}" for program in programs}
    return shown


def document_of(path: str) -> str:
    """Return the document that shows a file or a folder."""
    return documents().get(path, f"repository/{path}")


def from_root(target: str) -> str:
    """Return the path, from the root, of what a Markdown page links to."""
    return (DOCS / target).resolve().relative_to(ROOT).as_posix()


def write_copies(app: Sphinx) -> None:
    """Write a page for every file that the documentation names, and for the files of the folders that it links to."""
    sources = [*DOCS.glob("*.md"), *(DOCS / "chapters").glob("[0-9G]*"), *(ROOT / "examples").glob("*.py")]
    texts = [source.read_text("utf-8") for source in sources]
    paths = {from_root(target) for text in texts for target in MARKDOWN_LINK.findall(text)} - documents().keys()
    folders = [path for path in paths if (ROOT / path).is_dir()]
    paths |= {f"{folder}/{name}" for folder in folders for name in _readable(folder)}
    paths |= {path for text in texts for name in re.findall(r"`([\w./-]+)`", text) if (path := repository_file(name))}
    wanted = {COPIES / f"{path}.rst": _copy(path) for path in paths - documents().keys()}
    for stale in set(COPIES.rglob("*.rst")) - wanted.keys():
        stale.unlink()
    for page, text in wanted.items():
        if not page.exists() or page.read_text("utf-8") != text:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text, "utf-8")


def _copy(path: str) -> str:
    head = f":orphan:\n:nosearch:\n\n{path}\n{'=' * len(path)}\n\n"
    if (ROOT / path).is_file():
        return f"{head}.. literalinclude:: /../{path}\n   :language: {LANGUAGES[Path(path).suffix]}\n"
    return head + "".join(f"- :doc:`{name} </{document_of(f'{path}/{name}')}>`\n" for name in _readable(path))


def _readable(folder: str) -> list[str]:
    """Return the names of the files of a folder that can be shown."""
    return sorted(file.name for file in (ROOT / folder).iterdir() if file.suffix in LANGUAGES)


def link_to_copies(app: Sphinx, docname: str, source: list[str]) -> None:
    """Let the links of a Markdown page that leave the documentation lead to the copies."""
    source[0] = MARKDOWN_LINK.sub(lambda match: f"](/{document_of(from_root(match[1]))}", source[0])


class LinkNames(SphinxPostTransform):
    """Make links of texts in code letters that name a public name of the library or a file of the repository.

    A name is linked where a section mentions it first.
    """

    default_priority = 9

    def run(self, **kwargs: Any) -> None:
        """Look at the literals of a page that are not in a link, a title or a signature already."""
        linked = set()
        for node in list(self.document.findall(nodes.literal)):
            parents = list(_parents(node))
            if any(isinstance(parent, nodes.reference | nodes.title | addnodes.desc_signature) for parent in parents):
                continue
            section = next(parent for parent in parents if isinstance(parent, nodes.section | nodes.document))
            page, place = self._page_of(node.astext())
            if page is not None and page != self.env.docname and (section, page, place) not in linked:
                linked.add((section, page, place))
                node.replace_self(make_refnode(self.app.builder, self.env.docname, page, place, node.deepcopy()))

    def _page_of(self, text: str) -> tuple[str | None, str]:
        """Return the page that tells of a name or shows a file, and the place in it."""
        if found := public_object(self.env, text.removesuffix("()")):
            return found
        path = repository_file(text)
        page = None if path is None else document_of(path)
        return (page, "") if page in self.env.found_docs else (None, "")


def public_object(env: BuildEnvironment, name: str) -> tuple[str, str] | None:
    """Return the page of a public name, given with or without ``convnet.``, and its place in the page."""
    objects = env.domains.python_domain.objects
    for full in (name, f"convnet.{name}", f"convnet.functional.{name}"):
        if full in objects and objects[full].objtype != "module":
            return objects[full].docname, objects[full].node_id
    return None


def link_or_leave(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, shown: nodes.Element) -> Any:
    """Link a name in `backquotes` that Sphinx has not found in its module; leave it if it is no public name."""
    if node.get("reftype") != "obj":
        return None
    found = public_object(env, node["reftarget"])
    return shown if found is None else make_refnode(app.builder, node["refdoc"], *found, shown)


def _parents(node: nodes.Node) -> Iterator[nodes.Node]:
    while (node := node.parent) is not None:
        yield node


# ---- The API, from the docstrings.


def escape(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep what is no markup: the asterisk of a shape (N, *input_shape), the initial with which a source begins."""
    lines[:] = [re.sub(r"(?<=\(N, )(?=\*)|(?<!\S)(?=[A-Z]\. )", r"\\", line) for line in lines]


def signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, arguments: str | None, result: str | None
) -> tuple[str | None, str | None]:
    """Show the arguments of a class as its constructor has them, not its metaclass; and defaults by their names."""
    if what == "class" and obj.__init__ is not object.__init__:
        found = inspect.signature(obj.__init__)
        _, *parameters = found.parameters.values()
        arguments = stringify_signature(found.replace(parameters=parameters), show_annotation=False)
    if arguments is not None:
        arguments = re.sub(r"<(?:class|function) '?([\w.]+)[^>]*>", r"\1", arguments)
    return arguments, "" if what == "class" else result


def public_bases(app: Sphinx, name: str, obj: type, options: Any, bases: list[type]) -> None:
    """Let a class name, of the classes that it derives from, the nearest one that has a page."""
    bases[:] = [base for base in obj.__mro__[1:] if base in public_classes()][:1]


def derived() -> set[str]:
    """Return the names of the classes that derive from another public one."""
    classes = public_classes()
    return {found.__name__ for found in classes if classes.intersection(found.__mro__[1:])}


def public_classes() -> set[type]:
    """Return the classes of the library that have a page."""
    return {found for name in convnet.__all__ if isinstance(found := getattr(convnet, name), type)}


# ---- Loops: what a page of the API shows of convnet/naive.py.


def loops() -> dict[str, list[str]]:
    """Return, for each public function of naive.py, its name and those of the helpers that it calls."""
    tree = ast.parse((ROOT / "convnet" / "naive.py").read_text("utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}

    def used(name: str) -> list[str]:
        names = [node.id for node in ast.walk(functions[name]) if isinstance(node, ast.Name) and node.id in functions]
        return list(dict.fromkeys([name, *(deeper for helper in names for deeper in used(helper))]))

    return {name: used(name) for name in functions if not name.startswith("_")}


# ---- Examples that run while the site is built: they save their figures into a folder.

RESULTS = ROOT / "examples" / "results"


def saved_figures(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any], **kwargs: Any) -> str:
    """Move the figures that an example has saved into its page."""
    from sphinx_gallery.scrapers import figure_rst

    paths = []
    for figure in sorted(RESULTS.glob("*.png")):
        paths.append(next(block_vars["image_path_iterator"]))
        shutil.move(figure, paths[-1])
    return str(figure_rst(paths, gallery_conf["src_dir"]))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the parts."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    app.connect("builder-inited", write_copies)
    app.connect("source-read", link_to_copies)
    app.connect("autodoc-process-docstring", escape)
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-process-bases", public_bases)
    app.connect("missing-reference", link_or_leave)
    app.add_post_transform(LinkNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
