import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # appended: ComfyUI's own `nodes` module keeps priority


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Folder of the numbers that the released code produced."""
    return ROOT / "tests" / "vectors"


@pytest.fixture(scope="session")
def recipe():
    """The module that rebuilds the weights and inputs behind the vectors from seeds and key names."""
    spec = importlib.util.spec_from_file_location("recipe", ROOT / "tests" / "recipe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
