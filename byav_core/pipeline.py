"""From portraits, voices and a prompt to a video: one function per arrow of the data flow, and `generate`, all of them.

The functions take and give values; none keeps anything. ComfyUI's nodes call them one by one, so that its cache
recomputes only what changed.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from .config import ModelConfig, SpeechProjectorConfig
from .matrix import AudioCharacterMatrix, from_table, one_to_one
from .model.injection import with_strength
from .model.speech_projector import windows
from .network import Models, Network
from .protocols import (
    CharacterLocator,
    FaceEncoder,
    MaskRefiner,
    MaskSource,
    SpeechEncoder,
    TextEncoder,
    VideoSegmenter,
)
from .routing import FixedMask, RouterParts, make_router
from .sampling.guidance import Conditions, Guidance, Joint, Separate, passes_per_step  # noqa: F401 callers choose
from .sampling.latents import fit_frame, fit_message, noise_faces, reference_canvas, start_latents
from .sampling.sampler import Denoised, StepReport, cancellable, denoise
from .sampling.schedule import make_solver
from .sound import at_level, delayed, mixed
from .types import Audio, Character, Clip, FaceFeatures, Scene, SpeechStream, TokenGrid, Video, silence

OnStep = Callable[[StepReport], None]
CheckCancelled = Callable[[], None]
Place = Callable[..., AbstractContextManager]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Compute:
    """Where the network computes and in which precision; its weights may wait elsewhere and in another."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def of(cls, module: nn.Module) -> "Compute":
        first = next(module.parameters())
        return cls(first.device, first.dtype)

    def place(self, x: Tensor) -> Tensor:
        return x.to(self.device, self.dtype)


@dataclass(frozen=True)
class Prompt:
    """Text tokens of what to show, and of what guidance leads away from."""

    text: Float[Tensor, "1 l d"]
    negative: Float[Tensor, "1 l d"]


