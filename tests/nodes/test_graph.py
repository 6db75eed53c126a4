"""The nodes one after another without a server: what is computed once, what is shown, what files say of themselves."""

import types
from dataclasses import replace

import pytest
import torch

TINY = "tiny (built in)"


@pytest.fixture(scope="module")
def run(nodes, part):
    """Calls a node the way ComfyUI does and gives its outputs."""

    def call(name: str, graph: dict | None = None, /, **inputs) -> tuple:
        hidden = part("nodes.sockets").io.Hidden
        given = {hidden.unique_id: "router", hidden.dynprompt: graph and Graph(graph)}
        newer = {"hidden_inputs": given}  # where ComfyUI looks for them since 0.8
        clone = nodes[f"BYAV_{name}"].PREPARE_CLASS_CLONE(given | newer)
        with torch.inference_mode():
            return clone.execute(**inputs).args

    return call


class Graph:
    """ComfyUI's DynamicPrompt, as far as nodes look at it."""

    def __init__(self, nodes: dict):
        self.nodes = nodes

    def all_node_ids(self):
        return set(self.nodes)

    def get_node(self, node):
        return self.nodes[node]


UNSEEN = {"router": {"inputs": {}}, "sampler": {"inputs": {"router": ["router", 0]}}}
SEEN = UNSEEN | {"preview": {"inputs": {"mask": ["router", 1]}}}


@pytest.fixture(scope="module")
def model(run):
    return run("LoadModel", model=TINY)[0]


@pytest.fixture(scope="module")
def prompt(run, model):
    return run("Prompt", model=model, prompt="two people talk")[0]


@pytest.fixture(scope="module")
def scene(run, model):
    return run("Scene", model=model, width=48, height=32, frames=9)[0]


@pytest.fixture
def parts(model, prompt, scene, people, voices):
    return {
        "model": model, "scene": scene, "prompt": prompt, "cast": people("Anna", "Ben"), "streams": voices("a", "b")
    }  # fmt: skip


@pytest.fixture
def sample(run):
    """The Sampler at its shortest."""
    brief = {"steps": 1, "scheduler": "ddim", "guidance": "joint", "guidance_scale": 1.0, "preview": "off"}
    return lambda router, seed=0, **parts: run("Sampler", router=router, seed=seed, **parts, **brief)


@pytest.fixture
def route(run):
    def router(name: str, graph: dict | None = UNSEEN, **parts) -> tuple:
        return run("Router", graph, router=name, refinement="off", probe_steps=1, coarse_steps=1, **parts)

    return router


@pytest.fixture
def counted(part, monkeypatch):
    """Counts how often a function of the pipeline runs."""

    def count(name: str) -> list:
        pipeline, calls = part("byav_core.pipeline"), []
        original = getattr(pipeline, name)
        monkeypatch.setattr(pipeline, name, lambda *args, **kwargs: (calls.append(1), original(*args, **kwargs))[1])
        return calls

    return count


def test_intra_samples_nothing_until_its_masks_are_looked_at(parts, route, counted):
    calls = counted("sample")
    _, masks, routing = route("intra", UNSEEN, **parts)
    assert not calls and "run again" in masks.message and "run again" in routing.message
    _, masks, routing = route("intra", SEEN, **parts)
    assert len(calls) == 1
    assert [mask.shape for mask in masks] == [(9, 32, 48)] * 2 and list(routing.masks) == ["Anna", "Ben"]


def test_intra_shows_its_masks_where_the_graph_is_not_known(parts, route):
    assert len(route("intra", None, **parts)[1]) == 2


def test_the_probe_says_what_it_lacks(parts, route):
    with pytest.raises(ValueError, match="prompt and streams"):
        route("intra", SEEN, **{key: parts[key] for key in ("model", "scene", "cast")})


def test_looking_at_the_masks_of_intra_does_not_sample_again(parts, route, sample, counted):
    first = sample(route("intra", UNSEEN, **parts)[0], **parts)
    calls = counted("sample")
    router = route("intra", SEEN, **parts)[0]
    probed = len(calls)
    again = sample(router, **parts)
    assert len(calls) == probed and torch.equal(first[0]["samples"], again[0]["samples"])


def test_another_seed_samples_again_and_projects_nothing_again(parts, route, sample, counted):
    router = route("intra", **parts)[0]
    first = sample(router, seed=1, **parts)
    sampled, projected = counted("sample"), counted("condition")
    second = sample(router, seed=2, **parts)
    assert len(sampled) == 1 and not projected
    assert not torch.equal(first[0]["samples"], second[0]["samples"])


def test_another_matrix_prompt_or_router_projects_nothing_again(parts, run, route, sample, counted):
    sample(route("intra", **parts)[0], seed=3, **parts)
    projected = counted("condition")
    matrix = run("AudioCharacterMatrix", streams=parts["streams"], cast=parts["cast"], mode="swapped")[0]
    other = run("Prompt", model=parts["model"], prompt="nobody talks")[0]
    sample(route("uniform", **parts)[0], seed=3, **{**parts, "prompt": other}, matrix=matrix)
    assert not projected


