"""python -m byav_core generate, decode, convert, inspect, synthetic, companions, train, train-tiny or experiments.

What the user can mend is said in one sentence, with exit code 2. Heavy libraries are imported by the command that
needs them, after what can be checked without them.
"""

import argparse
import logging
import math
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from PIL import Image
    from torch import Tensor, nn

    from .benchmark.experiments import Run, Setup
    from .config import ModelConfig
    from .latents_file import KeptLatents
    from .network import Models
    from .pipeline import Guidance, Perception, Request, SamplingSettings
    from .sampling.sampler import StepReport
    from .synthetic import WorldSpec
    from .training.config import TrainingConfig
    from .types import Audio, Video

TINY = "tiny"
LATENTS = ".latents.safetensors"
LARGEST = {"width": 16384, "height": 16384, "frames": 100_000}  # H.264 holds no larger picture; an hour is 90,000


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger(__package__).setLevel(logging.INFO)
    warnings.showwarning = lambda message, *_: _say(f"warning: {message}")
    try:
        options.run(options)
    except KeyboardInterrupt:
        _say("stopped")
        return 130
    except (ValueError, OSError, KeyError, ArithmeticError, MemoryError, RuntimeError) as error:
        if not _mendable(error):
            raise
        if options.traceback:
            traceback.print_exc()
        _say(f"error: {_sentence(error)}")
        return 2
    return 0


COMMANDS = "generate | decode | convert | inspect | synthetic | companions | train | train-tiny | experiments"


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m byav_core", description="Several people talking in one scene.")
    top.add_argument("--traceback", action="store_true", help="show where an error comes from")
    commands = top.add_subparsers(required=True, metavar=COMMANDS)
    _add_generate(commands.add_parser("generate", help="portraits, voices and a prompt to a video"))
    _add_decode(commands.add_parser("decode", help="latents that generate kept, to a video"))
    _add_convert(commands.add_parser("convert", help="weights from one format to another"))
    _add_inspect(commands.add_parser("inspect", help="say what a weights file or model folder is"))
    _add_synthetic(commands.add_parser("synthetic", help="a drawn world in which the truth is known"))
    _add_companions(commands.add_parser("companions", help="train what stays frozen of the tiny model"))
    _add_train(commands.add_parser("train", help="one of the three stages of training"))
    _add_train_tiny(commands.add_parser("train-tiny", help="the tiny model again from nothing, in one folder"))
    _add_experiments(commands.add_parser("experiments", help="the claims about binding, measured in the drawn world"))
    return top


def generate(options: argparse.Namespace) -> None:
    """Everything that can be refused is refused before the models are loaded."""
    _check_outputs(options.out, options.film, options.keep)
    _check_router(options)
    _check_extent(options)
    place = _placing(options.device)
    face_model = _encoder(options, "--face-model", options.face_model)
    speech_model = _encoder(options, "--speech-model", options.speech_model)
    faces = _by_name(options.face, options.name, "--name", _picture)
    voices = _by_name(options.speech, options.voice, "--voice", _sound)
    first_frame = _picture(options.first_frame) if options.first_frame else None
    masks = read_masks(options.mask) if options.mask else None
    settings = _settings(options)
    _check_who_speaks(options, tuple(voices), tuple(faces))

    from .pipeline import Request
    from .pipeline import generate as generate_video

    models = _models(options)
    config = models.config
    request = Request(
        faces,
        voices,
        prompt=options.prompt,
        negative=options.negative,
        width=config.video.sample_width if options.width is None else options.width,
        height=config.video.sample_height if options.height is None else options.height,
        frames=config.transformer.sample_frames if options.frames is None else options.frames,
        table=_table(options),
        first_frame=first_frame,
        fit=options.fit,
        router=options.router,
        masks=masks,
        noise_on_faces=options.noise_on_faces,
        settings=settings,
    )
    latents = options.keep or options.out.with_suffix(LATENTS)
    with _progress() as on_step:
        made = generate_video(
            models,
            _perception(options, config, face_model, speech_model),
            request,
            on_step=on_step,
            on_latents=_keeper(latents, request, config),
            place=place,
        )
    _write(options, made.video, made.masks, tuple(faces), config)
    if options.keep:
        print(f"wrote {options.keep}")
    else:
        latents.unlink()


