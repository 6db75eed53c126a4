"""The real page in a real browser: a workflow is opened, its router changed by hand, run, and its result seen."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))


def open_workflow(page, name: str) -> None:
    """Through the page's own file input, as Ctrl+O does."""
    drawn = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    page.set_input_files("#comfy-file-input", ROOT / "workflows" / f"{name}.json")
    page.wait_for_function("n => window.app.graph._nodes.length === n", arg=len(drawn["nodes"]), timeout=20000)
    page.wait_for_timeout(500)


def show_all(page) -> None:
    page.keyboard.press(".")  # the page's own "fit view"
    page.wait_for_timeout(1000)


def look_at(page, title: str) -> None:
    """Moves the canvas so that a node is in the middle at its full size."""
    page.evaluate(
        """title => {
            const canvas = window.app.canvas, node = window.app.graph._nodes.find(n => n.title === title);
            const view = canvas.canvas.getBoundingClientRect();
            canvas.ds.scale = 1;
            canvas.ds.offset = [0, 1].map(axis =>
                (axis ? view.height : view.width) / 2 - node.pos[axis] - node.size[axis] / 2);
            canvas.setDirty(true, true);
        }""",
        title,
    )
    page.wait_for_timeout(500)


def choose(page, title: str, widget: str, entry: str) -> None:
    """Clicks a combo on the canvas and picks an entry of the menu that opens."""
    look_at(page, title)
    x, y = page.evaluate(
        """([title, name]) => {
            const canvas = window.app.canvas, node = window.app.graph._nodes.find(n => n.title === title);
            const widget = node.widgets.find(w => w.name === name), view = canvas.canvas.getBoundingClientRect();
            const at = [node.pos[0] + node.size[0] / 2, node.pos[1] + widget.last_y + 10];
            return [0, 1].map(i => [view.x, view.y][i] + (at[i] + canvas.ds.offset[i]) * canvas.ds.scale);
        }""",
        [title, widget],
    )
    page.mouse.click(x, y)
    page.locator(".litemenu-entry", has_text=entry).click()
    page.wait_for_timeout(300)


def widget_value(page, title: str, widget: str):
    return page.evaluate(
        "([t, w]) => window.app.graph._nodes.find(n => n.title === t).widgets.find(o => o.name === w).value",
        [title, widget],
    )


def press_run(page, seconds: int = 180) -> list:
    """Presses the Run button; returns what the server told the page, up to the end of the run."""
    page.evaluate(
        """() => {
            window.byavTold = [];
            for (const kind of ['executing', 'executed', 'execution_success', 'execution_error', 'b_preview'])
                window.app.api.addEventListener(kind, e => window.byavTold.push([kind, e.detail?.node ?? e.detail]));
        }"""
    )
    page.locator('[data-testid="queue-button"]').first.click()
    ended = "() => window.byavTold.some(([kind]) => ['execution_success', 'execution_error'].includes(kind))"
    page.wait_for_function(ended, timeout=seconds * 1000)
    return page.evaluate("() => window.byavTold.map(([kind, what]) => [kind, String(what)])")


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_opens_with_every_node_known_and_none_in_red(name, comfyui_page, artifacts):
    open_workflow(comfyui_page, name)
    show_all(comfyui_page)
    comfyui_page.screenshot(path=artifacts / f"{name}.png")
    unknown = comfyui_page.evaluate(
        "() => window.app.graph._nodes.filter(n => n.has_errors || !LiteGraph.registered_node_types[n.type]).length"
    )
    assert unknown == 0
    assert comfyui_page.locator(".comfy-missing-nodes").count() == 0
    assert comfyui_page.locator(".p-dialog").count() == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_page_sends_what_the_twin_says(name, comfyui_page):
    open_workflow(comfyui_page, name)
    sent = comfyui_page.evaluate("async () => (await window.app.graphToPrompt()).output")
    twin = json.loads((ROOT / "tests" / "workflows_api" / f"{name}.json").read_text(encoding="utf-8"))
    for number, node in twin.items():  # the page adds buttons and players of its own
        assert sent[number]["class_type"] == node["class_type"]
        assert {key: sent[number]["inputs"].get(key) for key in node["inputs"]} == node["inputs"]
    assert sent.keys() == twin.keys()


def test_a_router_is_chosen_in_the_menu_and_the_run_shows_its_video(comfyui_page, artifacts):
    page = comfyui_page
    open_workflow(page, "two_speakers_first_frame")
    choose(page, "Router", "router", "pre")
    assert widget_value(page, "Router", "router") == "pre"
    told = press_run(page)
    assert ["execution_success", "[object Object]"] in told, told[-5:]
    assert any(kind == "b_preview" for kind, _ in told)
    for title in ("Character Anna", "Who says what", "Sampler", "Report", "Video with sound", "Who was where"):
        look_at(page, title)
        page.screenshot(path=artifacts / f"run_{title.replace(' ', '_').lower()}.png")
    look_at(page, "Video with sound")
    page.wait_for_function("() => [...document.querySelectorAll('video')].some(v => v.videoWidth > 0)", timeout=20000)
    show_all(page)
    page.screenshot(path=artifacts / "run_all.png")


def test_a_bad_value_is_shown_as_a_sentence(comfyui_page, artifacts):
    page = comfyui_page
    open_workflow(page, "two_speakers")
    page.evaluate(
        """() => {
            const scene = window.app.graph._nodes.find(n => n.title === 'Scene');
            scene.widgets.find(w => w.name === 'frames').value = 18;
        }"""
    )
    page.locator('[data-testid="queue-button"]').first.click()
    page.get_by_text("use 17", exact=False).first.wait_for(timeout=15000)
    page.screenshot(path=artifacts / "bad_value.png")
