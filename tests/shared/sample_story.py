"""What happened in the samples: the two stories, ordinary machines, and one awkward process of every kind."""

from __future__ import annotations

from typing import Any

from shared.sample_world import Host, Program, World, binary_document, md5_of, process_document

PROCMON64 = "b0a3ecc9eaa2521ddea2fc067785b84e"
PROCMON23 = "21bdf404d829667477160f3942f7159a"
GIT_MAC = "82a7bf2b1f51f1988be571b8176aa545"
GIT_HR = "3d485deffe2f74d0c15f1cb23086f936"

SDL = Host("SDL-DEV", 1, "windows", "workstation", "SDL-DEV\\lab", "10.20.1.11")
MAC = Host("host001", 2, "osx", "workstation", "dev1", "10.20.2.12")
HR = Host("HR-LT-017", 3, "windows", "workstation", "CORP\\hr.clerk", "10.20.3.17")
BUILD = Host("BUILD-01", 4, "windows", "server", "CORP\\svc-build", "10.20.4.10")
FIN = Host("FIN-WS-04", 5, "windows", "workstation", "CORP\\fin.analyst", "10.20.5.14")
LINUX = Host("LAB-LNX-02", 6, "linux", "server", "builder", "10.20.6.12")
KIOSK = Host("KIOSK-03", 7, "windows", "workstation", "KIOSK-03\\guest", "10.20.7.13")
DC = Host("SRV-DC-01", 8, "windows", "domain_controller", "SYSTEM", "10.20.8.10")
INTL = Host("INTL-WS-09", 9, "windows", "workstation", "CORP\\intl", "10.20.9.19")

SYSTEM32 = "c:\\windows\\system32\\"
RTL_NAME = "דוח שכר.exe"
OVERRIDE_NAME = "invoice\u202efdp.exe"
HTML_NAME = "<b onmouseover=alert(1)>run"
LONG_COMMAND = ("powershell.exe -NoProfile -EncodedCommand " + "QwBiAFMAaQBnAG4AZQBkAA" * 200)[:4000]
CATALOG = {"digsig_publisher": "Microsoft Windows", "digsig_sign_time": "2017-03-18T20:41:00Z"}
MICROSOFT = {
    "digsig_publisher": "Microsoft Corporation", "digsig_issuer": "Microsoft Code Signing PCA",
    "digsig_subject": "Microsoft Corporation", "digsig_sign_time": "2017-05-02T18:06:00Z",
    "company_name": "Sysinternals - www.sysinternals.com", "product_name": "Sysinternals Procmon",
}  # fmt: skip
STATUSES = {
    "signed": ("Signed", 0x00000000),
    "unsigned": ("Unsigned", 0x800B0100),
    "expired": ("Expired", 0x800B0101),
    "tampered": ("Bad Signature", 0x80096010),
    "malformed": ("Invalid Signature", 0x800B0003),
    "halfchain": ("Invalid Chain", 0x800B010A),
    "homemade": ("Untrusted Root", 0x800B0109),
    "distrusted": ("Explicit Distrust", 0x800B0111),
}
"""Tool on BUILD-01 → its status word and result code."""


def tell() -> World:
    """Return everything that happened on the day of the samples."""
    world = World()
    for part in (_sdl_dev, _host001, _hr, _build, _finance, _linux, _kiosk, _domain_controller, _international):
        part(world)
    for program in list(world.programs.values()):
        if program.host.os == "windows" and program.pid != 4 and any(
            e["process_guid"] == program.guid for e in world.events if e["type"].endswith("procstart")
        ):  # fmt: skip
            at = f"{program.start:%H:%M:%S}"
            for dll in ("ntdll.dll", "kernel32.dll"):
                world.load(program, SYSTEM32 + dll, md5_of(dll), at)
    world.events.sort(key=lambda e: e["timestamp"])
    return world