def decode(options: argparse.Namespace) -> None:
    from .latents_file import read_latents
    from .pipeline import decode as decode_latents
    from .pipeline import masks_to_frames
    from .types import Video

    _check_outputs(options.out, options.film)
    place = _placing(options.device)
    kept = read_latents(options.latents)
    models = _models(options)
    _check_same_model(kept, models.config)
    with place(models.video.module):
        frames = decode_latents(models, kept.latents)
    masks = None if kept.masks is None else masks_to_frames(kept.masks, kept.clip)
    _write(options, Video(frames, kept.clip.fps, kept.audio), masks, kept.names, models.config)


def convert(options: argparse.Namespace) -> None:
    from .checkpoints.convert import convert as convert_weights

    convert_weights(options.source, options.target, options.to)
    print(f"wrote {options.target}")


def inspect(options: argparse.Namespace) -> None:
    from .checkpoints.describe import inspect as describe

    print(describe(options.path))


def write_voices(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from .synthetic.voices import write_all_voices

    _make_folder(options.folder)
    written = write_all_voices(options.folder, lambda files: tqdm(files, desc="speaking", unit="file"))
    print(f"wrote {written} recordings into {options.folder}")


def draw(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from .synthetic.to_disk import draw_folder

    world = _world(options)
    _make_folder(options.folder)
    with tqdm(total=options.count, desc="drawing", unit="scene") as bar:
        manifest = draw_folder(
            options.folder, options.count, options.seed, world, options.processes, lambda _: bar.update()
        )
    print(f"wrote {options.count} scenes and {manifest}")


def sheet(options: argparse.Namespace) -> None:
    _check_output(options.out, ".png")

    from .synthetic import draw_scene
    from .synthetic.sheet import contact_sheet

    world = _world(options)
    samples = (draw_scene(seed, world) for seed in range(options.seed, options.seed + options.count))
    _write_picture(contact_sheet(samples, options.shown, options.zoom), options.out)


def companions(options: argparse.Namespace) -> None:
    """What cannot be heard or written is said before the first is trained."""
    from .synthetic.voices import voices_of

    voices_of(options.voices)
    _make_folder(options.folder)

    from .config import tiny
    from .training.companions import LEARNINGS, train_companions

    chosen = {name: LEARNINGS[name] for name in options.only or LEARNINGS}
    scores = train_companions(tiny(), options.folder, voices=options.voices, learnings=chosen, report=_say)
    for encoder, score in scores.items():
        print(*(f"{encoder}, {name}: {value:.3f}" for name, value in score.items()), sep="\n")


def train(options: argparse.Namespace) -> None:
    from .training.config import read_training

    config = read_training(options.config)
    if options.memory:
        _check_at_least_one(options, "gpus")
        print(_memory(config, options.gpus))
        return
    if options.stage is None:
        raise ValueError("which stage? name it with --stage 1, 2 or 3, or ask for the memory needed with --memory")
    config.stage(options.stage)

    from .training.trainer import train as train_stage

    print(f"wrote {train_stage(config, options.stage, resume=options.resume)}")


def train_tiny(options: argparse.Namespace) -> None:
    from .training.curves import draw_curves
    from .training.from_nothing import journals, quick_recipe, whole_recipe
    from .training.from_nothing import train_tiny as train_all

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended, too
    if options.processes is not None:
        _check_at_least_one(options, "processes")
    recipe = quick_recipe() if options.quick else whole_recipe()
    made = train_all(options.folder, recipe, options.processes, _say)
    size = sum(path.stat().st_size for path in made) / 1e6
    print(f"copy these into {Path(__file__).parent / 'weights'} ({size:.1f} MB):", *made, sep="\n")
    print(f"the losses: {draw_curves(journals(options.folder), options.folder / 'curves.png')}")


def experiments(options: argparse.Namespace) -> None:
    from .benchmark.report import write_report

    if options.report:
        print("wrote " + ", ".join(str(path) for path in write_report(options.out)))
        return
    if options.sheet:
        _check_output(options.sheet, ".png")
    else:
        _check_output(options.out, ".json")

    from .benchmark.experiments import chosen, film_sheet, run

    setup = _setup(options)
    runs = chosen(options.conditions, options.scenes, options.seeds, setup.weights)
    if options.sheet:
        _write_picture(film_sheet(setup, runs[0].condition, runs[0].scenes), options.sheet)
        return
    with _counting_films(runs) as on_film:
        run(setup, runs, options.out, workers=options.workers, resume=options.resume, on_film=on_film)
    print(f"wrote {options.out}")


def read_masks(paths: Sequence[Path]) -> "Float[Tensor, 'n f H W']":
    """One mask per file, white where the character is: a picture, held still, or a video.

    Raises ValueError when they differ in size or length.
    """
    import torch

    masks = [_mask(path) for path in paths]
    frames = max(len(mask) for mask in masks)
    for path, mask in zip(paths, masks, strict=True):
        if mask.shape[1:] != masks[0].shape[1:] or len(mask) not in (1, frames):
            raise ValueError(
                f"the mask {path} has {len(mask)} frames of {mask.shape[2]}x{mask.shape[1]}, but {paths[0]} has "
                f"{len(masks[0])} of {masks[0].shape[2]}x{masks[0].shape[1]}; make them alike"
            )
    return torch.stack([mask.expand(frames, -1, -1) for mask in masks])


def _add_generate(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=generate)
    add = command.add_argument
    add("--face", type=Path, action="append", required=True, help="reference picture of a person; repeat for each")
    add("--name", action="append", default=[], help="that person's name, in order; by default the file's")
    add("--speech", type=Path, action="append", default=[], help="recording of a voice; repeat for each")
    add("--voice", action="append", default=[], help="that voice's name, in order; by default the file's")
    add("--matrix", help='who speaks with which voice: "voice: name, name; voice: name"; by default one to one')
    add("--prompt", required=True, help="what the video shows")
    add("--negative", default="", help="what guidance leads away from")
    add("--router", default="intra", help="who is where: intra, pre, post, fixed or uniform")
    add("--mask", type=Path, action="append", default=[], help="for fixed: a picture or mp4 for each person")
    add("--refine", action="store_true", help="clean the masks up over space and time")
    add("--first-frame", type=Path, help="picture that the video starts from")
    add("--fit", default="crop", choices=("crop", "pad"), help="how a first frame of another shape is made to fit")
    add("--noise-on-faces", action="store_true", help="hide its faces, so that only the reference pictures count")
    _add_models(command)
    add("--face-model", help="folder with the face encoder; the tiny model has its own")
    add("--speech-model", help="folder with wav2vec2-base-960h; the tiny model has its own")
    add("--sam2", type=Path, help="for post: folder with SAM 2; without it faces are followed")
    add("--width", type=int, help="in pixels; by default the model's")
    add("--height", type=int, help="in pixels; by default the model's")
    add("--frames", type=int, help="4k+1; by default the model's")
    add("--steps", type=int, default=50, help="denoising steps (50)")
    add("--scheduler", default="dpm", choices=("dpm", "ddim"))
    add("--seed", type=int, default=0)
    add("--guidance", type=float, nargs="+", default=[6.0], metavar="SCALE", help="one for both, or text and audio")
    add("--audio-interval", type=float, nargs=2, default=[0.0, 1.0], metavar=("START", "END"), help="when to guide it")
    add("--strength", type=float, nargs="+", help="how strongly speech moves each person; 1 is normal")
    add("--keep", type=Path, help="where to keep the latents; otherwise they go once the video is written")
    _add_outputs(command)


def _add_decode(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=decode)
    command.add_argument("latents", type=Path, help="file that generate kept or left behind")
    _add_models(command)
    _add_outputs(command)


def _add_convert(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=convert)
    command.add_argument("source", type=Path, help="our .safetensors, or the published folder")
    command.add_argument("target", type=Path, help="file or folder to make")
    command.add_argument("--to", default="byav", choices=("byav", "released"), help="one file, or the published files")


def _add_inspect(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=inspect)
    command.add_argument("path", type=Path)


def _add_synthetic(command: argparse.ArgumentParser) -> None:
    parts = command.add_subparsers(required=True, metavar="voices | draw | sheet")
    voices = parts.add_parser("voices", help="real speech into a folder, once, by eSpeak NG")
    voices.set_defaults(run=write_voices)
    voices.add_argument("folder", type=Path)
    drawing = parts.add_parser("draw", help="scenes into a folder, with a manifest")
    drawing.set_defaults(run=draw)
    drawing.add_argument("folder", type=Path)
    drawing.add_argument(
        "--count", type=_at_least_one, required=True, help="how many scenes, of the seeds from --seed on"
    )
    drawing.add_argument("--processes", type=_at_least_one, help="by default one for each core")
    _add_world(drawing)
    picture = parts.add_parser("sheet", help="a contact sheet to look at")
    picture.set_defaults(run=sheet)
    picture.add_argument("out", type=Path, help="the picture, .png")
    picture.add_argument("--count", type=_at_least_one, default=8, help="how many scenes (8)")
    picture.add_argument("--shown", type=_at_least_one, default=6, help="frames shown of each (6)")
    picture.add_argument("--zoom", type=_at_least_one, default=2, help="enlargement (2)")
    _add_world(picture)


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is too few or no whole number; choose 1 or more")
    return int(text)


def _add_world(command: argparse.ArgumentParser) -> None:
    """Options named as the fields of WorldSpec; those left out stay as they are there."""
    add = command.add_argument
    add("--seed", type=int, default=0)
    add("--split", choices=("train", "test"), help="people, voices, places and motions of one are never in the other")
    add("--voices", help="folder of real speech; without it there is babble")
    for name in ("width", "height", "frames"):
        add(f"--{name}", type=int, help="by default 17 frames of 96 x 64")
    add("--fps", type=float, help="frames per second (12.5)")
    add("--people", type=int, nargs="+", help="how many; every choice given is as likely as it is often named")
    add("--motions", nargs="+", help="such as still, turning, leaning, crossing")
    add("--backgrounds", nargs="+", help="such as park, office, night")
    add("--modes", nargs="+", help="one, turns, overlap, silent")
    add("--sounds", nargs="+", help="speech, noise, music, silence")
    add("--bindings", nargs="+", help="own, shuffled, shared, mute")


def _add_companions(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=companions)
    command.add_argument("folder", type=Path, help="where to write them; those in byav_core/weights are used")
    command.add_argument("--only", nargs="+", choices=("text", "face", "speech", "video"), help="by default all four")
    command.add_argument("--voices", help="folder of real speech, as `synthetic voices` makes it; else there is babble")


def _add_train(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=train)
    add = command.add_argument
    add("--config", type=Path, required=True, help="a JSON file, as those in byav_core/training/configs")
    add("--stage", type=int, help="1, 2 or 3; each starts from what the one before left")
    add("--resume", action="store_true", help="go on from the last state on disk")
    add("--memory", action="store_true", help="train nothing, say how much memory each stage needs per GPU")
    add("--gpus", type=int, default=8, help="for --memory (8)")


def _add_train_tiny(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=train_tiny)
    command.add_argument("folder", type=Path, help="for all of it; what is finished there is not done again")
    command.add_argument("--quick", action="store_true", help="a few steps of everything, to see that it works")
    command.add_argument("--processes", type=int, help="that share the work; by default 2 if there are as many cores")


def _add_experiments(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=experiments)
    add = command.add_argument
    add("--model", default=TINY, help='weights to measure: "tiny" (built in), or our .safetensors')
    add("--weights", action="append", default=[], help="NAME=FILE: weights for ablations, such as no eq. 3 and 4=FILE")
    add("--face-model", default=TINY, help="folder with the face encoder; the tiny model has its own")
    add("--speech-model", default=TINY, help="folder with wav2vec2-base-960h; the tiny model has its own")
    add("--voices", help="folder of real speech; without it there is babble")
    add("--conditions", nargs="+", default=["*"], help='names or patterns, with scenes x seeds: "intra*" "close*:24x1"')
    add("--scenes", type=int, default=64, help="held-out scenes of each condition (64)")
    add("--seeds", type=int, default=3, help="seeds for each scene (3)")
    add("--steps", type=int, default=10, help="denoising steps (10)")
    add("--scheduler", default="dpm", choices=("dpm", "ddim"))
    add("--guidance", type=float, nargs=2, default=[1.0, 2.5], metavar=("TEXT", "AUDIO"), help="(1 2.5)")
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes, by default one for each core")
    add("--out", type=Path, default=Path("docs/experiments.json"), help="results (docs/experiments.json)")
    add("--resume", action="store_true", help="leave out what is measured over as many scenes and seeds")
    add("--sheet", type=Path, help="measure nothing, a contact sheet (.png) of films of the first condition chosen")
    add("--report", action="store_true", help="measure nothing, write tables and plots beside the results")


def _add_models(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", default=TINY, help='"tiny" (built in), our .safetensors, or a model folder')
    command.add_argument("--companions", type=Path, help="folder with text_encoder/, tokenizer/ and vae/, if elsewhere")
    command.add_argument("--precision", choices=("float32", "bfloat16", "float16"), help="by default as stored")
    command.add_argument("--device", help="cpu, cuda, mps ...; by default the graphics card if there is one")


def _add_outputs(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=Path, required=True, help="the video, .mp4")
    command.add_argument("--film", type=Path, help="a film of the masks, .mp4")


def _check_outputs(video: Path, film: Path | None, latents: Path | None = None) -> None:
    for path, ending in ((video, ".mp4"), (film, ".mp4"), (latents, ".safetensors")):
        if path is not None:
            _check_output(path, ending)
    if film is not None and film.absolute() == video.absolute():
        raise ValueError(f"--out and --film are both {video}; name two files")


def _check_output(path: Path, ending: str) -> None:
    if path.suffix.lower() != ending:
        raise ValueError(f"{path} should end in {ending}; rename it")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.absolute().parent} for {path.name}; make it first")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the file another name")
    _check_writable(path)


def _make_folder(folder: Path) -> None:
    """Tries it, too, so that no work is lost in the end."""
    trial = folder / ".trial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise OSError(f"nothing can be written into {folder} ({error.strerror}); choose another folder") from error


def _check_writable(path: Path) -> None:
    """Tries it with the longest name that will be written there, so that no work is lost in the end."""
    trial = path.with_name(f".{path.stem}{LATENTS}")
    try:
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror}); choose another folder or name") from error


