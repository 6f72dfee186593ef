"""What the machine's devices can do, for the modules that compute with torch."""

import threading
from concurrent.futures import ThreadPoolExecutor

import torch


def device_of(name: str) -> torch.device:
    """Return the device of a name: "auto" is a GPU where there is one. Raises ValueError with what to do."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {name!r}: not on this machine; use auto, cpu or cuda") from error
    return device


def multiplies_bf16(device: torch.device) -> bool:
    """Tell whether a device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def adds_in_32_bits() -> bool:
    """Tell whether this processor adds products of 8-bit numbers in 32 bits.

    VNNI and AMX do; AVX2 and the first AVX-512 add pairs of them in 16, and clamp what is too large.
    """
    has = torch.cpu.get_capabilities()
    return any(has.get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8"))


def lone_threads(name: str) -> tuple[ThreadPoolExecutor, int]:
    """Return threads each of which computes on one processor, and how many they are.

    Left to itself, torch shares every block among all processors, which then wait for each other some
    thousand times: 1.5 times slower.
    """
    count = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, name)
    all_there = threading.Barrier(count)

    def compute_alone(_: int) -> None:
        torch.get_num_threads()  # torch sets a thread up when first used, and would undo the next line
        torch.set_num_threads(1)
        all_there.wait()

    list(pool.map(compute_alone, range(count)))
    torch.set_num_threads(count)  # or threads that come later would be set up as these are
    return pool, count
