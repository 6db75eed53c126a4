import os
import shutil
from pathlib import Path

import pytest

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium_path() -> str:
    """Skips where there is no Chromium; under CI that is a failure."""
    named = os.environ.get("BYAV_CHROMIUM")
    found = named or shutil.which("chromium") or shutil.which("chromium-browser")
    if found and Path(found).exists():
        return found
    reason = f"no Chromium at {named or '/usr/bin/chromium'}; set BYAV_CHROMIUM or install it"
    return pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture(scope="module")
def chromium(server):
    """A browser that starts only after the server answers. It ends with its module: while playwright is at work, no
    other test could run an event loop of its own."""
    path = chromium_path()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def comfyui_page(chromium, server, artifacts):
    """ComfyUI's page with our nodes in its menu; nothing but this machine can be reached from it."""
    context = chromium.new_context(viewport={"width": 1900, "height": 1000})
    context.route("**/*", lambda route: route.continue_() if _is_local(route.request.url) else route.abort())
    page = context.new_page()
    page.goto(server.address, wait_until="domcontentloaded")
    page.wait_for_function(
        "() => !!(window.app?.extensionManager && window.LiteGraph?.registered_node_types?.BYAV_Sampler)", timeout=60000
    )
    yield page
    page.screenshot(path=artifacts / "page_at_the_end.png")
    context.close()


def _is_local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:"))


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