def _check_at_least_one(options: argparse.Namespace, *names: str) -> None:
    for name in names:
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} {getattr(options, name)} is too few; choose 1 or more")


def _check_extent(options: argparse.Namespace) -> None:
    for name, most in LARGEST.items():
        asked = getattr(options, name)
        if asked is not None and asked > most:
            raise ValueError(f"--{name} {asked} is too large; choose at most {most}")


def _check_who_speaks(options: argparse.Namespace, voices: tuple[str, ...], people: tuple[str, ...]) -> None:
    from .matrix import from_table, one_to_one
    from .model.injection import with_strength

    table = _table(options)
    matrix = one_to_one(voices, people) if table is None else from_table(table, voices, people)
    if options.strength:
        with_strength(matrix.tensor, tuple(options.strength))


def _check_router(options: argparse.Namespace) -> None:
    from .routing import ROUTERS

    if options.router not in ROUTERS:
        raise ValueError(f"there is no router {options.router!r}; choose one of {', '.join(ROUTERS)}")
    if options.router == "pre" and not options.first_frame:
        raise ValueError("--router pre reads faces from the first frame; give one with --first-frame")
    masks, faces = len(options.mask), len(options.face)
    if options.router == "fixed" and masks != faces:
        raise ValueError(f"--router fixed needs a --mask for each --face, but there are {masks} and {faces}")
    if options.router != "fixed" and options.mask:
        raise ValueError(f"--mask is for --router fixed, but the router is {options.router}; change one of them")