def test_the_swapped_matrix_changes_what_is_made(parts, run, route, sample):
    router = route("fixed", masks=halves(run), **parts)[0]
    straight = sample(router, seed=4, **parts)
    matrix = run("AudioCharacterMatrix", streams=parts["streams"], cast=parts["cast"], mode="swapped")[0]
    assert not torch.equal(straight[0]["samples"], sample(router, seed=4, **parts, matrix=matrix)[0]["samples"])


def halves(run):
    left = torch.zeros(1, 32, 48)
    left[..., :24] = 1
    anna = run("CharacterMask", name="Anna", mask=left)[0]
    return run("CharacterMask", name="Ben", mask=1 - left, masks=anna)[0]


def test_fixed_shows_the_masks_it_was_given_over_all_frames(parts, run, route):
    _, masks, routing = route("fixed", masks=halves(run), **parts)
    anna = routing.masks["Anna"]
    assert anna.shape == (9, 32, 48) and torch.equal(anna, masks[0])
    assert anna[..., :8].min() == 1 and anna[..., -8:].max() == 0


def test_the_coarse_pass_of_post_is_made_once_for_a_prompt_and_a_scene(parts, route, counted, part, monkeypatch):
    router = part("nodes.router")
    columns = part("byav_core.perception.segmenter").columns
    monkeypatch.setattr(router, "locator_for", lambda encoder: None)
    monkeypatch.setattr(router, "segmenter_for", lambda *_: columns)
    calls = counted("coarse_video")
    for streams in (parts["streams"], parts["streams"][:1]):
        route("post", face_encoder=object(), **{**parts, "streams": streams})
    assert len(calls) == 1


def test_three_characters_and_a_silent_one_go_through(parts, run, route, sample, people):
    parts = {**parts, "cast": people("Anna", "Ben", "Carla")}
    latent, masks, report, routing = sample(route("intra", **parts)[0], seed=5, **parts)
    assert len(masks) == 3 and list(routing.masks) == ["Anna", "Ben", "Carla"]
    assert "character Carla: silent" in report


def test_the_report_names_model_router_seed_and_who_speaks(parts, route, sample):
    report = sample(route("uniform", **parts)[0], seed=6, **parts)[2]
    made_by = f"tiny ({parts['model'].models.config.trained})"
    said = (made_by, "48 x 32, 9 frames", "router: uniform", "seed 6", "joint, scale", "Anna: speaks with a")
    for words in said:
        assert words in report, report


def test_a_voice_that_begins_after_the_video_is_said_to_be_unheard(parts, route, sample, part):
    late, other = parts["streams"]
    sound = part("byav_core.sound").delayed(late.audio, 10.0)
    parts = {**parts, "streams": (replace(late, audio=sound), other)}
    report = sample(route("uniform", **parts)[0], seed=8, **parts)[2]
    assert "nothing is heard of voice a" in report and "voice b" not in report.partition("nothing is heard")[2]
    assert "voice a lasts" not in report


@pytest.mark.parametrize("router", ["pre", "post", "fixed"])
def test_masks_planned_for_people_in_another_order_are_refused(router, parts, route, sample):
    """They would bind the voice of one to the face of the other without a word."""
    planned = replace(route("uniform", **parts)[0], name=router)
    turned = {**parts, "cast": parts["cast"][::-1]}
    with pytest.raises(ValueError, match="Anna, Ben.*Ben, Anna.*same cast"):
        sample(planned, seed=9, **turned)


@pytest.mark.parametrize("router", ["intra", "uniform"])
def test_a_router_without_masks_of_its_own_serves_another_order_of_people(router, parts, route, sample):
    turned = {**parts, "cast": parts["cast"][::-1]}
    assert list(sample(route(router, **parts)[0], seed=9, **turned)[3].masks) == ["Ben", "Anna"]


def test_a_router_planned_for_another_video_is_refused(parts, run, route, sample):
    other = run("Scene", model=parts["model"], width=32, height=48, frames=9)[0]
    with pytest.raises(ValueError, match="48 x 32, 9 frames.*32 x 48, 9 frames.*one Scene"):
        sample(route("intra", **parts)[0], seed=9, **{**parts, "scene": other})


@pytest.mark.parametrize(
    ("extent", "words"), [((9, 33, 48, 3), "48 x 33.*even sides"), ((0, 32, 48, 3), "at least one picture")]
)
def test_frames_that_no_video_can_hold_are_refused(extent, words, run, model):
    with pytest.raises(ValueError, match=words):
        run("MakeVideo", frames=torch.zeros(extent), model=model)


def test_frames_with_transparency_make_a_video(run, model, tmp_path):
    video = run("MakeVideo", frames=torch.rand(5, 32, 48, 4), model=model)[0]
    assert video.get_components().images.shape == (5, 32, 48, 3)


