"""One graph, two files: how ComfyUI's page saves it and how /prompt takes it, laid out from left to right.

A graph is written down once, as stages from left to right, each a pile of titled boxes, each box a grid of nodes.
Which sockets and widgets a node has comes from `tests/node_schemas.json`, taken from a running ComfyUI.
"""

import json
import urllib.request
import uuid
from dataclasses import dataclass, field

CORE_NODES = (
    "CreateVideo",
    "ImageStitch",
    "LoadAudio",
    "LoadImage",
    "LoadImageMask",
    "MaskPreview",
    "PreviewAny",
    "PreviewImage",
    "PrimitiveInt",
    "SaveVideo",
)
CORE = {"cnr_id": "comfy-core", "ver": "0.3.75"}
OURS = {"cnr_id": "bind-your-avatar", "ver": "0.1.0"}
GAP, TITLE, MARGIN = 40, 30, 16  # pixels between nodes, height of a node's title, from a box to its nodes
BIND, ROW = 70, 40  # pixels between stages and between boxes


def pin(info: dict) -> dict:
    """What a workflow file depends on of a node's /object_info: names, types and order.

    beside: values of the widgets that the page adds of itself behind one: dice of a seed; last, upload and player.
    """
    inputs, uploads = [], []
    for optional, kind in enumerate(("required", "optional")):
        for name, (given, *rest) in info["input"].get(kind, {}).items():
            options = rest[0] if rest else {}
            type_ = "COMBO" if isinstance(given, list) else given
            widget = type_ in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO") and not options.get("forceInput")
            one = {"name": name, "type": type_, "optional": bool(optional), "widget": widget}
            if widget:
                one["default"] = options.get("default")
                one["beside"] = ["fixed"] if _has_dice(name, type_, options) else []
                uploads += ["image"] * bool(options.get("image_upload"))
                uploads += [None, ""] * bool(options.get("audio_upload"))
            inputs.append(one)
    if uploads:
        [one for one in inputs if one["widget"]][-1]["beside"] += uploads
    names, types, lists = info["output_name"], info["output"], info["output_is_list"]
    outputs = [{"name": n, "type": t, "list": one} for n, t, one in zip(names, types, lists, strict=True)]
    return {"inputs": inputs, "outputs": outputs}


def _has_dice(name: str, type_: str, options: dict) -> bool:
    """Whether the page puts "control after generate" behind a widget."""
    return type_ == "INT" and bool(options.get("control_after_generate", name in ("seed", "noise_seed")))


def ask_for_schemas(address: str) -> dict:
    with urllib.request.urlopen(f"{address}/object_info", timeout=60) as reply:
        live = json.load(reply)
    return {name: pin(live[name]) for name in sorted(live) if name.startswith("BYAV_") or name in CORE_NODES}


@dataclass(frozen=True)
class Wire:
    """An output of a node, by name."""

    node: "Node"
    output: str


@dataclass(eq=False)
class Node:
    """A node of a graph. values: widgets by name, and `Wire`s for what is linked."""

    type: str
    title: str
    size: tuple[int, int]
    values: dict
    id: int = 0
    place: tuple[int, int] = (0, 0)

    def __getitem__(self, output: str) -> Wire:
        return Wire(self, output)


@dataclass
class Box:
    """A titled group around rows of nodes; None leaves a cell of the grid empty."""

    title: str
    rows: list[list[Node | None]]
    color: str = "#3f789e"
    frame: tuple[int, int, int, int] = (0, 0, 0, 0)

    def lay(self, left: int, top: int) -> tuple[int, int]:
        """Gives every node its place; returns right and bottom of the box."""
        columns = max(len(row) for row in self.rows)
        cells = [[*row, *[None] * (columns - len(row))] for row in self.rows]
        widths = [max((row[c].size[0] for row in cells if row[c]), default=0) for c in range(columns)]
        y = top + 2 * TITLE + MARGIN
        for row in cells:
            x = left + MARGIN
            for node, width in zip(row, widths, strict=True):
                if node:
                    node.place, node.size = (x, y), (width, node.size[1])
                x += width + GAP
            y += max(node.size[1] for node in row if node) + TITLE + GAP // 2
        right, bottom = left + sum(widths) + GAP * (columns - 1) + 2 * MARGIN, y - TITLE - GAP // 2 + MARGIN
        self.frame = (left, top, right - left, bottom - top)
        return right, bottom