def _check_same_model(kept: "KeptLatents", config: "ModelConfig") -> None:
    if kept.latents.shape[2] != config.video.latent_channels:
        raise ValueError(
            f"these latents have {kept.latents.shape[2]} channels and were made by the model {kept.model}; name that "
            f"model with --model ({config.name} has {config.video.latent_channels} channels)"
        )


def _world(options: argparse.Namespace) -> "WorldSpec":
    from dataclasses import fields

    from .synthetic import WorldSpec

    given = {field.name: getattr(options, field.name, None) for field in fields(WorldSpec)}
    return WorldSpec(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if v is not None})


def _table(options: argparse.Namespace) -> str | None:
    """The matrix as `from_table` reads it, a line for each voice."""
    return None if options.matrix is None else options.matrix.replace(";", "\n")


def _by_name(paths: list[Path], names: list[str], option: str, read: Callable) -> dict:
    """What the files hold, in order, by the names given or else the files' own."""
    if names and len(names) != len(paths):
        raise ValueError(f"{len(names)} {option} for {len(paths)} files; give one for each or none")
    names = names or [path.stem for path in paths]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"the name {twice.pop()} is there twice; tell them apart with {option}")
    return {name: read(path) for name, path in zip(names, paths, strict=True)}


def _picture(path: Path) -> "Float[Tensor, '3 H W']":
    from .picture_file import read_picture

    return read_picture(path)