def test_what_is_said_of_the_weights_follows_them(parts, route, sample):
    """A model that is half trained, or not at all, says so in the report, and a trained one does not."""
    model = parts["model"]
    for trained, complains in (("untrained", True), ("untrained speech, started from x", True), ("stage 3", False)):
        config = replace(model.models.config, trained=trained)
        told = replace(model, models=replace(model.models, config=config), memo=type(model.memo)())
        report = sample(route("uniform", **{**parts, "model": told})[0], seed=6, **{**parts, "model": told})[2]
        assert f"tiny ({trained})" in report and ("weights are untrained" in report) == complains


def test_older_workflows_name_the_built_in_model_otherwise(run, model):
    same = run("LoadModel", model="tiny (built in, untrained)")[0]
    assert same.models.config == model.models.config
    assert run("LoadAudioEncoder", audio_encoder="tiny (built in, untrained)")[0].fps == model.models.config.fps


def test_frames_film_and_sound_fit_each_other_and_say_how_far_the_model_is_trained(parts, run, route, sample, tmp_path):
    latent, _, _, routing = sample(route("uniform", **parts)[0], seed=7, **parts)
    frames, fps = run("Decode", latent=latent, model=parts["model"])[0], parts["model"].models.config.fps
    assert frames.shape == (9, 32, 48, 3)
    for kind, outputs in (
        ("video", run("MakeVideo", frames=frames, model=parts["model"], streams=parts["streams"])),
        ("film", run("RoutingFilm", frames=frames, routing=routing, model=parts["model"])[::-1]),
    ):
        video = outputs[0]
        assert float(video.get_components().frame_rate) == fps and len(video.get_components().images) == 9, kind
        assert parts["model"].models.config.trained in video.comment, kind
    sound = run("MakeVideo", frames=frames, model=parts["model"], streams=parts["streams"])[1]
    assert sound["waveform"].shape[-1] == round(9 / fps * sound["sample_rate"])


def test_small_tiles_decode_to_the_same_extent(parts, run, route, sample):
    latent = sample(route("uniform", **parts)[0], seed=7, **parts)[0]
    tiled = run("Decode", latent=latent, model=parts["model"], tiling="small tiles")[0]
    assert tiled.shape == (9, 32, 48, 3)
    run("Decode", latent=latent, model=parts["model"])


def test_one_mask_all_others_and_the_background_make_up_the_picture(run, part):
    named = halves(run)
    mask, others, background = run("RoutingMasks", routing=named, character="Ben")
    torch.testing.assert_close(mask + others + background, torch.ones_like(mask))
    assert torch.equal(mask, named.masks["Ben"])


def test_the_matrix_is_drawn_with_a_row_per_voice_and_a_column_per_character(run, people, voices):
    pictures = [
        run("AudioCharacterMatrix", streams=voices(*names), cast=people("Anna", "Ben", "Carla"), mode="one to one")[1]
        for names in (("a",), ("a", "b"))
    ]
    assert pictures[0].shape[1] < pictures[1].shape[1] and pictures[0].shape[2] == pictures[1].shape[2]
    assert all(picture.std() > 0.05 for picture in pictures)


def test_core_conditioning_takes_the_place_of_the_prompt(run, model):
    config = model.models.config
    tokens = torch.randn(1, 7, config.text.d_model)
    prompt = run("Prompt", model=model, prompt="not read", positive_conditioning=[[tokens, {}]])[0]
    assert torch.equal(prompt.text, tokens)


class HostVae:
    """ComfyUI's VAE as its nodes call it: pictures [f, H, W, 3] to latents [1, c, t, h, w] and back."""

    def __init__(self, channels: int):
        self.channels = channels

    def encode(self, pixels):
        f, height, width, _ = pixels.shape
        return torch.ones(1, self.channels, (f - 1) // 4 + 1, height // 8, width // 8)

    def decode(self, samples):
        _, _, t, height, width = samples.shape
        return torch.full((1, 4 * t - 3, 8 * height, 8 * width, 3), float(samples.mean()))


def test_core_vae_and_clip_take_the_place_of_the_models_own(run, model):
    config = model.models.config
    clip = types.SimpleNamespace(
        tokenize=lambda text: text,
        encode_from_tokens_scheduled=lambda tokens: [[torch.ones(1, 5, config.text.d_model), {}]],
    )
    loaded = run("LoadModel", model=TINY, vae=HostVae(config.video.latent_channels), clip=clip)[0]
    assert set(loaded.patchers) == {"network", "conditioners"}
    assert run("Prompt", model=loaded, prompt="hello")[0].text.shape == (1, 5, config.text.d_model)
    latent = {"samples": torch.full((1, config.video.latent_channels, 3, 4, 6), 0.25)}
    frames = run("Decode", latent=latent, model=loaded)[0]
    assert frames.shape == (9, 32, 48, 3) and torch.allclose(frames, torch.tensor(0.25))
    scaled = loaded.models.video.encode(torch.zeros(1, 9, 3, 32, 48))
    assert scaled.shape == (1, 3, config.video.latent_channels, 4, 6)
    assert torch.allclose(scaled, torch.tensor(config.video.scaling_factor))
