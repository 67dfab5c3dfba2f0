"""Hold the built site against the code: every verb, flag and public name has its entry, and every link leads somewhere.

``python -m tools.check_site docs/_build/html`` follows Sphinx in ``make docs``, where warnings are errors.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

import onnx_gapmil
from onnx_gapmil.cli import group


@dataclass
class Page(HTMLParser):
    """The links, pictures and anchors of a page."""

    links: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what an element refers to, and what it is called."""
        found = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := found.get(key))}
        target = found.get("href") if tag == "a" else found.get("src") if tag in ("img", "script") else None
        if target:
            self.links.append(target)


def read_pages(site: Path) -> dict[Path, Page]:
    """Every page of the site."""
    found = {}
    for path in sorted(site.rglob("*.html")):
        found[path.resolve()] = page = Page()
        page.feed(path.read_text("utf-8"))
    return found


def broken_links(site: Path) -> Iterator[str]:
    """Links to files and anchors of the site that are not there; other hosts are not asked."""
    pages = read_pages(site)
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file():
                yield f"{path.relative_to(site.resolve())}: {link} leads nowhere"
            elif anchor and target in pages and anchor not in pages[target].anchors:
                yield f"{path.relative_to(site.resolve())}: {link}: there is no such anchor"


def missing_entries(site: Path) -> Iterator[str]:
    """Verbs, flags and public names that the reference lacks."""
    pages = read_pages(site)
    commands = pages[(site / "reference" / "cli.html").resolve()].anchors
    context = click.Context(group, info_name="onnx-gapmil")
    for verb in group.list_commands(context):
        command = group.get_command(context, verb)
        if command is None or f"onnx-gapmil-{verb}" not in commands:
            yield f"reference/cli: no section on '{verb}'"
            continue
        for option in command.params:
            if not isinstance(option, click.Option) or option.hidden:
                continue
            flag = max(option.opts, key=len)
            if f"cmdoption-onnx-gapmil-{verb}-{flag.lstrip('-')}" not in commands:
                yield f"reference/cli: no entry of '{verb} {flag}'"
    names = pages[(site / "reference" / "library.html").resolve()].anchors
    for name in onnx_gapmil.__all__:
        if not name.startswith("__") and f"onnx_gapmil.{name}" not in names:
            yield f"reference/library: no entry of '{name}'"


def missing_outputs(site: Path) -> Iterator[str]:
    """The notebook, run anew for the site, shows a prediction as a notebook does."""
    text = (site / "notebook.html").read_text("utf-8")
    if '<image href="data:image/' not in text:
        yield "notebook: the prediction does not show itself"


def main(site: Path) -> int:
    """Print what is wrong; 1 if anything is."""
    found = [*missing_entries(site), *missing_outputs(site), *broken_links(site)]
    print("\n".join(found) or f"{len(read_pages(site))} pages: every verb, flag, name and link is there.")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