def _sound(path: Path) -> "Audio":
    from .audio_file import read_audio

    audio = read_audio(path)
    audio.check(str(path))
    return audio


def _mask(path: Path) -> "Float[Tensor, 'f H W']":
    from .video_file import read_video

    if path.suffix.lower() == ".mp4":
        return read_video(path).frames.mean(dim=1)
    return _picture(path).mean(dim=0, keepdim=True)


def _settings(options: argparse.Namespace) -> "SamplingSettings":
    from .pipeline import SamplingSettings

    return SamplingSettings(
        seed=options.seed,
        steps=options.steps,
        scheduler=options.scheduler,
        guidance=_guidance(options.guidance),
        audio_start=options.audio_interval[0],
        audio_end=options.audio_interval[1],
        strength=tuple(options.strength) if options.strength else None,
    )


def _guidance(scales: list[float]) -> "Guidance":
    from .pipeline import Joint, Separate

    if len(scales) > 2:
        raise ValueError(f"--guidance takes one scale, or one for text and one for audio; got {len(scales)}")
    return Joint(*scales) if len(scales) == 1 else Separate(*scales)


def _models(options: argparse.Namespace) -> "Models":
    import torch

    from .checkpoints.load import load_models

    dtype = getattr(torch, options.precision) if options.precision else None
    models = load_models(options.model, companions=options.companions, dtype=dtype)
    if models.config.untrained:
        _say(f"the model {models.config.name} is untrained: what it makes shows that everything works, not people")
    return models


