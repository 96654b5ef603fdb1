"""What compiles kernels is found, or done without: an engine on a GPU starts either way."""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_models.generation.engine_process import set_engine_environment
from serve_models.generation.kernels.toolchain import (
    Toolchain,
    find_cuda_home,
    find_toolchain,
    kernel_environment,
    told,
    wheels_cuda_home,
)
from serve_models.generation.kernels.wheels_toolkit import complete, completed
from tests.unit.serve_models.generation.test_placement import generator

ALL = Toolchain(
    cuda_home=Path("/site/nvidia/cu13"),
    has_libraries=True,
    has_cxx=True,
    has_ninja=True,
    has_prebuilt=False,
)


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def wheels(site: Path, cuda: str = "cu13") -> Path:
    """Make what the wheels of a CUDA release unpack to; return its home."""
    home = site / "nvidia" / cuda
    executable(home / "bin" / "nvcc")
    (home / "lib").mkdir()
    for name in ("libcudart.so.13", "libnvrtc.so.13", "libnvrtc-builtins.so.13.0"):
        (home / "lib" / name).touch()
    return home


def test_a_toolkit_of_the_machine_goes_before_that_of_the_wheels(tmp_path: Path) -> None:
    of_wheels = wheels(tmp_path)
    # Folders of single libraries, and a CUDA without nvcc.
    for name in ("cublas", "cudnn", "cu99"):
        (tmp_path / "nvidia" / name).mkdir()
    nvcc = executable(tmp_path / "cuda-12.9" / "bin" / "nvcc")
    named = executable(tmp_path / "named" / "bin" / "nvcc").parents[1]

    def found(**environment: str) -> Path | None:
        return find_cuda_home(environment, tmp_path, default=tmp_path / "none")

    assert found(PATH="/nowhere") == of_wheels
    of_machine = executable(tmp_path / "cuda" / "bin" / "nvcc").parents[1]
    assert find_cuda_home({"PATH": ""}, tmp_path, default=of_machine) == of_machine
    assert found(PATH=str(nvcc.parent)) == nvcc.parents[1]
    assert found(PATH=str(nvcc.parent), CUDA_HOME=str(named)) == named
    # What an operator has named wrongly is not replaced in silence.
    assert found(PATH="/nowhere", CUDA_HOME="/nowhere") is None


def test_the_newest_of_the_wheels_is_taken(tmp_path: Path) -> None:
    assert wheels_cuda_home(tmp_path) is None
    earlier = wheels(tmp_path, "cu13")
    assert wheels_cuda_home(tmp_path) == earlier
    newest = wheels(tmp_path, "cu100")
    assert wheels_cuda_home(tmp_path) == newest


def test_with_a_compiler_everything_is_used() -> None:
    environment = kernel_environment(ALL, {"PATH": "/bin"})

    assert environment["CUDA_HOME"] == "/site/nvidia/cu13"
    assert environment["PATH"].endswith(":/bin")
    assert not any(name.startswith("VLLM_USE") for name in environment)
    assert told(ALL) is None


@given(
    home=st.sampled_from([None, Path("/usr/local/cuda"), Path("/site/nvidia/cu13")]),
    has_libraries=st.booleans(),
    has_cxx=st.booleans(),
    has_ninja=st.booleans(),
    has_prebuilt=st.booleans(),
)
def test_nothing_is_used_that_neither_is_there_nor_compiles(
    home: Path | None, has_libraries: bool, has_cxx: bool, has_ninja: bool, has_prebuilt: bool
) -> None:
    found = Toolchain(
        cuda_home=home,
        has_libraries=has_libraries,
        has_cxx=has_cxx,
        has_ninja=has_ninja,
        has_prebuilt=has_prebuilt,
    )
    environment = kernel_environment(found, {"PATH": "/bin"})

    compiles = home is not None and has_libraries and has_cxx and has_ninja
    uses_sampler = environment.get("VLLM_USE_FLASHINFER_SAMPLER") != "0"
    assert uses_sampler == (has_prebuilt or compiles)
    assert (environment.get("VLLM_USE_DEEP_GEMM") != "0") == compiles
    assert (told(found) is None) == compiles


