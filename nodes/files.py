"""Where models lie: ComfyUI's folders, the user's extra_model_paths included, and what of it is ours.

Nothing is downloaded and nothing but headers is read here: menus are built each time the frontend asks.
"""

import functools
import json
import struct
from pathlib import Path

import folder_paths

TINY = "tiny (built in)"
BEFORE_IT_WAS_TRAINED = "tiny (built in, untrained)"  # what older workflows call it
FACE_TRACKS = "face tracks (built in)"
BESIDE = "beside the weights"
KEY = "byav"
MODEL_KEYS = (KEY, "diffusion_models")
AUDIO_KEYS = (KEY, "audio_encoders")
FOLDER_KEYS = (KEY, "diffusers")
SEGMENTER_KEYS = (KEY, "sam2")
BUILT_IN = (TINY, BEFORE_IT_WAS_TRAINED, FACE_TRACKS, BESIDE)
WEIGHTS = {".safetensors", ".sft"}
FACE_WEIGHTS = "EVA02_CLIP_L_336_psz14_s6B"
OURS = "bind_your_avatar"  # where a file of ours keeps its configuration, in its metadata


def register_folders() -> None:
    """Makes models/byav known once, beside any folders the user's YAML gave for it; only safetensors are listed."""
    folder_paths.add_model_folder_path(KEY, str(Path(folder_paths.models_dir) / KEY))
    paths, _ = folder_paths.folder_names_and_paths[KEY]
    folder_paths.folder_names_and_paths[KEY] = (paths, set(WEIGHTS))


def model_choices() -> list[str]:
    files = [name for key in MODEL_KEYS for name in _files(key) if _is_ours(key, name)]
    return [TINY, *sorted(set(files)), *_folders(_holds_model, KEY)]


def face_encoder_choices() -> list[str]:
    return [TINY, *_folders(_holds_face_encoder, KEY)]


def audio_encoder_choices() -> list[str]:
    return [TINY, *_folders(_holds_wav2vec, *AUDIO_KEYS)]


def segmenter_choices() -> list[str]:
    return [FACE_TRACKS, *_folders(_holds_sam2, *SEGMENTER_KEYS)]


def companion_choices() -> list[str]:
    return [BESIDE, *_folders(_holds_companions, *FOLDER_KEYS)]


def locate(choice: str, *keys: str) -> Path:
    """The file or folder behind an entry of a menu. Raises FileNotFoundError naming every place searched."""
    searched = [Path(root) for key in keys if key in folder_paths.folder_names_and_paths for root in _roots(key)]
    inside = not Path(choice).is_absolute() and ".." not in Path(choice).parts
    for root in searched:
        if inside and (path := root / choice.rstrip("/")).exists():
            return path
    places = ", ".join(str(root) for root in searched)
    raise FileNotFoundError(f"{choice!r} is in none of the model folders ({places}); put it into one and press R")


def is_tiny(choice: str) -> bool:
    return choice in (TINY, BEFORE_IT_WAS_TRAINED)


def check_choice(choice: str | None, choices: list[str], *keys: str) -> bool | str:
    """True, or a sentence for the user: what is missing and where it was looked for."""
    if choice is None or choice in choices or is_tiny(choice):
        return True
    try:
        path = locate(choice, *keys)
    except FileNotFoundError as error:
        return str(error)
    return (
        f"{path} is damaged or not what this node loads (python -m byav_core inspect says what it is); choose another"
    )


def fingerprint(choice: str, *keys: str) -> tuple:
    """Changes when the file behind a choice is exchanged."""
    if choice in BUILT_IN:
        return (choice,)
    path = locate(choice, *keys)
    parts = sorted(path.rglob("*")) if path.is_dir() else [path]
    return tuple((str(part), part.stat().st_mtime_ns, part.stat().st_size) for part in parts if part.is_file())


def _roots(key: str) -> list[str]:
    return folder_paths.folder_names_and_paths[key][0]


def _files(key: str) -> list[str]:
    names = folder_paths.get_filename_list(key)
    return [name for name in names if Path(name).suffix.lower() in WEIGHTS]


def _folders(holds, *keys: str) -> list[str]:
    known = [key for key in keys if key in folder_paths.folder_names_and_paths]
    roots = [Path(root) for key in known for root in _roots(key)]
    found = (entry for root in roots if root.is_dir() for entry in root.iterdir() if entry.is_dir() and holds(entry))
    return sorted({f"{entry.name}/" for entry in found})


def _holds_model(folder: Path) -> bool:
    return any((folder / name / "config.json").is_file() for name in ("transformer", "transformer_ema"))


def _holds_companions(folder: Path) -> bool:
    return all((folder / name / "config.json").is_file() for name in ("text_encoder", "vae"))


def _holds_face_encoder(folder: Path) -> bool:
    places, endings = (folder, folder / "face_encoder"), (".pt", ".safetensors")
    return any((place / f"{FACE_WEIGHTS}{ending}").is_file() for place in places for ending in endings)


def _holds_wav2vec(folder: Path) -> bool:
    return _model_type(folder) == "wav2vec2"


def _holds_sam2(folder: Path) -> bool:
    return _model_type(folder).startswith("sam2")


def _model_type(folder: Path) -> str:
    """The kind of a folder in transformers' layout, "" for any other folder."""
    try:
        return str(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def _is_ours(key: str, name: str) -> bool:
    path = folder_paths.get_full_path(key, name)
    if path is None:
        return False
    stat = Path(path).stat()
    return OURS in _metadata(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=1024)
def _metadata(path: str, _modified: int, size: int) -> dict:
    """What a safetensors file says of itself in its header; {} when the header is not one."""
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(size, 100_000_000):
            return {}
        try:
            header = json.loads(file.read(length))
        except ValueError:
            return {}
    return header.get("__metadata__", {}) if isinstance(header, dict) else {}