def _perception(options: argparse.Namespace, config: "ModelConfig", face_model: str, speech_model: str) -> "Perception":
    from .encoders.face_insight_clip import load_face_encoder
    from .encoders.speech_wav2vec import load_speech_encoder
    from .perception.segmenter import Sam2Segmenter
    from .pipeline import Perception
    from .routing import LabelSpreading

    face = load_face_encoder(face_model, config.face)
    speech = load_speech_encoder(speech_model, config.speech)
    locator, device = face.locator(), _device(options.device)
    segmenter = Sam2Segmenter(options.sam2, locator, device) if options.sam2 else face.segmenter()
    return Perception(face, speech, locator, segmenter, LabelSpreading() if options.refine else None)


def _encoder(options: argparse.Namespace, option: str, folder: str | None) -> str:
    if folder is None and options.model != TINY:
        raise ValueError(f"{option} is missing; name the folder with the encoder that {options.model} was trained with")
    return folder or TINY


def _device(name: str | None) -> "torch.device":
    import torch

    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device).item()  # a name alone says nothing: the driver or the build may be missing
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0].split(". ")[0]
        raise ValueError(f"there is no device {name!r} here ({reason}); use cpu, cuda or mps") from error
    return device


def _placing(name: str | None) -> "Callable[..., AbstractContextManager[None]]":
    """Modules come to the device for as long as they are needed, and go back to ordinary memory."""
    device = _device(name)

    @contextmanager
    def place(*modules: "nn.Module") -> Iterator[None]:
        for module in modules:
            module.to(device)
        yield
        for module in modules:
            module.to("cpu")

    return place


@contextmanager
def _progress() -> "Iterator[Callable[[StepReport], None]]":
    """A bar with the time left for every run of the loop; Post-Denoise has two."""
    from tqdm import tqdm

    bars: list[tqdm] = []

    def on_step(report: "StepReport") -> None:
        if report.step == 1:
            bars.append(tqdm(total=report.steps, desc="denoising", unit="step"))
        bars[-1].update()
        if report.step == report.steps:
            bars[-1].close()

    try:
        yield on_step
    finally:
        for bar in bars:
            bar.close()


