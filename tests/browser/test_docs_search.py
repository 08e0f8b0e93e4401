"""The search of the built documentation finds the page for a task, among the first two results.

`nox -s docs` builds the site and names its folder in TREALTIME_SITE.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote_plus

import pytest

SITE = os.environ.get("TREALTIME_SITE")
WANTED = {
    "push to talk": {"tasks/push-to-talk"},
    "change the voice": {"tasks/change-voice"},
    "save a recording": {"tasks/save-a-recording"},
    "filler while a tool runs": {"tasks/filler-speech"},
    "end the call": {"tasks/end-the-call"},
    "transfer a call": {"tasks/transfer-a-call"},
    "azure": {"tasks/azure"},
    "limit cost": {"tasks/limit-cost"},
    "logging": {"tasks/log-events", "reference/logging"},
    "100 calls": {"tasks/many-calls"},
    "deploy": {"tasks/deploy"},
    "test yaml": {"tasks/test-in-yaml", "reference/evals"},
    "approve by voice": {"tasks/approve-by-voice"},
    "several languages": {"tasks/languages"},
    "dtmf": {"tasks/dtmf-menu"},
    "replay": {"tasks/record-and-replay", "reference/recording"},
    "silence": {"tasks/silence"},
    "interrupt": {"understand/interrupts"},
    "reconnect": {"tasks/reconnect", "reference/reconnecting"},
    "latency": {"tasks/measure-latency", "reference/metrics"},
    "timeline": {"tasks/draw-a-call", "reference/timeline"},
    "tracing": {"tasks/trace", "reference/tracing"},
}
"""What people type, and the pages that answer it."""

pytestmark = pytest.mark.skipif(SITE is None, reason="TREALTIME_SITE does not say where the built site is")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def site() -> Iterator[str]:
    assert SITE is not None
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=SITE)) as server:
        thread = threading.Thread(target=server.serve_forever, name="site", daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


FOUND = "[...document.querySelectorAll('#search-results ul.search > li > a')].map(each => each.getAttribute('href'))"
DONE = "/finished|did not match/.test(document.querySelector('#search-results')?.innerText ?? '')"


async def test_the_first_two_results_have_the_page_of_each_task(site: str, browse: Any) -> None:
    missed = {}
    async with browse(f"{site}/search.html") as tab:
        for words, pages in WANTED.items():
            await tab.call("Page.navigate", url=f"{site}/search.html?q={quote_plus(words)}")
            await tab.until(f"location.search.includes({quote_plus(words)!r}) && {DONE}")
            found = [str(link).partition(".html")[0] for link in await tab.run(FOUND)]
            if not pages & set(found[:2]):
                missed[words] = found[:5]
    assert not missed, "\n".join(f"{words}: {found}" for words, found in missed.items())