def binaries(world: World) -> list[dict[str, Any]]:
    """Return the binary documents that the server holds; what is missing here is meant to be missing."""
    docs = [
        binary_document(world, PROCMON64, "Signed", 0, **MICROSOFT, digsig_prog_name="Process Monitor"),
        binary_document(world, md5_of("procmon.exe"), "Signed", 0, **MICROSOFT, digsig_prog_name="Process Monitor"),
        binary_document(world, PROCMON23, "Signed", 0, **MICROSOFT, digsig_prog_name="procmon",
                        original_filename="procmon.sys", file_desc="Process Monitor Driver"),
        binary_document(world, GIT_MAC, "Signed", 0, digsig_publisher="Apple Inc.", digsig_subject="Software Signing",
                        digsig_issuer="Apple Code Signing Certification Authority", os_type="osx"),
        binary_document(world, md5_of("electron"), "Signed", 0, digsig_publisher="Microsoft Corporation",
                        os_type="osx"),
        binary_document(world, md5_of("code helper"), "Signed", 0, digsig_publisher="Microsoft Corporation",
                        os_type="osx"),
        binary_document(world, md5_of("launchd"), "(Unknown)", None, os_type="osx"),
        binary_document(world, GIT_HR, "Unsigned", 0x800B0100, product_name="Git", company_name="The Git Project"),
    ]  # fmt: skip
    for tool, (word, code) in STATUSES.items():
        about = {"digsig_publisher": f"Example {tool.capitalize()} Ltd", "digsig_issuer": "Example Code Signing CA 2",
                 "digsig_subject": f"Example {tool.capitalize()} Ltd", "digsig_sign_time": "2016-11-08T10:12:00Z",
                 "digsig_prog_name": f"Example {tool} tool"}  # fmt: skip
        docs.append(binary_document(world, md5_of(f"{tool}.exe"), word, code, **(about if tool != "unsigned" else {})))
    docs += [
        binary_document(world, md5_of("oddword.exe"), "Self-Signed", None),
        binary_document(world, md5_of("unchecked.exe"), "(Unknown)", None),
        binary_document(world, md5_of("disagree.exe"), "Signed", 0x800B0100, digsig_publisher="Example Tools Ltd"),
        binary_document(world, md5_of("catalogued.exe"), "Signed", 0, **CATALOG),
        binary_document(world, md5_of("bash"), "(Unknown)", None, os_type="linux"),
        binary_document(world, md5_of("example-agent.exe"), "Signed", 0, digsig_publisher="Example Build Ltd",
                        digsig_prog_name="Example Agent", digsig_sign_time="2017-01-20T09:00:00Z"),
        binary_document(world, md5_of("outlook.exe"), "Signed", 0, **{**MICROSOFT, "product_name": "Microsoft Office"},
                        digsig_prog_name="Microsoft Office"),
        binary_document(world, md5_of("salary report"), "Unsigned", 0x800B0100),
        binary_document(world, md5_of("not an invoice"), "Bad Signature", 0x80096010,
                        digsig_publisher="Example Stolen Ltd"),
        binary_document(world, md5_of("calc.exe"), "Signed", 0, **CATALOG),
    ]  # fmt: skip
    ordinary = ("system", "smss.exe", "wininit.exe", "services.exe", "svchost.exe", "winlogon.exe", "userinit.exe",
                "explorer.exe", "lsass.exe", "cmd.exe", "powershell.exe", "notepad.exe", "ntdll.dll",
                "kernel32.dll")  # fmt: skip
    company = {"company_name": "Microsoft Corporation", "product_name": "Microsoft® Windows® Operating System"}
    return docs + [binary_document(world, md5_of(name), "Signed", 0, **CATALOG, **company) for name in ordinary]