@dataclass(frozen=True)
class PreparedScene:
    """The clip's extent in pixels and in tokens, and its first frame at that size if there is one.

    note: what was done to the first frame to make it fit, for the user; empty if nothing.
    faces: where in it faces are hidden under noise, so that identity comes from the references alone, as in training;
    by default nowhere, as the released model samples.
    """

    clip: Clip
    grid: TokenGrid
    inpainting_frame: Float[Tensor, "3 H W"] | None = None
    note: str = ""
    faces: Float[Tensor, "H W"] | None = None

    def with_noise_on_faces(self, locator: CharacterLocator, cast: tuple[Character, ...]) -> "PreparedScene":
        """Raises ValueError without a first frame, and as the locator does."""
        if self.inpainting_frame is None:
            raise ValueError("noise on faces needs a first frame to put it on; give one, or leave the noise out")
        return replace(self, faces=locator(self.inpainting_frame, cast).amax(dim=0))

    def frame_to_encode(self, seed: int) -> Float[Tensor, "3 H W"] | None:
        """The first frame, its faces under noise where asked for; drawn apart from all other noise of the seed."""
        if self.inpainting_frame is None or self.faces is None:
            return self.inpainting_frame
        return noise_faces(self.inpainting_frame, self.faces, torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class SamplingSettings:
    """How to sample. audio_start, audio_end: fractions of the steps in which speech is guided. strength: how strongly
    speech moves each character, 1 if not given. stop_at_step ends early, with the clean latents foreseen by then."""

    seed: int = 0
    steps: int = 50
    scheduler: str = "dpm"
    guidance: Guidance = Joint()
    audio_start: float = 0.0
    audio_end: float = 1.0
    strength: tuple[float, ...] | None = None
    stop_at_step: int | None = None

    def __post_init__(self):
        if self.stop_at_step is not None and not 1 <= self.stop_at_step <= self.steps:
            raise ValueError(f"cannot stop after step {self.stop_at_step} of {self.steps}; choose 1 to {self.steps}")
        if not -(2**63) <= self.seed < 2**64:
            raise ValueError(f"the seed {self.seed} is beyond what a random generator takes; choose 0 to {2**64 - 1}")
        for what, values in (("guidance", vars(self.guidance).values()), ("strength", self.strength or ())):
            if wrong := [value for value in values if not math.isfinite(value)]:
                raise ValueError(f"a {what} of {wrong[0]} cannot be reckoned with; give a number, such as 1")


def add_character(
    cast: tuple[Character, ...],
    name: str,
    picture: Float[Tensor, "3 H W"],
    face_encoder: FaceEncoder,
    box: Box | None = None,
) -> tuple[Character, ...]:
    """The cast with one person more. `box` chooses a face in the picture; without it the largest counts.

    Raises ValueError when the name is empty or taken.
    """
    _check_new(name, [character.name for character in cast], "character")
    return (*cast, Character(name, picture, face_encoder(picture, box, f"the picture of {name}")))


def add_speech(
    streams: tuple[SpeechStream, ...],
    name: str,
    audio: Audio,
    speech_encoder: SpeechEncoder,
    fps: float,
    start_seconds: float = 0.0,
    loudness_db: float | None = None,
) -> tuple[SpeechStream, ...]:
    """The streams with one voice more, silent for `start_seconds` and then speaking.

    loudness_db: level to bring the sound to, RMS in dB below full scale (-20 is usual speech); None keeps it. What
    the network hears does not depend on it. Raises ValueError for an empty or taken name, for sound that is empty or
    not a number, and for a start before zero.
    """
    _check_new(name, [stream.name for stream in streams], "voice")
    audio.check(f"the sound of {name}")
    if not 0 <= start_seconds < math.inf:
        raise ValueError(f"{name} cannot start to speak at {start_seconds} seconds; choose 0 or later")
    quiet = _hidden_silence(speech_encoder, audio.sample_rate, fps)
    whole_frames = math.floor(start_seconds * fps + 1e-6)
    hidden = speech_encoder(delayed(audio, max(0.0, start_seconds - whole_frames / fps)), fps)
    hidden = torch.cat([repeat(quiet, "layers d -> f layers d", f=whole_frames), hidden])
    heard = delayed(audio if loudness_db is None else at_level(audio, loudness_db), start_seconds)
    return (*streams, SpeechStream(name, heard, hidden, quiet))


def encode_prompt(text_encoder: TextEncoder, prompt: str, negative: str = "") -> Prompt:
    return Prompt(text_encoder(prompt), text_encoder(negative))


def prepare_scene(
    config: ModelConfig,
    width: int,
    height: int,
    frames: int,
    first_frame: Float[Tensor, "3 H W"] | None = None,
    fit: str = "crop",
) -> PreparedScene:
    """The clip checked against what the model can hold, and the first frame at its size, never squeezed.

    fit: "crop" or "pad". Raises ValueError naming the nearest size or number of frames that fits.
    """
    clip = Clip(frames, height, width, config.fps)
    grid = clip.grid(config.pixels_per_token, config.frames_per_latent)
    if first_frame is None:
        return PreparedScene(clip, grid)
    fitted = fit_frame(first_frame, height, width, fit)
    return PreparedScene(clip, grid, fitted, fit_message(first_frame, height, width, fit))


@torch.no_grad()
def condition(
    models: Models,
    prompt: Prompt,
    cast: tuple[Character, ...],
    streams: tuple[SpeechStream, ...],
    matrix: AudioCharacterMatrix | None,
    clip: Clip,
    compute: Compute | None = None,
) -> Conditions:
    """All conditions of a generation. Face extractor and speech projector are used here and nowhere later.

    Without a matrix voices go one to one. Raises ValueError when the matrix is for other people or voices.
    """
    if not cast:
        raise ValueError("there is nobody in the cast; add a character with a reference face")
    network = models.network
    compute = compute or Compute.of(network.face_extractor)
    return Conditions(
        prompt=compute.place(prompt.text),
        negative=compute.place(prompt.negative),
        characters=network.encode_characters([_placed(character, compute) for character in cast]),
        speech=_speech(network, streams, clip, compute),
        no_speech=_speech(network, (), clip, compute).expand(1, max(1, len(streams)), -1, -1, -1),
        audio_to_character=compute.place(matrix_values(matrix, streams, cast)[None]),
        canvas=reference_canvas(tuple(character.features.crop for character in cast), clip.height, clip.width),
    )


def matrix_values(
    matrix: AudioCharacterMatrix | None, streams: tuple[SpeechStream, ...], cast: tuple[Character, ...]
) -> Float[Tensor, "m n"]:
    """A^ac in the order of streams and cast, one to one without a matrix; one silent row where nobody speaks.

    Raises ValueError when the matrix is for other people or voices.
    """
    voices, people = tuple(stream.name for stream in streams), tuple(character.name for character in cast)
    matrix = matrix or one_to_one(voices, people)
    for kind, of_matrix, here in (("voices", matrix.streams, voices), ("characters", matrix.characters, people)):
        if sorted(of_matrix) != sorted(here):
            raise ValueError(
                f"the Audio-Character Matrix is for the {kind} {', '.join(of_matrix) or 'none'}, but here are "
                f"{', '.join(here) or 'none'}; make the matrix from the same cast and streams"
            )
    rows, columns = [matrix.streams.index(name) for name in voices], [matrix.characters.index(name) for name in people]
    values = matrix.values[rows][:, columns]
    return values if len(streams) else torch.zeros(1, len(cast))


def hidden_windows(stream: SpeechStream, frames: int, config: SpeechProjectorConfig) -> Float[Tensor, "f w layers d"]:
    """The rows around every video frame. Before and after the sound it is silence that is heard.

    The released pipeline differs twice: it fills up with zeros, at the end only, and its first window begins with the
    sound, which is why it must cut the first window // 2 frames of the sound away afterwards; here video frame k
    hears the sound around frame k, from the first frame on.
    """
    margin = config.window // 2
    quiet = torch.zeros_like(stream.hidden[:1]) if stream.silence is None else stream.silence[None]
    sounding = stream.hidden[: frames + margin]
    after = frames + margin - len(sounding)
    rows = torch.cat([quiet.expand(margin, -1, -1), sounding, quiet.expand(after, -1, -1)])
    return windows(rows, margin, frames, config.window)


def plan_routing(
    name: str,
    models: Models,
    scene: PreparedScene,
    cast: tuple[Character, ...],
    *,
    masks: Float[Tensor, "n f H W"] | None = None,
    locator: CharacterLocator | None = None,
    segmenter: VideoSegmenter | None = None,
    refiner: MaskRefiner | None = None,
    coarse: Callable[[], Float[Tensor, "f 3 H W"]] | None = None,
) -> MaskSource:
    """The router of that name, planned for this scene. masks: given by hand, in the order of the cast.

    coarse: makes Post-Denoise's first pass; see `coarse_video`.
    """
    parts = RouterParts(models.network.router, locator, segmenter, refiner)
    return make_router(name, parts).plan(
        Scene(
            grid=scene.grid,
            names=tuple(character.name for character in cast),
            cast=cast,
            frames=scene.clip.frames,
            inpainting_frame=scene.inpainting_frame,
            given=masks,
            coarse_video=coarse,
        )
    )


@torch.no_grad()
def coarse_video(
    models: Models,
    prompt: Prompt,
    scene: PreparedScene,
    seed: int,
    steps: int,
    *,
    guidance_scale: float = 6.0,
    on_step: OnStep | None = None,
    check_cancelled: CheckCancelled | None = None,
    compute: Compute | None = None,
) -> Float[Tensor, "f 3 H W"]:
    """Post-Denoise's first pass: prompt and first frame only, no faces, no speech (§3.3.1 b).

    The same seed starts from the same noise as the pass that follows, so that people stand where they will stand.
    """
    settings = SamplingSettings(seed=seed, steps=steps, guidance=Joint(guidance_scale))
    nowhere = FixedMask(torch.zeros(1, 1, scene.grid.tokens))
    done = sample(
        models,
        scene,
        _nobody(models.config, prompt, scene.grid),
        nowhere,
        settings,
        on_step=on_step,
        check_cancelled=check_cancelled,
        compute=compute,
    )
    return decode(models, done.latents, check_cancelled)


@torch.no_grad()
def sample(
    models: Models,
    scene: PreparedScene,
    conditions: Conditions,
    masks: MaskSource,
    settings: SamplingSettings,
    *,
    on_step: OnStep | None = None,
    check_cancelled: CheckCancelled | None = None,
    compute: Compute | None = None,
) -> Denoised:
    """Noise to the video's latents. Uses the transformer, the masks' source and the video autoencoder's encoder.

    All noise is drawn on the CPU, so that a seed means the same video on every device.
    """
    transformer, config = models.network.transformer, models.config
    compute = compute or Compute.of(transformer)
    solver = make_solver(settings.scheduler, config.schedule, settings.steps)
    passes = passes_per_step(settings.guidance, settings.steps, settings.audio_start, settings.audio_end)
    if settings.strength is not None:
        spoken = with_strength(conditions.audio_to_character, settings.strength)
        conditions = replace(conditions, audio_to_character=spoken)
    generator = torch.Generator().manual_seed(settings.seed)
    pixels = config.video.spatial_compression_ratio
    extent = (scene.grid.t, config.video.latent_channels, scene.clip.height // pixels, scene.clip.width // pixels)
    with cancellable(models.video.module.modules(), check_cancelled):
        start = start_latents(models.video, extent, conditions.canvas, scene.frame_to_encode(settings.seed), generator)
    return denoise(
        transformer,
        start.to(compute.device),
        conditions.to(compute.device, compute.dtype),
        passes,
        masks,
        solver,
        generator,
        on_step=on_step,
        check_cancelled=check_cancelled,
        stop_at_step=settings.stop_at_step,
    )


def probe_masks(
    models: Models,
    scene: PreparedScene,
    conditions: Conditions,
    masks: MaskSource,
    settings: SamplingSettings,
    *,
    steps: int = 4,
    check_cancelled: CheckCancelled | None = None,
    compute: Compute | None = None,
) -> Float[Tensor, "n t h w"]:
    """Where a learned router sees everybody, read half way through a run of a few unguided steps."""
    brief = replace(settings, steps=steps, stop_at_step=math.ceil(steps / 2), guidance=Joint(1.0))
    return sample(models, scene, conditions, masks, brief, check_cancelled=check_cancelled, compute=compute).masks


@torch.no_grad()
def decode(
    models: Models, latents: Float[Tensor, "1 t c H W"], check_cancelled: CheckCancelled | None = None
) -> Float[Tensor, "f 3 H2 W2"]:
    """Latents to frames 0..1. Raises FloatingPointError rather than handing on frames that are not numbers."""
    with cancellable(models.video.module.modules(), check_cancelled):
        frames = models.video.decode(latents)[0]
    if not torch.isfinite(frames).all():
        raise FloatingPointError(
            "the video autoencoder returned values that are not numbers; load it in bfloat16 or float32 and decode "
            "the same latents again"
        )
    return frames


def masks_to_frames(masks: Float[Tensor, "n t h w"], clip: Clip) -> Float[Tensor, "n f H W"]:
    """Masks of tokens over the pixels of every frame: each frame takes the mask of its latent frame."""
    latent_frames = masks.shape[1]
    group = (clip.frames - 1) // (latent_frames - 1) if latent_frames > 1 else 1
    of_frame = torch.arange(clip.frames).add(group - 1).div(group, rounding_mode="floor")
    on_pixels = F.interpolate(masks.float(), (clip.height, clip.width), mode="bilinear", align_corners=False)
    return on_pixels[:, of_frame.to(masks.device)]


def mix(streams: tuple[SpeechStream, ...], clip: Clip) -> Audio:
    """All voices together for exactly the clip's duration, turned down only if their sum would clip."""
    return mixed(tuple(stream.audio for stream in streams), clip.frames / clip.fps)


@dataclass(frozen=True)
class Request:
    """What to film. faces, voices: by name, in order. table: who speaks with which voice, as
    `AudioCharacterMatrix` reads it; one to one without. masks: for the fixed router, in the order of the faces.
    noise_on_faces: hide the faces of the first frame, see `PreparedScene`."""

    faces: dict[str, Float[Tensor, "3 _ _"]]
    voices: dict[str, Audio]
    prompt: str
    width: int
    height: int
    frames: int
    negative: str = ""
    table: str | None = None
    first_frame: Float[Tensor, "3 _ _"] | None = None
    fit: str = "crop"
    router: str = "intra"
    masks: Float[Tensor, "n f H W"] | None = None
    noise_on_faces: bool = False
    settings: SamplingSettings = field(default_factory=SamplingSettings)


@dataclass(frozen=True)
class Perception:
    """The encoders and the ways to look that routers may need."""

    face_encoder: FaceEncoder
    speech_encoder: SpeechEncoder
    locator: CharacterLocator | None = None
    segmenter: VideoSegmenter | None = None
    refiner: MaskRefiner | None = None


@dataclass(frozen=True)
class Generated:
    """The video with its sound, and who was where in it."""

    video: Video
    masks: Float[Tensor, "n f H W"] | None


def generate(
    models: Models,
    perception: Perception,
    request: Request,
    *,
    on_step: OnStep | None = None,
    on_latents: Callable[[Denoised, Audio], None] | None = None,
    check_cancelled: CheckCancelled | None = None,
    place: Place = lambda *modules: nullcontext(),
) -> Generated:
    """Figure 2, from left to right.

    on_latents: told the finished latents and the sound before the risky step of decoding. place: puts modules where
    they shall compute for as long as its context lasts; by default they stay where they are.
    """
    network, settings = models.network, request.settings
    scene = prepare_scene(
        models.config, request.width, request.height, request.frames, request.first_frame, request.fit
    )
    with place(*perception.face_encoder.modules):
        cast: tuple[Character, ...] = ()
        for name, picture in request.faces.items():
            cast = add_character(cast, name, picture, perception.face_encoder)
        if request.noise_on_faces:
            scene = scene.with_noise_on_faces(perception.locator, cast)
    with place(*perception.speech_encoder.modules):
        streams: tuple[SpeechStream, ...] = ()
        for name, audio in request.voices.items():
            streams = add_speech(streams, name, audio, perception.speech_encoder, scene.clip.fps)
    matrix = _read_matrix(request.table, tuple(request.voices), tuple(request.faces))
    with place(models.text.module):
        prompt = encode_prompt(models.text, request.prompt, request.negative)
    with place(network.face_extractor, network.speech_projector):
        conditions = condition(models, prompt, cast, streams, matrix, scene.clip)
    with place(network.transformer, network.router, models.video.module):

        def coarse() -> Float[Tensor, "f 3 H W"]:
            return coarse_video(
                models, prompt, scene, settings.seed, settings.steps, on_step=on_step, check_cancelled=check_cancelled
            )

        masks = plan_routing(
            request.router,
            models,
            scene,
            cast,
            masks=request.masks,
            locator=perception.locator,
            segmenter=perception.segmenter,
            refiner=perception.refiner,
            coarse=coarse,
        )
        done = sample(models, scene, conditions, masks, settings, on_step=on_step, check_cancelled=check_cancelled)
    sound = mix(streams, scene.clip)
    if on_latents:
        on_latents(done, sound)
    with place(models.video.module):
        frames = decode(models, done.latents, check_cancelled)
    film = None if done.masks is None else masks_to_frames(done.masks, scene.clip)
    return Generated(Video(frames, scene.clip.fps, sound), film)


def _check_new(name: str, taken: list[str], kind: str) -> None:
    if not name.strip():
        raise ValueError(f"a {kind} needs a name, so that messages and tables can say who is meant")
    if name in taken:
        raise ValueError(f"there is a {kind} named {name} already; choose another name")


def _hidden_silence(speech_encoder: SpeechEncoder, sample_rate: int, fps: float) -> Float[Tensor, "layers d"]:
    """What the encoder hears in the middle of a few seconds of silence, away from its ends."""
    hidden = speech_encoder(silence(4.0, sample_rate), fps)
    return hidden[len(hidden) // 2]


def _placed(character: Character, compute: Compute) -> Character:
    features = character.features
    placed = FaceFeatures(
        identity=compute.place(features.identity),
        hidden=tuple(compute.place(hidden) for hidden in features.hidden),
        crop=features.crop,
        found=features.found,
    )
    return replace(character, features=placed)


def _speech(
    network: Network, streams: tuple[SpeechStream, ...], clip: Clip, compute: Compute
) -> Float[Tensor, "1 m t k d"]:
    """e_a of each stream over the clip. Without streams, e_a of one whose hidden states are zero."""
    config = network.speech_projector.config
    heard = [hidden_windows(stream, clip.frames, config) for stream in streams]
    heard = heard or [torch.zeros(clip.frames, config.window, config.layers, config.channels)]
    return rearrange(network.speech_projector(compute.place(torch.stack(heard))), "m t k d -> 1 m t k d")


def _read_matrix(table: str | None, voices: tuple[str, ...], people: tuple[str, ...]) -> AudioCharacterMatrix:
    return one_to_one(voices, people) if table is None else from_table(table, voices, people)


def _nobody(config: ModelConfig, prompt: Prompt, grid: TokenGrid) -> Conditions:
    """One character without a face or a voice, which with an empty mask is as good as nobody."""
    speech = torch.zeros(1, 1, grid.t, config.speech_projector.tokens, config.transformer.audio_dim)
    return Conditions(
        prompt=prompt.text,
        negative=prompt.negative,
        characters=torch.zeros(1, 1, config.face_extractor.queries, config.transformer.face_dim),
        speech=speech,
        no_speech=speech,
        audio_to_character=torch.zeros(1, 1, 1),
    )
