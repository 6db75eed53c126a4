"""Draws the example workflows: `workflows/*.json` for the page and their twins in `tests/workflows_api/` for /prompt.

    python tests/host/draw_workflows.py                                   draws all from tests/node_schemas.json
    python tests/host/draw_workflows.py --schemas http://127.0.0.1:8188   first asks a running ComfyUI for the schemas

Notes are for the page only. Thumbnails are screenshots and not drawn here.
"""

import argparse
import json
from pathlib import Path

from workflow_page import Box, Graph, Node, Wire, api, ask_for_schemas, page

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "tests" / "node_schemas.json"

MODELS = "#3f789e"
PEOPLE = "#8a5"
SCENE = "#a1309b"
BINDING = "#b58b2a"
RESULT = "#88a"
PROMPTS = {  # in the words of the drawn world, for so many people; tests/real_inputs.py draws what they say
    2: "left blond in teal, right black in yellow, swaying, park",
    3: "left blond in teal, middle black in yellow, right purple in white, nodding, beach",
    4: "far left blond in teal, left black in yellow, right purple in white, far right green in blue, still, studio",
}
IN_TURN = (0.0, 0.9)  # seconds at which two lines begin
STEPS, TEXT_SCALE, AUDIO_SCALE = 14, 1.0, 2.0  # of the built-in model

TINY_OR_RELEASED = """## {title}

{about}

**Inputs.** Choose your own pictures and recordings in the Load nodes, one face and one voice each
(`python3 run.py ui` puts the examples named here into the input folder).

**This runs at once**, on any computer: `tiny` is built in. It belongs to a **drawn world** of cartoon people, so it
wants drawn faces and the few words of that world: who stands where, hair and shirt, what they do, and the place.
The report says how far it is trained.

**For the released weights** put the folder into `models/byav`, press **R**, then choose it in *Load Bind-Your-Avatar
Model*, choose the matching entries in *Load Face Encoder* and *Load Audio Encoder*, and set

| node | set |
|---|---|
| Prompt | what happens, in sentences |
| Scene | 720 x 480, 49 frames |
| Sampler | 50 steps, joint guidance, scale 6 |
| Router, for post | coarse steps 20, coarse guidance 6 |
"""


def note(title: str, about: str) -> Node:
    return Node("MarkdownNote", title, (430, 400), {"text": TINY_OR_RELEASED.format(title=title, about=about)})


def models() -> tuple[Box, Node, Node, Node]:
    model = Node("BYAV_LoadModel", "Load Bind-Your-Avatar Model", (430, 126), {})
    faces = Node("BYAV_LoadFaceEncoder", "Load Face Encoder", (430, 58), {})
    voices = Node("BYAV_LoadAudioEncoder", "Load Audio Encoder", (430, 58), {})
    return Box("1 · Models", [[model], [faces], [voices]], MODELS), model, faces, voices


def people(names: list[str], encoder: Node) -> tuple[Box, Wire]:
    """One row per person: picture and character, each character taking the cast of the one above."""
    rows, cast = [], None
    for name in names:
        picture = Node("LoadImage", f"Face of {name}", (250, 320), {"image": f"{name.lower()}.png"})
        values = {"name": name, "image": picture["IMAGE"], "face_encoder": encoder["face encoder"]}
        character = Node("BYAV_Character", f"Character {name}", (270, 390), values | ({"cast": cast} if cast else {}))
        cast = character["cast"]
        rows.append([picture, character])
    return Box("2 · Who is in the scene", rows, PEOPLE), cast


def voices(names: list[str], encoder: Node, starts: tuple[float, ...] = ()) -> tuple[Box, Wire]:
    """One row per voice: recording and speech, each speech taking the streams of the one above."""
    rows, streams = [], None
    for number, name in enumerate(names):
        recording = Node("LoadAudio", f"Recording of {name}", (250, 136), {"audio": f"{name.lower()}.wav"})
        values = {
            "name": f"{name}'s voice",
            "audio": recording["AUDIO"],
            "audio_encoder": encoder["audio encoder"],
            "start": starts[number] if starts else 0.0,
        }
        speech = Node(
            "BYAV_Speech", f"Speech of {name}", (270, 146), values | ({"streams": streams} if streams else {})
        )
        streams = speech["streams"]
        rows.append([recording, speech])
    return Box("3 · What is said", rows, PEOPLE), streams


def matrix(cast: Wire, streams: Wire, mode: str, table: str = "") -> tuple[Box, Wire]:
    who = Node(
        "BYAV_AudioCharacterMatrix",
        "Who says what",
        (330, 390),
        {"streams": streams, "cast": cast, "mode": mode, "table": table},
    )
    return Box("4 · Whose voice is whose", [[who]], BINDING), who["matrix"]