def documents(world: World) -> list[dict[str, Any]]:
    """Return the process documents that the server holds beside the events: roots, two segments, a loop."""
    svchost, loop_a, loop_b = (world.programs[key] for key in ("dc svchost", "loop a", "loop b"))
    later = svchost.segment + 600_000
    return [
        process_document(world.programs["launchd"], childproc_count=1),
        process_document(world.programs["systemd"], childproc_count=1),
        process_document(svchost, modload_count=3, netconn_count=2),
        process_document(svchost, segment_id=later, unique_id=f"{svchost.guid}-{later:012x}", modload_count=0,
                         filemod_count=5, last_update="2017-06-14T06:42:03.2Z"),
        process_document(loop_a, parent_id=loop_b.guid, parent_unique_id=f"{loop_b.guid}-000000000001",
                         parent_name=loop_b.name, parent_pid=loop_b.pid),
        process_document(loop_b),
    ]  # fmt: skip


def _boot(world: World, host: Host, at: str, *names: str) -> Program:
    """Start the ordinary processes of Windows; `at` is the minute of booting. Returns the last one named."""
    above = world.run(f"{host.name} system", host, 4, "system", None, f"{at}:02.015", "", user="SYSTEM")
    parents = {"wininit.exe": "smss.exe", "services.exe": "wininit.exe", "svchost.exe": "services.exe",
               "lsass.exe": "wininit.exe", "winlogon.exe": "smss.exe", "userinit.exe": "winlogon.exe",
               "explorer.exe": "userinit.exe"}  # fmt: skip
    for number, name in enumerate(names):
        parent = f"{host.name} {parents[name]}" if name in parents else above
        path = "c:\\windows\\explorer.exe" if name == "explorer.exe" else SYSTEM32 + name
        own = name in ("userinit.exe", "explorer.exe")
        above = world.run(
            f"{host.name} {name}", host, 300 + 116 * number + host.sensor * 4, path, parent,
            f"{at}:{5 + number * 3:02d}.{host.sensor}4", path, user=host.user if own else "SYSTEM",
        )  # fmt: skip
    return above


def _sdl_dev(world: World) -> None:
    """A signed tool drops a signed driver, loads it and removes it: procmon."""
    explorer = _boot(world, SDL, "06:31", "smss.exe", "wininit.exe", "services.exe", "svchost.exe", "winlogon.exe",
                     "userinit.exe", "explorer.exe")  # fmt: skip
    temp = "c:\\users\\lab\\appdata\\local\\temp\\procmon64.exe"
    first = world.run("procmon", SDL, 3816, "c:\\users\\lab\\downloads\\procmon.exe", explorer, "09:14:02.361",
                      '"C:\\Users\\lab\\Downloads\\Procmon.exe" ', end="09:31:40.2")  # fmt: skip
    for action, at in (("create", "09:14:03.1"), ("write", "09:14:03.12"), ("lastwrite", "09:14:03.18")):
        written = {"file_md5": PROCMON64.upper()} if action == "lastwrite" else {}
        world.file(first, action, temp, at, **written)
    second = world.run("procmon64", SDL, 3904, temp, first, "09:14:03.407",
                       '"C:\\Users\\lab\\AppData\\Local\\Temp\\Procmon64.exe" /originalpath '
                       '"C:\\Users\\lab\\Downloads\\Procmon.exe"', md5=PROCMON64, end="09:31:39.8")  # fmt: skip
    driver = SYSTEM32 + "drivers\\procmon23.sys"
    for action, at in (("create", "09:14:04.05"), ("write", "09:14:04.06"), ("lastwrite", "09:14:04.09")):
        written = {"file_md5": PROCMON23.upper()} if action == "lastwrite" else {}
        world.file(second, action, driver, at, **written)
    key = "\\registry\\machine\\system\\controlset001\\services\\procmon23"
    world.registry(second, "createkey", key, "09:14:04.2")
    world.registry(second, "writeval", f"{key}\\imagepath", "09:14:04.21")
    world.load(world.programs["SDL-DEV system"], driver, PROCMON23, "09:14:04.6")
    world.file(second, "delete", driver, "09:14:05.31")
    world.registry(second, "delkey", key, "09:14:05.33")
    signing = {"result": "Signed", "result_code": "0x00000000", "publisher": "Microsoft Corporation",
               "program_name": "Process Monitor", "issuer_name": "Microsoft Code Signing PCA",
               "subject_name": "Microsoft Corporation", "sign_time": "6:06 PM 5/2/2017"}  # fmt: skip
    world.module(SDL, PROCMON64, 1_302_704, "09:14:06", signing)
    world.module(SDL, PROCMON23, 95_136, "09:14:07", {**signing, "program_name": "procmon"})


