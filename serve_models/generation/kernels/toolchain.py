"""Finds what compiles GPU kernels on this machine, and what is compiled already.

FlashInfer (top-p and top-k sampling, attention on some devices) and DeepGEMM (fp8 checkpoints on
Hopper and newer) compile kernels with nvcc, a C++ compiler and ninja. vLLM takes both for granted:
without a compiler its engine ends in its first step. PyPI has nvcc in wheels, which the extra `gpu`
installs, but nothing looks for it there.
"""

import importlib.util
import re
import shutil
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_CUDA_HOME = Path("/usr/local/cuda")
_WHEELS = re.compile(r"cu(\d+)")
"""The folder in `nvidia` that wheels of CUDA 13 and newer unpack to, all into one."""
_PREBUILT = "flashinfer_jit_cache"
_CXX = ("c++", "g++", "clang++")


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """What a machine has.

    Attributes:
        cuda_home: The folder with ``bin/nvcc``; ``None`` if there is none.
        has_libraries: A linker finds CUDA's libraries there, as FlashInfer looks for them.
        has_cxx: A C++ compiler is there, which nvcc needs.
        has_prebuilt: FlashInfer's kernels are installed, compiled.
    """

    cuda_home: Path | None
    has_libraries: bool
    has_cxx: bool
    has_ninja: bool
    has_prebuilt: bool

    @property
    def compiles(self) -> bool:
        return not self.missing

    @property
    def missing(self) -> list[str]:
        """What a compilation lacks, by the name of what brings it."""
        lacks = {
            "nvcc (a CUDA toolkit, or the package nvidia-cuda-nvcc)": self.cuda_home is None,
            "what links with the wheels' CUDA (`python -m "
            "serve_models.generation.kernels.wheels_toolkit`)": self.cuda_home is not None
            and not self.has_libraries,
            "a C++ compiler (g++)": not self.has_cxx,
            "ninja": not self.has_ninja,
        }
        return [name for name, is_missing in lacks.items() if is_missing]


def find_toolchain(environment: Mapping[str, str], site: Path | None = None) -> Toolchain:
    """Look for compilers in ``environment``, on this machine and in the packages under ``site``.

    ``site`` is this Python's own if unset.
    """
    path = environment.get("PATH")
    site = site or Path(sysconfig.get_path("purelib"))
    ninja = shutil.which("ninja", path=path) or shutil.which("ninja", path=str(_scripts()))
    cuda_home = find_cuda_home(environment, site)
    return Toolchain(
        cuda_home=cuda_home,
        has_libraries=cuda_home is not None and is_complete(cuda_home),
        has_cxx=any(shutil.which(name, path=path) for name in _CXX),
        has_ninja=ninja is not None,
        has_prebuilt=importlib.util.find_spec(_PREBUILT) is not None,
    )


def find_cuda_home(
    environment: Mapping[str, str], site: Path, default: Path = DEFAULT_CUDA_HOME
) -> Path | None:
    """Return the CUDA toolkit that libraries would take, else that of wheels under ``site``."""
    named = environment.get("CUDA_HOME") or environment.get("CUDA_PATH")
    if named:
        return _with_nvcc(Path(named))
    nvcc = shutil.which("nvcc", path=environment.get("PATH"))
    if nvcc is not None:
        return Path(nvcc).resolve().parents[1]
    return _with_nvcc(default) or wheels_cuda_home(site)


def is_complete(cuda_home: Path) -> bool:
    """Return whether a linker finds what it looks for; a toolkit of a distribution's has it."""
    is_of_wheels = cuda_home.parent.name == "nvidia"
    return not is_of_wheels or (cuda_home / "lib64" / "libcudart.so").exists()


def wheels_cuda_home(site: Path) -> Path | None:
    """Return the toolkit that wheels have put under ``site``, of the newest CUDA if several."""
    numbered = {
        int(match[1]): folder
        for folder in (site / "nvidia").glob("cu*")
        if (match := _WHEELS.fullmatch(folder.name))
    }
    newest_first = (_with_nvcc(numbered[number]) for number in sorted(numbered, reverse=True))
    return next((home for home in newest_first if home is not None), None)


def kernel_environment(found: Toolchain, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with which an engine on a GPU starts with what was found.

    What an operator has set stays. Where nothing compiles, kernels that have to be are not used:
    slower, but running.
    """
    environment: dict[str, str] = {}
    if found.cuda_home is not None and found.cuda_home != DEFAULT_CUDA_HOME:
        environment["CUDA_HOME"] = str(found.cuda_home)
    if found.has_ninja:
        # FlashInfer runs it by its name.
        environment["PATH"] = _with_path(inherited.get("PATH", ""), str(_scripts()))
    if not found.compiles:
        environment["VLLM_USE_DEEP_GEMM"] = "0"
        if not found.has_prebuilt:
            environment["VLLM_USE_FLASHINFER_SAMPLER"] = "0"
    kept = {"CUDA_HOME", "VLLM_USE_DEEP_GEMM", "VLLM_USE_FLASHINFER_SAMPLER"} & set(inherited)
    return {name: value for name, value in environment.items() if name not in kept}


def told(found: Toolchain) -> str | None:
    """Return what to say of a toolchain that costs speed; ``None`` if it costs none."""
    if found.compiles:
        return None
    lacks = " and ".join(found.missing)
    if found.has_prebuilt:
        return f"no fp8 kernels of DeepGEMM: they are compiled here, and {lacks} is missing"
    return (
        "sampling without FlashInfer and no fp8 kernels of DeepGEMM: they are compiled here, and "
        f"{lacks} is missing; FlashInfer's come compiled with `vllm download-kernels`, too"
    )


def _with_nvcc(home: Path) -> Path | None:
    return home if (home / "bin" / "nvcc").is_file() else None


def _scripts() -> Path:
    return Path(sysconfig.get_path("scripts"))


def _with_path(path: str, folder: str) -> str:
    folders = path.split(":") if path else []
    return path if folder in folders else ":".join([folder, *folders])