def test_what_an_operator_has_set_stays() -> None:
    own = {"VLLM_USE_FLASHINFER_SAMPLER": "1", "VLLM_USE_DEEP_GEMM": "1", "CUDA_HOME": "/own"}
    nothing = replace(ALL, cuda_home=None)

    assert not set(own) & set(kernel_environment(nothing, own))
    assert not set(own) & set(kernel_environment(ALL, own))


@pytest.mark.parametrize(
    ("lacking", "message"),
    [
        (replace(ALL, cuda_home=None), "nvcc"),
        (replace(ALL, has_cxx=False), "g++"),
        (replace(ALL, has_ninja=False), "ninja"),
        (replace(ALL, has_libraries=False), "wheels_toolkit"),
    ],
)
def test_what_is_missing_is_named(lacking: Toolchain, message: str) -> None:
    line = told(lacking)
    assert line is not None
    assert message in line
    assert "sampling without FlashInfer" in line
    compiled = told(replace(lacking, has_prebuilt=True))
    assert compiled is not None
    assert "FlashInfer" not in compiled


def test_the_wheels_toolkit_becomes_one_to_link_with(tmp_path: Path) -> None:
    home = wheels(tmp_path)
    environment = {"PATH": os.environ["PATH"], "CUDA_HOME": str(home)}
    before = find_toolchain(environment, tmp_path)
    assert not before.has_libraries

    made = complete(home, link_stub=lambda _target: False)

    assert made == ["lib64", "libcudart.so", "libnvrtc.so"]
    assert (home / "lib64" / "libcudart.so").resolve() == home / "lib" / "libcudart.so.13"
    assert find_toolchain(environment, tmp_path).has_libraries
    assert complete(home, link_stub=lambda _target: False) == []


def test_a_toolkit_that_may_not_be_written_is_left_and_not_linked_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = wheels(tmp_path)

    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError("read-only file system")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    found = completed(replace(ALL, cuda_home=home, has_libraries=False))

    assert not found.has_libraries
    assert not found.compiles


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_drivers_library_is_there_to_link_with_while_there_is_no_driver(tmp_path: Path) -> None:
    home = wheels(tmp_path)
    (home / "include").mkdir()
    (home / "include" / "cuda.h").write_text(
        "#define cuMemAlloc cuMemAlloc_v2\n"
        "/* \\sa ::cuInit (the first) */\n"
        "CUresult CUDAAPI cuInit(unsigned int flags);\n"
        "CUresult CUDAAPI cuMemAlloc(CUdeviceptr *dptr, size_t bytesize);\n"
        "typedef struct CUctx_st *CUcontext;\n"
    )
    assert "stubs/libcuda.so" in complete(home)

    kernel = tmp_path / "kernel.c"
    kernel.write_text(
        "int cuInit(int); int cuMemAlloc_v2(void);\n"
        "int start(void) { return cuInit(0) + cuMemAlloc_v2(); }\n"
    )
    output = tmp_path / "kernel.so"
    command = ["cc", "-shared", "-fPIC", str(kernel), "-o", str(output), "-Wl,--no-undefined"]
    subprocess.run([*command, f"-L{home}/lib64/stubs", "-lcuda"], check=True, timeout=300)
    assert b"libcuda.so.1" in output.read_bytes()


def test_a_replica_on_a_gpu_has_the_variables_and_one_on_a_cpu_has_not(tmp_path: Path) -> None:
    on_gpu, on_cpu = ({"PATH": "", "CUDA_HOME": str(tmp_path)} for _ in range(2))
    set_engine_environment(generator(num_gpus=1), on_gpu)
    set_engine_environment(generator(), on_cpu)

    assert on_gpu["VLLM_USE_DEEP_GEMM"] == "0"
    assert "VLLM_USE_DEEP_GEMM" not in on_cpu