def _host001(world: World) -> None:
    """A developer's editor runs git: signed, ordinary, many times a day."""
    world.run("launchd", MAC, 1, "/sbin/launchd", None, "06:02:10.1", user="root", recorded=False)
    app = "/Applications/Visual Studio Code.app/Contents/"
    code = world.run("electron", MAC, 412, f"{app}MacOS/Electron", "launchd", "08:50:21.744", label="electron")
    helper = world.run(
        "code helper", MAC, 431, f"{app}Frameworks/Code Helper.app/Contents/MacOS/Code Helper", code, "08:50:23.18",
        '"Code Helper" --type=renderer --extensions', label="code helper",
    )  # fmt: skip
    git = "/Library/Developer/CommandLineTools/usr/bin/git"
    world.run("git", MAC, 511, git, helper, "09:02:44.92", "git status -z -u", md5=GIT_MAC, end="09:02:45.3")
    world.run("git fetch", MAC, 514, git, helper, "09:05:44.01", "git fetch", md5=GIT_MAC, end="09:05:46.3")


def _hr(world: World) -> None:
    """The same name on a machine of the personnel department, unsigned, started out of the mail."""
    explorer = _boot(world, HR, "07:11", "smss.exe", "winlogon.exe", "userinit.exe", "explorer.exe")
    outlook = world.run("outlook", HR, 2764, "c:\\program files\\microsoft office\\office16\\outlook.exe", explorer,
                        "08:31:12.5", '"C:\\Program Files\\Microsoft Office\\Office16\\OUTLOOK.EXE"')  # fmt: skip
    path = "c:\\users\\hr.clerk\\appdata\\local\\temp\\git.exe"
    world.file(outlook, "create", path, "09:41:07.9")
    git = world.run("git hr", HR, 5120, path, outlook, "09:41:09.233", "git.exe clone https://git.example.test/cv .git",
                    md5=GIT_HR)  # fmt: skip
    world.connect(git, "git.example.test", "203.0.113.24", 443, "09:41:10.1")
    world.run("cmd hr", HR, 5188, SYSTEM32 + "cmd.exe", git, "09:41:12.02", "cmd.exe /c whoami /all",
              end="09:41:12.4")  # fmt: skip


def _build(world: World) -> None:
    """A build agent runs one tool for each of the EDR's eight words: children and siblings."""
    _boot(world, BUILD, "05:59", "smss.exe", "wininit.exe", "services.exe")
    agent = world.run("agent", BUILD, 1632, "c:\\agent\\example-agent.exe", "BUILD-01 services.exe", "06:01:00.3",
                      "example-agent.exe --service")  # fmt: skip
    for number, tool in enumerate(STATUSES):
        world.run(tool, BUILD, 4100 + 12 * number, f"c:\\build\\tools\\{tool}.exe", agent, f"10:0{number}:15.{number}5",
                  f"{tool}.exe --step {number + 1}", end=f"10:0{number}:48.2")  # fmt: skip


def _finance(world: World) -> None:
    """Five ways of not knowing, each with another reason."""
    explorer = _boot(world, FIN, "07:02", "smss.exe", "winlogon.exe", "userinit.exe", "explorer.exe")
    for number, name in enumerate(("oddword", "unchecked", "disagree", "norecord", "catalogued")):
        world.run(name, FIN, 6200 + 8 * number, f"c:\\finance\\{name}.exe", explorer, f"10:2{number}:30.{number}1")
    contradicted = md5_of("catalogued.exe")
    world.saw(contradicted, "c:\\finance\\catalogued.exe", SDL)
    world.module(FIN, contradicted, 214_016, "10:24:31", {"result": "Unsigned", "result_code": "0x800b0100"})