@dataclass
class Graph:
    """A workflow: stages from left to right, each a pile of boxes."""

    name: str
    stages: list[list[Box]] = field(default_factory=list)

    def lay(self) -> None:
        left = 0
        for stage in self.stages:
            top, rights = 0, []
            for box in stage:
                right, bottom = box.lay(left, top)
                rights.append(right)
                top = bottom + ROW
            left = max(rights) + BIND
        for number, node in enumerate(self.nodes, 1):
            node.id = number

    @property
    def boxes(self) -> list[Box]:
        return [box for stage in self.stages for box in stage]

    @property
    def nodes(self) -> list[Node]:
        return [node for box in self.boxes for row in box.rows for node in row if node]


def api(graph: Graph, schemas: dict) -> dict:
    """The graph as /prompt takes it: every widget written out."""
    drawn = {}
    for node in graph.nodes:
        if node.type not in schemas:
            continue
        inputs = {}
        for one in schemas[node.type]["inputs"]:
            value = node.values.get(one["name"], one.get("default"))
            if isinstance(value, Wire):
                names = [o["name"] for o in schemas[value.node.type]["outputs"]]
                inputs[one["name"]] = [str(value.node.id), names.index(value.output)]
            elif one["widget"]:
                inputs[one["name"]] = value
        drawn[str(node.id)] = {"class_type": node.type, "inputs": inputs, "_meta": {"title": node.title}}
    return drawn


def page(graph: Graph, schemas: dict) -> dict:
    """The graph as ComfyUI's page saves it, version 0.4."""
    wires = [
        (node, one["name"], node.values[one["name"]])
        for node in graph.nodes
        for one in schemas.get(node.type, {"inputs": []})["inputs"]
        if isinstance(node.values.get(one["name"]), Wire)
    ]
    nodes, links = [], []
    for node in graph.nodes:
        nodes.append(_page_node(node, len(nodes), wires, schemas))
    by_id = {n["id"]: n for n in nodes}
    for number, (node, name, wire) in enumerate(wires, 1):
        slots = [i["name"] for i in by_id[node.id]["inputs"]]
        out = [o["name"] for o in by_id[wire.node.id]["outputs"]].index(wire.output)
        kind = by_id[wire.node.id]["outputs"][out]["type"]
        links.append([number, wire.node.id, out, node.id, slots.index(name), kind])
    groups = [
        {"id": n, "title": b.title, "bounding": list(b.frame), "color": b.color, "font_size": 24, "flags": {}}
        for n, b in enumerate(graph.boxes, 1)
    ]
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"bind-your-avatar/workflows/{graph.name}")),
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": nodes,
        "links": links,
        "groups": groups,
        "config": {},
        "extra": {"ds": {"scale": 0.5, "offset": [120, 120]}},
        "version": 0.4,
    }


def _page_node(node: Node, order: int, wires: list, schemas: dict) -> dict:
    drawn = {
        "id": node.id,
        "type": node.type,
        "title": node.title,
        "pos": list(node.place),
        "size": list(node.size),
        "flags": {},
        "order": order,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": [],
    }
    if node.type not in schemas:  # a note
        return drawn | {"widgets_values": [node.values["text"]], "color": "#432", "bgcolor": "#653"}
    schema = schemas[node.type]
    links = {name: number for number, (to, name, _) in enumerate(wires, 1) if to is node}
    for one in sorted(schema["inputs"], key=lambda one: one["widget"]):  # as the page does: sockets, then widgets
        slot = {"name": one["name"], "type": one["type"], "link": links.get(one["name"])}
        if one["optional"]:
            slot["shape"] = 7
        if one["widget"]:
            slot["widget"] = {"name": one["name"]}
        drawn["inputs"].append(slot)
    for output in schema["outputs"]:
        numbers = [n for n, (*_, w) in enumerate(wires, 1) if w.node is node and w.output == output["name"]]
        slot = {"name": output["name"], "type": output["type"], "links": numbers or None}
        drawn["outputs"].append(slot | ({"shape": 6} if output["list"] else {}))
    for one in (one for one in schema["inputs"] if one["widget"]):
        value = node.values.get(one["name"], one["default"])
        drawn["widgets_values"] += [one["default"] if isinstance(value, Wire) else value, *one["beside"]]
    pack = OURS if node.type.startswith("BYAV_") else CORE
    return drawn | {"properties": {**pack, "Node name for S&R": node.type}}
