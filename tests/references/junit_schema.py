"""What a JUnit file may hold, by the schema that Jenkins publishes: junit-10.xsd of jenkinsci/xunit-plugin.

Written anew as a table, the parts that any reader knows: elements with the attributes that they must and may have, and
what may stand in them.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

TIME = re.compile(r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]*)?")
MESSAGE = ((), ("type", "message"), ())
ELEMENTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "testsuites": ((), ("name", "time", "tests", "failures", "errors"), ("testsuite",)),
    "testsuite": (
        ("name", "tests", "failures", "errors"),
        ("group", "time", "skipped", "timestamp", "hostname", "id", "package", "file", "log", "url"),
        ("testsuite", "properties", "testcase", "system-out", "system-err"),
    ),
    "testcase": (
        ("name",),
        ("time", "classname", "group"),
        ("skipped", "error", "failure", "system-out", "system-err"),
    ),
    "failure": MESSAGE,
    "error": MESSAGE,
    "skipped": MESSAGE,
    "system-out": ((), (), ()),
    "system-err": ((), (), ()),
}


def problems(data: bytes) -> list[str]:
    """Where a file breaks the schema; empty if it does not."""
    root = ElementTree.fromstring(data)  # noqa: S314 - we wrote it
    found = [] if root.tag in ("testsuites", "testsuite") else [f"the root is {root.tag}"]
    for element in root.iter():
        if element.tag not in ELEMENTS:
            found.append(f"<{element.tag}> is not known")
            continue
        needed, allowed, children = ELEMENTS[element.tag]
        found += [f"<{element.tag}> lacks {name}" for name in needed if name not in element.attrib]
        found += [f"<{element.tag}> has {name}" for name in element.attrib if name not in (*needed, *allowed)]
        found += [f"<{child.tag}> stands in <{element.tag}>" for child in element if child.tag not in children]
        time = element.get("time")
        if time is not None and not TIME.fullmatch(time):
            found.append(f"<{element.tag}> took {time!r}")
    return found