def _linux(world: World) -> None:
    """A build on Linux, twelve ancestors deep, where signatures are not evaluated."""
    above: Any = world.run("systemd", LINUX, 1, "/usr/lib/systemd/systemd", None, "04:00:01.2", user="root",
                           recorded=False)  # fmt: skip
    steps = ("sbin/sshd", "sbin/sshd", "bin/bash", "bin/make", "bin/bash", "bin/make", "bin/bash", "bin/ninja",
             "bin/bash", "bin/g++", "bin/collect2", "bin/ld")  # fmt: skip
    for number, step in enumerate(steps):
        path = f"/usr/{step}"
        above = world.run(
            f"linux {number}", LINUX, 20_100 + number, path, above, f"10:40:{10 + number:02d}.{number:03d}",
            f"{path} -step {number}", user="root" if number < 2 else "builder",
        )  # fmt: skip
    world.run("html", LINUX, 20_400, f"/srv/{HTML_NAME}", "linux 2", "10:44:00.5",
              f"/srv/{HTML_NAME} '| `id` |'", label="html")  # fmt: skip


def _kiosk(world: World) -> None:
    """Recorded from noon only, and with pids used again: orphan, unknown parent, reused pid, loop."""
    lost = world.run("lost", KIOSK, 1480, "c:\\windows\\explorer.exe", None, "06:10:00.2", recorded=False).guid
    world.run("orphan", KIOSK, 2100, SYSTEM32 + "notepad.exe", lost, "11:02:05.5", "notepad.exe todo.txt")
    world.run("parentless", KIOSK, 2140, SYSTEM32 + "cmd.exe", KIOSK.unknown_parent, "11:04:05.5", "cmd.exe")
    world.run("first", KIOSK, 2288, SYSTEM32 + "notepad.exe", "orphan", "11:10:00.1", "notepad.exe a.txt",
              end="11:12:00.4")  # fmt: skip
    world.run("second", KIOSK, 2288, SYSTEM32 + "calc.exe", "orphan", "11:30:00.7", "calc.exe")
    late = world.run(
        "late", KIOSK, 2600, SYSTEM32 + "powershell.exe", "orphan", "11:45:00.9", "powershell.exe -File x.ps1"
    )
    world.run("early", KIOSK, 2580, SYSTEM32 + "cmd.exe", late.guid, "11:15:00.3", "cmd.exe /c dir")
    inner = world.run("loop b", KIOSK, 2912, "c:\\kiosk\\watchdog.exe", None, "11:50:01.2", recorded=False)
    outer = world.run("loop a", KIOSK, 2908, "c:\\kiosk\\launcher.exe", inner, "11:50:01.5", recorded=False)
    world.run("loop b", KIOSK, 2912, "c:\\kiosk\\watchdog.exe", outer, "11:50:01.2", recorded=False)


def _domain_controller(world: World) -> None:
    """An ordinary server, one service of which has two segments."""
    _boot(world, DC, "06:30", "smss.exe", "wininit.exe", "services.exe", "lsass.exe")
    world.run("dc svchost", DC, 948, SYSTEM32 + "svchost.exe", "SRV-DC-01 services.exe", "06:31:02.62",
              "svchost.exe -k netsvcs", user="SYSTEM")  # fmt: skip


def _international(world: World) -> None:
    """Names that turn, and a command line that does not end."""
    explorer = _boot(world, INTL, "07:40", "smss.exe", "winlogon.exe", "userinit.exe", "explorer.exe")
    shell = world.run("long", INTL, 7100, SYSTEM32 + "powershell.exe", explorer, "11:20:00.25", LONG_COMMAND)
    folder = "c:\\users\\intl\\downloads\\"
    world.run("rtl", INTL, 7140, folder + RTL_NAME, shell, "11:21:00.5", label="salary report")
    world.run("override", INTL, 7180, folder + OVERRIDE_NAME, explorer, "11:22:00.75", label="not an invoice")
