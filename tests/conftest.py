"""Fixtures for all black-box tests, and what scripts/test is told of them.

tests/README.md says how to run one test, and which variables make them longer.
"""

import os
import re

import pytest

from harness import FULL, ROOT
from harness.servers import Missing, Servers
from harness.service import Service, starter
from harness.twins import Missing as NoTwins

#: Folders whose tests share real servers, and so run one after the other in one process; those that take longest first.
GROUPS = {"faults": "faults", "wire": "wire", "mixed": "mixed", "traces": "mixed", "examples": "mixed"}
LONG = "long: scripts/test full runs it"


def pytest_collection_modifyitems(items):
    for item in items:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        item.add_marker(pytest.mark.xdist_group(GROUPS.get(folder, item.path.stem)))
        if item.get_closest_marker("full") and not FULL:
            item.add_marker(pytest.mark.skip(reason=LONG))
    order = list(GROUPS)
    items.sort(key=lambda item: order.index(name) if (name := item.path.parent.name) in order else len(order))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for service in Service.running:
            report.sections.append((f"log of {service.log.stem}", service.said(0)[-3000:]))
    return report


def pytest_terminal_summary(terminalreporter):
    """Adds to $MICROPY_RESULTS as scripts/test reads it."""
    if hasattr(terminalreporter.config, "workerinput"):
        return  # the process that has started this one tells of all

    def named(report):
        return re.sub(r"@\w+$", "", report.nodeid).removeprefix("tests/")

    stats = terminalreporter.stats
    lines = [f"passed {len(stats.get('passed', []))}"]
    lines += dict.fromkeys(f"failed {named(report)}" for kind in ("failed", "error") for report in stats.get(kind, []))
    longer, told = [], {}
    for report in stats.get("skipped", []):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        why = why.removeprefix("Skipped: ")
        if why == LONG:
            longer.append(named(report).rpartition("::")[2].replace("_", " "))
        else:
            told.setdefault(why, []).append(named(report))
    lines += [f"skipped {', '.join(names)}: {why}" for why, names in told.items()]
    lines += [f"not-run {name}" for name in longer]
    with open(os.environ.get("MICROPY_RESULTS", os.devnull), "a") as file:
        file.writelines(f"{line}\n" for line in lines)


@pytest.fixture(scope="session")
def servers():
    """The real servers, of this process alone."""
    started = Servers()
    yield started
    started.close()


@pytest.fixture(scope="session")
def all_servers(servers):
    """All four; the test is skipped where one is not installed."""
    try:
        return servers.start()
    except (Missing, NoTwins) as e:
        pytest.skip(str(e))


@pytest.fixture
def start(tmp_path):
    yield from starter(tmp_path)


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    """A service in one process with its default settings, shared by all tests that need no other."""
    for start in starter(tmp_path_factory.mktemp("shared")):
        yield start("serve")


@pytest.fixture
def ann(service, request):
    return service.user(address("ann", request))


@pytest.fixture
def bob(service, request):
    return service.user(address("bob", request))


def address(name, request):
    """An e-mail address of this test's own."""
    return f"{name}.{abs(hash(request.node.nodeid))}@example.com"
