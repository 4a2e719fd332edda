"""Runs code for x86-64 CPUs with AVX-512 and VNNI under Bochs, on a machine without an operating system.

The BIOS ROM is ours: it turns the CPU to 64 bits with all vector registers enabled, reads memory and code from a disk,
calls the code and stops at a breakpoint, where Bochs's debugger writes the memory to a file.
"""

from __future__ import annotations

import functools
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from string import Template

from llvmlite import binding

from magicmind.codegen import elf
from magicmind.codegen.llvm import target_machine
from magicmind.codegen.target import TARGETS, Target

MODELS = {
    "alderlake": "corei7_icelake_u",  # whose VNNI has AVX-512's encoding only: testing/evex.py
    "x86-64-v4": "corei7_skylake_x",
    "cascadelake": "corei7_icelake_u",
    "sapphirerapids": "corei7_icelake_u",
}
"""Bochs's CPU for each target that it runs; code that this CPU lacks instructions for does not get past them."""

_ROM_BYTES, _BOOT = 1 << 16, 0xF000
_SECTOR, _CYLINDER = 512, 16 * 63 * 512
_TIMEOUT = 600

_BOOT_CODE = Template("""
.code16
boot:
  cli
  lgdtl %cs:(gdtr - boot + $boot)
  movl $$1, %eax                         # protected mode
  movl %eax, %cr0
  ljmpl $$8, $$(0xffff0000 + $boot + protected - boot)
.code32
protected:
  movl $$16, %eax
  movl %eax, %ds
  movl %eax, %es
  movl %eax, %ss
  movl $$0x2003, 0x1000                  # addresses are what they are: four pages of 1 GiB
  movl $$0x00000083, 0x2000
  movl $$0x40000083, 0x2008
  movl $$0x80000083, 0x2010
  movl $$0xc0000083, 0x2018
  movl $$0x1000, %eax
  movl %eax, %cr3
  movl $$0x40620, %eax                   # PAE, OSFXSR, OSXMMEXCPT, OSXSAVE
  movl %eax, %cr4
  movl $$0xc0000080, %ecx                # EFER.LME
  rdmsr
  orl $$0x100, %eax
  wrmsr
  movl $$0x80000033, %eax                # paging, x87 exceptions, ET, MP; caches on
  movl %eax, %cr0
  ljmpl $$24, $$(0xffff0000 + $boot + long - boot)
.code64
long:
  movl $$13, %eax                        # XCR0: x87, SSE, AVX, AVX-512 as far as the CPU has them
  xorl %ecx, %ecx
  cpuid
  andl $$0xe7, %eax
  xorl %ecx, %ecx
  xorl %edx, %edx
  xsetbv
  movl $$$address, %edi
  xorl %ebx, %ebx
sector:                                  # ATA, programmed input: sector ebx to rdi
  movl $$1, %eax
  movw $$0x1f2, %dx
  outb %al, %dx
  movl %ebx, %eax
  incl %edx
  outb %al, %dx
  shrl $$8, %eax
  incl %edx
  outb %al, %dx
  shrl $$8, %eax
  incl %edx
  outb %al, %dx
  shrl $$8, %eax
  orl $$0xe0, %eax
  incl %edx
  outb %al, %dx
  movl $$0x20, %eax
  incl %edx
  outb %al, %dx
busy:
  inb %dx, %al
  andl $$0x88, %eax
  cmpl $$8, %eax
  jne busy
  movw $$0x1f0, %dx
  movl $$256, %ecx
  rep insw
  incl %ebx
  cmpl $$$sectors, %ebx
  jne sector
  movl $$0x800000, %esp                  # the stack grows down from 8 MiB
  movl $$$entry, %eax
  callq *%rax
  xchgw %bx, %bx                         # Bochs's breakpoint
stop:
  hlt
  jmp stop
.balign 8
gdt:
  .quad 0
  .quad 0x00cf9b000000ffff
  .quad 0x00cf93000000ffff
  .quad 0x00af9b000000ffff
gdtr:
  .word 31
  .long 0xffff0000 + $boot + gdt - boot
""")

_MACHINE = Template("""
config_interface: textconfig
display_library: rfb, options="timeout=0"
plugin_ctrl: biosdev=0, speaker=0, parallel=0, serial=0, gameport=0
cpu: model=$model, count=1, ips=1000000, reset_on_triple_fault=0
memory: guest=512, host=512
romimage: file=$folder/rom
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, path=$folder/disk, mode=flat, cylinders=$cylinders, heads=16, spt=63
magic_break: enabled=1
panic: action=fatal
log: $folder/log
""")


@functools.cache
def bochs() -> str | None:
    """Path of Bochs with its debugger (Debian: package bochs); None when it is not installed or this is no x86-64.

    The boot code is assembled by LLVM, which has an assembler for this machine only.
    """
    path = shutil.which("bochs-bin") or shutil.which("bochs")
    if path is None or platform.machine() != "x86_64":
        return None
    usage = subprocess.run([path, "--help"], capture_output=True, text=True, timeout=60, check=False)
    return path if "-rc" in usage.stdout + usage.stderr else None


def run(image: bytes, address: int, entry: int, size: int, target: Target) -> bytes:
    """Calls `void entry()` with the image at `address`, and returns what is left of its first `size` bytes.

    Raises RuntimeError with Bochs's last words, the faulting instruction among them, when the code crashes.
    """
    emulator = bochs()
    if emulator is None:
        raise RuntimeError("bochs with its debugger is not installed")
    sectors = -(-len(image) // _SECTOR)
    cylinders = -(-len(image) // _CYLINDER)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rom").write_bytes(_rom(address, sectors, entry))
        (folder / "disk").write_bytes(image.ljust(cylinders * _CYLINDER, b"\0"))
        settings = {"model": MODELS[target.name], "folder": name, "cylinders": cylinders}
        (folder / "machine").write_text(_MACHINE.substitute(settings))
        (folder / "commands").write_text(f'c\nwritemem "{name}/result" {address:#x} {size}\nquit\n')
        command = [emulator, "-q", "-f", f"{name}/machine", "-rc", f"{name}/commands"]
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
        result = folder / "result"
        if not result.exists():
            raise RuntimeError(f"{target.name} under bochs: {ended.stdout[-600:]}")
        return result.read_bytes()


def _rom(address: int, sectors: int, entry: int) -> bytes:
    """The ROM whose last byte is the last of the first 4 GiB; the CPU starts 16 bytes before its end."""
    text = _BOOT_CODE.substitute(boot=_BOOT, address=address, sectors=sectors, entry=entry)
    boot = _assemble(text)
    jump = b"\xe9" + ((_BOOT - (0xFFF0 + 3)) & 0xFFFF).to_bytes(2, "little")
    rom = bytes(_BOOT) + boot
    return (rom.ljust(_ROM_BYTES - 16, b"\0") + jump).ljust(_ROM_BYTES, b"\0")


def _assemble(text: str) -> bytes:
    machine = target_machine(TARGETS["x86-64-v2"])
    binding.initialize_native_asmparser()
    lines = "\n".join(f'module asm "{line}"' for line in text.splitlines())
    module = binding.parse_assembly(f'target triple = "{machine.triple}"\n{lines}')
    sections = elf.read_object(bytes(machine.emit_object(module))).sections
    return next(section.data for section in sections if section.name == ".text")