def scene(model: Node, prompt: str, first_frame: str | None) -> tuple[Box, Wire, Wire]:
    text = Node("BYAV_Prompt", "Prompt", (330, 230), {"model": model["model"], "prompt": prompt})
    extent = {"model": model["model"], "width": 96, "height": 64, "frames": 25}
    rows = [[text]]
    if first_frame:
        picture = Node("LoadImage", "First frame", (330, 320), {"image": first_frame})
        extent["first_frame"] = picture["IMAGE"]
        rows.append([picture])
    size = Node("BYAV_Scene", "Scene", (330, 150), extent)
    return Box("5 · The scene", [*rows, [size]], SCENE), text["prompt"], size["scene"]


class Parts:
    """What every graph has: models, people, voices, matrix, scene, in its first three stages."""

    def __init__(
        self,
        title: str,
        about: str,
        names: list[str],
        *,
        first_frame: str | None = None,
        mode: str = "one to one",
        table: str = "",
        starts: tuple[float, ...] = (),
    ):
        load, self.model, self.faces, ears = models()
        cast, self.cast = people(names, self.faces)
        said, self.streams = voices(names, ears, starts)
        who, self.matrix = matrix(self.cast, self.streams, mode, table)
        where, self.prompt, self.scene = scene(self.model, PROMPTS[len(names)], first_frame)
        guide = Box("Read me", [[note(title, about)]], "#888")
        self.stages = [[guide, load], [cast], [said, who], [where]]

    def router(self, kind: str, title: str = "Router", **more: object) -> Node:
        values = {"model": self.model["model"], "scene": self.scene, "cast": self.cast, "router": kind}
        asked = {"prompt": self.prompt, "streams": self.streams, "matrix": self.matrix}
        values |= asked | {"face_encoder": self.faces["face encoder"]}
        values |= {"coarse_steps": STEPS, "coarse_guidance": TEXT_SCALE}
        return Node("BYAV_Router", title, (330, 390), values | more)

    def sampler(self, router: Node, title: str = "Sampler", **more: object) -> Node:
        given = {"model": self.model["model"], "scene": self.scene, "prompt": self.prompt, "cast": self.cast}
        given |= {"streams": self.streams, "router": router["router"], "matrix": self.matrix, "steps": STEPS}
        given |= {"guidance": "separate", "guidance_scale": TEXT_SCALE, "audio_scale": AUDIO_SCALE}
        return Node("BYAV_Sampler", title, (330, 690), given | more)

    def decode(self, sampler: Node) -> Node:
        return Node("BYAV_Decode", "Decode", (350, 98), {"latent": sampler["latent"], "model": self.model["model"]})

    def joined(self, kind: str, title: str, frames: Node, height: int, **more: object) -> Node:
        """Make Video or Routing Film."""
        values = {"frames": frames["frames"], "model": self.model["model"], "streams": self.streams}
        return Node(kind, title, (350, height), values | more)


def save(title: str, video: Wire, name: str) -> Node:
    values = {"video": video, "filename_prefix": f"bind-your-avatar/{name}"}
    return Node("SaveVideo", title, (350, 330), values)


def talk(parts: Parts, kind: str, name: str, painted: list | None = None, **more: object) -> list[list[Box]]:
    """The usual end: one router, one sampler, the video and the film of its masks."""
    router = parts.router(kind, **more)
    sampler = parts.sampler(router)
    report = Node("PreviewAny", "Report", (330, 260), {"source": sampler["report"]})
    frames = parts.decode(sampler)
    video = parts.joined("BYAV_MakeVideo", "Make Video", frames, 66)
    film = parts.joined("BYAV_RoutingFilm", "Routing Film", frames, 118, routing=sampler["routing"])
    result = [
        [save("Video with sound", video["video"], name)],
        [save("Who was where", film["video"], f"{name}_masks")],
    ]
    *before, where = parts.stages
    return [
        *before,
        [*where, Box("6 · Who is where", [*(painted or []), [router]], BINDING)],
        [Box("7 · Sampling", [[sampler], [report]], MODELS)],
        [Box("8 · Frames and sound", [[frames], [video], [film]], RESULT), Box("9 · Results", result, RESULT)],
    ]


def two_speakers_first_frame() -> list[list[Box]]:
    about = "Two people, each with a face and a voice, talk in a scene that **starts from your picture**."
    parts = Parts(
        "Two speakers, with a first frame", about, ["Anna", "Ben"], first_frame="together.png", starts=IN_TURN
    )
    return talk(parts, "intra", "two_speakers_first_frame")


def two_speakers() -> list[list[Box]]:
    about = "Two faces, two voices and a prompt. **No first frame**: the model makes the scene up."
    return talk(Parts("Two speakers", about, ["Anna", "Ben"], starts=IN_TURN), "intra", "two_speakers")


def swapped_matrix() -> list[list[Box]]:
    about = (
        "The Audio-Character Matrix is **swapped**: Anna moves her lips to Ben's voice and Ben to Anna's. Nothing else "
        "differs from *two_speakers_first_frame*, and nothing but the sampling runs again when you change the mode."
    )
    parts = Parts("Swapped voices", about, ["Anna", "Ben"], first_frame="together.png", mode="swapped", starts=IN_TURN)
    return talk(parts, "intra", "swapped_matrix")


