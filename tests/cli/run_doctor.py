#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""`hearth doctor` on copies of machines' /proc, /sys and /dev.  -l lists, -t GLOB chooses."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from harness import HEARTH, equal, has, run

GIB = 1 << 30
CARD = "sys/class/drm/card1/device/"

# A Strix Halo of 128 GB as it comes: firmware holds 32 GiB back, the GPU may map half of the rest.
FRESH = {
    "proc/sys/kernel/osrelease": "6.12.107+deb13-amd64\n",
    "proc/meminfo": "MemTotal:       98304000 kB\nMemFree:  90000000 kB\nMemAvailable:   94371840 kB\n"
                    "HugePages_Total:       0\nHugepagesize:       2048 kB\n",
    "proc/sys/kernel/io_uring_disabled": "0\n",
    "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
    "sys/kernel/mm/transparent_hugepage/shmem_enabled": "always within_size advise [never] deny force\n",
    CARD + "device": "0x1586\n",
    CARD + "mem_info_vram_total": "%d\n" % (32 * GIB),
    CARD + "mem_info_gtt_total": "%d\n" % (98304000 * 1024 // 2),
    CARD + "iommu_group/type": "DMA-FQ\n",
    CARD + "drm/renderD128/dev": "226:128\n",
    "sys/class/drm/card1-DP-1/status": "connected\n",
    "sys/module/udmabuf/parameters/size_limit_mb": "64\n",
    "dev/udmabuf": "",
    "dev/dri/renderD128": "",
}

# The same machine, set up.
TUNED = {
    **FRESH,
    "proc/meminfo": FRESH["proc/meminfo"].replace("98304000", "131072000"),
    CARD + "mem_info_vram_total": "%d\n" % (512 << 20),
    CARD + "mem_info_gtt_total": "%d\n" % (112 * GIB),
    CARD + "iommu_group/type": "identity\n",
    "sys/class/misc/hearth/limit_bytes": "%d\n" % (110 * GIB),
    "sys/class/misc/hearth/used_bytes": "%d\n" % (60 * GIB),
    "dev/hearth": "",
    "run/hearth/hearth.sock": "",
}


def doctor(files, closed=()):
    """(exit status, {about: finding})"""
    root = tempfile.mkdtemp(prefix="hearth-doctor-")
    os.chmod(root, 0o755)
    try:
        for path, text in files.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w") as f:
                f.write(text)
        if CARD + "device" in files:
            os.symlink("../../../bus/pci/drivers/amdgpu", os.path.join(root, CARD + "driver"))
        for path in closed:
            os.chmod(os.path.join(root, path), 0)
        command = [HEARTH, "doctor", "--root", root, "--json"]
        if closed and os.geteuid() == 0:        # root may open everything
            command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] + command
        p = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert p.returncode in (0, 1), (p.returncode, p.stderr)
        return p.returncode, {f["about"]: f for f in json.loads(p.stdout)["findings"]}
    finally:
        shutil.rmtree(root)


def machine_as_it_comes_is_told_what_to_set():
    code, found = doctor(FRESH)
    equal(code, 1)
    equal({a for a, f in found.items() if f["verdict"] == "fix"}, {"firmware split", "GPU mappings", "module"})
    has(found["firmware split"]["text"], "32.0 GiB")
    has(found["firmware split"]["advice"], "512 MiB")
    has(found["GPU mappings"]["text"], "46.9 GiB of the 93.8 GiB")
    # seven eighths of 98304000 KiB, in pages of 4 KiB
    has(found["GPU mappings"]["advice"], "ttm.pages_limit=21504000 ")
    has(found["module"]["advice"], "modprobe hearth")
    equal(found["IOMMU"]["verdict"], "note")
    has(found["IOMMU"]["advice"], "iommu=pt")
    has(found["udmabuf"]["text"], "64 MiB")
    has(found["shared memory"]["advice"], "shmem_enabled")
    equal(found["service"]["verdict"], "note")
    has(found["service"]["advice"], "run `hearthd`")
    has(doctor({**FRESH, "run/systemd/system/x": ""})[1]["service"]["advice"], "systemctl enable --now hearthd.socket")


def machine_that_is_set_up_has_nothing_to_fix():
    code, found = doctor(TUNED)
    equal(code, 0)
    equal({a: f["verdict"] for a, f in found.items()},
          dict.fromkeys(("kernel", "memory", "GPU", "firmware split", "GPU mappings", "module", "service"), "good"))
    has(found["module"]["text"], "110.0 GiB and take 60.0 GiB")
    has(found["GPU mappings"]["text"], "112.0 GiB")


def what_the_service_cannot_do_without_is_to_fix():
    _, found = doctor({**TUNED, "proc/sys/kernel/io_uring_disabled": "2\n", "proc/sys/kernel/osrelease": "5.15.0-1\n"})
    equal(found["io_uring"]["verdict"], "fix")
    has(found["io_uring"]["advice"], "kernel.io_uring_disabled=0")
    equal(found["kernel"]["verdict"], "fix")
    has(found["kernel"]["text"], "5.15.0-1")


def what_could_be_better_is_a_note():
    code, found = doctor({**TUNED, "sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]\n",
                          "sys/class/misc/hearth/limit_bytes": "%d\n" % (40 * GIB),
                          "proc/meminfo": TUNED["proc/meminfo"].replace("Total:       0", "Total:    5120")})
    equal(code, 0)
    equal({a for a, f in found.items() if f["verdict"] == "note"}, {"large pages", "module", "hugetlb"})
    has(found["hugetlb"]["text"], "10.0 GiB")
    has(found["module"]["advice"], "limit_percent")


def device_files_that_are_closed_name_the_group():
    code, found = doctor(TUNED, closed=("dev/hearth", "dev/dri/renderD128"))
    equal(code, 1)
    for about in ("module", "GPU"):
        equal(found[about]["verdict"], "fix")
        has(found[about]["advice"], "group render")


def card_of_another_kind_is_not_judged_as_an_apu():
    _, found = doctor({**FRESH, CARD + "device": "0x744c\n"})
    assert "firmware split" not in found and "GPU mappings" not in found and "IOMMU" not in found, found


def directory_that_holds_no_machine_is_refused():
    p = subprocess.run([HEARTH, "doctor", "--root", "/nonexistent"], capture_output=True, text=True)
    equal(p.returncode, 1)
    has(p.stderr, "/nonexistent/proc/meminfo cannot be read")


def this_machine_is_judged_in_words():
    p = subprocess.run([HEARTH, "doctor"], capture_output=True, text=True)
    assert p.returncode in (0, 1), p
    has(p.stdout, "memory")
    equal("Nothing to fix." in p.stdout, p.returncode == 0)


run([machine_as_it_comes_is_told_what_to_set, machine_that_is_set_up_has_nothing_to_fix,
     what_the_service_cannot_do_without_is_to_fix, what_could_be_better_is_a_note,
     device_files_that_are_closed_name_the_group, card_of_another_kind_is_not_judged_as_an_apu,
     directory_that_holds_no_machine_is_refused, this_machine_is_judged_in_words])