def _keeper(path: Path, request: "Request", config: "ModelConfig") -> Callable:
    """Writes the finished latents down before they are decoded, which needs the most memory of all."""
    from .latents_file import KeptLatents, write_latents
    from .types import Clip

    clip = Clip(request.frames, request.height, request.width, config.fps)

    def keep(denoised, sound: "Audio") -> None:
        names = tuple(request.faces)
        kept = KeptLatents(denoised.latents, denoised.masks, sound, clip, names, config.name, config.trained)
        write_latents(path, kept)
        _say(f"the latents are in {path} until the video is written; `decode` can take up from there")

    return keep


def _write(
    options: argparse.Namespace,
    video: "Video",
    masks: "Float[Tensor, 'n f H W'] | None",
    names: tuple[str, ...],
    config: "ModelConfig",
) -> None:
    from .overlay import overlay
    from .types import Video
    from .video_file import write_video

    comment = f"Bind-Your-Avatar, model {config.name}: {config.trained}"
    write_video(options.out, video, comment)
    print(f"wrote {options.out} ({config.trained})")
    if options.film and masks is not None:
        write_video(options.film, Video(overlay(video.frames, masks, names), video.fps, video.audio), comment)
        print(f"wrote {options.film} ({config.trained})")


def _write_picture(picture: "Image.Image", out: Path) -> None:
    """Whole or not at all."""
    unfinished = out.with_name(f".{out.name}.part")
    try:
        picture.save(unfinished, "png")
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
    print(f"wrote {out}")


def _setup(options: argparse.Namespace) -> "Setup":
    from .benchmark.experiments import MAIN, Setup

    _check_at_least_one(options, "scenes", "seeds", "steps", "workers")
    weights = [(name, file) for name, _, file in (given.partition("=") for given in options.weights)]
    _check_ablations(weights)
    if not all(map(math.isfinite, options.guidance)):
        raise ValueError(f"--guidance {' '.join(map(str, options.guidance))} is no pair of numbers; try 1 2.5")
    return Setup(
        ((MAIN, options.model), *weights),
        options.voices,
        options.steps,
        *options.guidance,
        options.scheduler,
        options.face_model,
        options.speech_model,
    )


def _check_ablations(weights: "Sequence[tuple[str, str]]") -> None:
    from .benchmark.conditions import CONDITIONS
    from .benchmark.experiments import MAIN

    known = sorted({told.model for told in CONDITIONS.values()} - {MAIN})
    for name, file in weights:
        if not file:
            raise ValueError(f"--weights {name} names no file; write NAME=FILE")
        if name not in known:
            raise ValueError(f"--weights {name}: no condition needs weights of that name; choose among {known}")
        if not Path(file).is_file():
            raise FileNotFoundError(f"--weights {name}: there is no file {file}")


@contextmanager
def _counting_films(runs: "Sequence[Run]") -> "Iterator[Callable[[str], None]]":
    from tqdm import tqdm

    with tqdm(total=sum(one.scenes * one.seeds for one in runs), unit="film", smoothing=0.05) as bar:

        def on_film(condition: str) -> None:
            bar.set_description(condition, refresh=False)
            bar.update()

        yield on_film


def _memory(config: "TrainingConfig", gpus: int) -> str:
    from .config import PRESETS
    from .training.memory import table
    from .types import Clip

    model = PRESETS[config.model]()
    clip = Clip(model.transformer.sample_frames, model.video.sample_height, model.video.sample_width, model.fps)
    return table(config, model, clip, gpus)


def _mendable(error: Exception) -> bool:
    """Running out of memory is a plain RuntimeError on some devices; any other one is a fault of ours."""
    return not isinstance(error, RuntimeError) or _is_of_memory(error)


def _is_of_memory(error: Exception) -> bool:
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(
        words in said for words in ("out of memory", "can't allocate memory", "cannot allocate memory")
    )


def _sentence(error: Exception) -> str:
    if _is_of_memory(error):
        return (
            f"out of memory ({str(error).splitlines()[0] if str(error) else 'no more to be had'}); choose fewer "
            "--frames, a smaller --width and --height, or --precision bfloat16"
        )
    return str(error.args[0]) if isinstance(error, KeyError) else str(error)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