def three_speakers() -> list[list[Box]]:
    about = (
        "Three people and three voices, **one after the other**: *start* says when a voice sets in. The table says who "
        "speaks with which voice, by names. The published weights were trained with two people at most: with those, "
        "three are an experiment."
    )
    table = "Anna's voice: Anna\nBen's voice: Ben\nCarla's voice: Carla"
    parts = Parts(
        "Three speakers",
        about,
        ["Anna", "Ben", "Carla"],
        mode="custom table",
        table=table,
        starts=(0.0, 0.6, 1.2),
    )
    return talk(parts, "intra", "three_speakers")


def four_speakers() -> list[list[Box]]:
    about = (
        "Four people, four voices, and no first frame. Add more in the same way: chain another Character and another "
        "Speech, and name who stands where in the prompt. No weights were trained with more than three people: four "
        "are an experiment."
    )
    parts = Parts("Four speakers", about, ["Anna", "Ben", "Carla", "David"], starts=(0.0, 0.4, 0.8, 1.2))
    return talk(parts, "intra", "four_speakers")


def hand_painted_masks() -> list[list[Box]]:
    about = (
        "You say who is where: the router `fixed` takes **one mask per character**, white where the person is. Paint "
        "them in any program or with ComfyUI's mask editor; one picture holds for the whole video."
    )
    parts = Parts("Hand-painted masks", about, ["Anna", "Ben"], first_frame="together.png", starts=IN_TURN)
    pictures, places, given = [], [], {}
    for name in ("Anna", "Ben"):
        painted = {"image": f"{name.lower()}_mask.png", "channel": "red"}
        picture = Node("LoadImageMask", f"Where {name} is", (330, 340), painted)
        given |= {"name": name, "mask": picture["MASK"]}
        place = Node("BYAV_CharacterMask", f"Mask of {name}", (330, 98), given)
        given = {"masks": place["masks"]}
        pictures.append(picture)
        places.append(place)
    return talk(parts, "fixed", "hand_painted_masks", [pictures, places], **given)


def compare_routers() -> list[list[Box]]:
    """Three ways to know who is where, one seed, one film side by side."""
    about = (
        "**pre** looks for the people in the first frame, **post** in every frame of a first pass without speech, "
        "**intra** lets the model find out while it denoises. Same people, voices and seed; the film shows them from "
        "left to right."
    )
    parts = Parts("Three routers at one seed", about, ["Anna", "Ben"], first_frame="together.png", starts=IN_TURN)
    seed = Node("PrimitiveInt", "Seed of all three", (330, 82), {"value": 1})
    lanes, rows, films = [], [], []
    for kind in ("pre", "post", "intra"):
        router = parts.router(kind, f"Router: {kind}", seed=seed["INT"])
        sampler = parts.sampler(router, f"Sampler: {kind}", seed=seed["INT"])
        frames = parts.decode(sampler)
        film = parts.joined("BYAV_RoutingFilm", f"Film: {kind}", frames, 118, routing=sampler["routing"])
        lanes.append((kind, router, sampler, frames, film))
        films.append(film["frames"])
    rows = [list(row) for row in zip(*(lane[1:] for lane in lanes), strict=True)]
    stitch = {"direction": "right", "spacing_width": 2, "spacing_color": "white"}
    two = Node("ImageStitch", "pre | post", (330, 150), {"image1": films[0], "image2": films[1], **stitch})
    three = Node(
        "ImageStitch", "pre | post | intra", (330, 150), {"image1": two["IMAGE"], "image2": films[2], **stitch}
    )
    sound = parts.joined("BYAV_MakeVideo", "Sound", lanes[0][3], 66)
    joined = {"images": three["IMAGE"], "fps": 12.5, "audio": sound["audio"]}
    film = Node("CreateVideo", "Frames with sound", (350, 78), joined)
    saved = save("Side by side", film["VIDEO"], "compare_routers")
    *before, where = parts.stages
    return [
        *before,
        [*where, Box("6 · Seed", [[seed]], BINDING)],
        [Box("7 · Three routers, side by side", rows, BINDING)],
        [Box("8 · One film", [[two], [three], [sound], [film]], RESULT), Box("9 · Result", [[saved]], RESULT)],
    ]


GRAPHS = {
    build.__name__: build
    for build in (
        two_speakers_first_frame,
        two_speakers,
        compare_routers,
        swapped_matrix,
        hand_painted_masks,
        three_speakers,
        four_speakers,
    )
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--schemas", metavar="URL", help="address of a running ComfyUI with this pack")
    if address := arguments.parse_args().schemas:
        SCHEMAS.write_text(json.dumps(ask_for_schemas(address), indent=1) + "\n", encoding="utf-8")
    schemas = json.loads(SCHEMAS.read_text(encoding="utf-8"))
    for name, build in GRAPHS.items():
        graph = Graph(name, build())
        graph.lay()
        for folder, drawn in (("workflows", page(graph, schemas)), ("tests/workflows_api", api(graph, schemas))):
            path = ROOT / folder / f"{name}.json"
            path.write_text(json.dumps(drawn, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
