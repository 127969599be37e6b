using System.Net;
using System.Net.Sockets;

using Cowork.Application;

using Microsoft.Extensions.Logging.Abstractions;

namespace Cowork.Kernels.Tests;

/// <summary>What a cell cannot reach.</summary>
public sealed class SandboxSpecs(RealKernel kernel) : IClassFixture<RealKernel>
{
    const string Marked = "marked-secret-4711";

    /// <summary>A call of libc that must fail, as Python writes it.</summary>
    const string Libc = "import ctypes, os, errno\nlibc = ctypes.CDLL(None, use_errno=True)\ndef call(f, *a):\n    r = f(*a)\n    return errno.errorcode[ctypes.get_errno()] if r == -1 else r\n";

    [Theory]
    [InlineData("call(libc.unshare, 0x10000000)", "'EPERM'")] // a user namespace, in which it would be root
    [InlineData("call(libc.unshare, 0x20000)", "'EPERM'")]
    [InlineData("call(libc.syscall, 56, 0x10000000 | 17, 0, 0, 0, 0)", "'EPERM'")] // clone into one
    [InlineData("call(libc.syscall, 435, 0, 0)", "'ENOSYS'")] // clone3
    [InlineData("call(libc.mount, b'none', b'/tmp', b'tmpfs', 0, None)", "'EPERM'")]
    [InlineData("call(libc.umount2, b'/proc', 2)", "'EPERM'")]
    [InlineData("call(libc.chroot, b'/tmp')", "'EPERM'")]
    [InlineData("call(libc.ptrace, 16, 1, 0, 0)", "'EPERM'")] // attach to the bridge
    [InlineData("call(libc.syscall, 310, 1, 0, 0, 0, 0, 0)", "'EPERM'")] // process_vm_readv
    [InlineData("call(libc.setuid, 0)", "'EINVAL'")] // the sandbox has no such user
    [InlineData("call(libc.setgroups, 0, None)", "'EPERM'")]
    [InlineData("call(libc.memfd_create, b'x', 0)", "'ENOSYS'")]
    [InlineData("call(libc.shmget, 0, 1 << 20, 0o600)", "'EPERM'")]
    [InlineData("call(libc.syscall, 321, 0, 0, 0)", "'EPERM'")] // bpf
    [InlineData("call(libc.syscall, 425, 8, 0)", "'EPERM'")] // io_uring_setup
    [InlineData("call(libc.syscall, 250, 0, 0, 0, 0, 0)", "'EPERM'")] // keyctl
    [InlineData("call(libc.socket, 40, 1, 0)", "'EAFNOSUPPORT'")] // AF_VSOCK, which no network namespace holds back
    [InlineData("call(libc.socket, 17, 3, 0)", "'EAFNOSUPPORT'")] // AF_PACKET
    [InlineData("call(libc.socket, 38, 5, 0)", "'EAFNOSUPPORT'")] // AF_ALG
    public async Task Calls_that_lead_out_are_refused(string call, string error) => Assert.Equal(error, (await kernel.Run(Libc + call)).Succeeded().Result);

    [Fact]
    public async Task A_cell_cannot_become_another_user()
    {
        var run = await kernel.Run(
            """
            import os, subprocess
            status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
            os.getuid(), subprocess.run(["su", "-c", "id"], capture_output=True).returncode != 0, status["CapEff"].strip(), status["NoNewPrivs"].strip()
            """);
        Assert.Equal("(1000, True, '0000000000000000', '1')", run.Result);
    }

    [Fact]
    public async Task A_sandbox_of_root_is_not_roots()
    {
        (await kernel.Run("open('mine', 'w').close()")).Succeeded();
        var (entry, _) = GrantedEntry.Open(Grants.Of(Grant.Of(kernel.Folder)), "mine", makeFolders: false);
        using (entry)
        {
            Assert.Equal(GrantedFolder.IsRoot, !File.ReadAllText("/proc/self/status").Contains($"Uid:\t{await UserOf()}\t", StringComparison.Ordinal));
        }

        async Task<string> UserOf()
        {
            using var stat = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("stat", ["-c", "%u", kernel.In("mine")]) { RedirectStandardOutput = true })!;
            return (await stat.StandardOutput.ReadToEndAsync()).Trim();
        }
    }

    [Fact]
    public async Task Nothing_of_the_hosts_environment_and_processes_can_be_seen()
    {
        Environment.SetEnvironmentVariable("COWORK_MARKED", Marked);
        await using var later = await RealKernel.Start();
        var run = await later.Run(
            $$"""
            import os, glob
            seen = [os.environ.get("COWORK_MARKED")]
            for path in glob.glob("/proc/*/environ") + glob.glob("/proc/*/cmdline") + glob.glob("/proc/*/task/*/environ"):
                try:
                    seen.append(open(path, "rb").read().decode(errors="replace"))
                except OSError:
                    pass
            def of_the_bridge(name):
                try:
                    return os.listdir(name) if os.path.isdir(name) else open(name, "rb").read(1)
                except PermissionError:
                    return "denied"
            print(any("{{Marked}}".replace("k-", "k-") in str(s) for s in seen if "of_the_bridge" not in str(s)))
            print(sorted(p for p in os.listdir("/proc") if p.isdigit())[:1], len([p for p in os.listdir("/proc") if p.isdigit()]))
            print([of_the_bridge(f"/proc/1/{n}") for n in ("environ", "mem", "fd", "maps", "cwd", "map_files")])
            """);
        Assert.Equal("False\n['1'] 2\n['denied', 'denied', 'denied', 'denied', 'denied', 'denied']\n", run.Succeeded().Output);
    }

    [Fact]
    public async Task The_bridge_cannot_be_killed_from_inside()
    {
        (await kernel.Run("import os, signal\nfor s in signal.valid_signals():\n    try: os.kill(1, s)\n    except OSError: pass")).Succeeded();
        Assert.Equal("2", (await kernel.Run("1 + 1")).Result);
    }

    [Fact]
    public async Task Processes_of_the_host_cannot_be_named()
    {
        var run = await kernel.Run($"import os\nfound = []\nfor pid in ({Environment.ProcessId}, {kernel.ProcessId}):\n    try: os.kill(pid, 0); found.append(pid)\n    except ProcessLookupError: pass\nfound");
        Assert.Equal("[]", run.Result);
    }

    [Fact]
    public async Task There_is_no_network()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var port = ((IPEndPoint)listener.LocalEndpoint).Port;
        var run = await kernel.Run(
            $$"""
            import socket, urllib.request
            def reach(f):
                try:
                    f()
                    return "reached"
                except OSError as e:
                    return type(e).__name__
            print(reach(lambda: socket.create_connection(("127.0.0.1", {{port}}), 2)))
            print(reach(lambda: socket.create_connection(("127.0.0.1", 5432), 2)))
            print(reach(lambda: socket.create_connection(("169.254.169.254", 80), 2)))
            print(reach(lambda: socket.create_connection(("1.1.1.1", 53), 2)))
            print(reach(lambda: socket.getaddrinfo("example.com", 80)))
            print(reach(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("8.8.8.8", 53))))
            print([n for _, n in socket.if_nameindex()])
            """);
        Assert.Equal("ConnectionRefusedError\nConnectionRefusedError\nOSError\nOSError\ngaierror\nOSError\n['lo']\n", run.Succeeded().Output);
        Assert.False(listener.Pending());
    }

    [Fact]
    public async Task Sockets_of_the_host_that_have_no_file_cannot_be_reached()
    {
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint("\0cowork-kernels-spec"));
        listener.Listen();
        Assert.Equal("111", (await kernel.Run("import socket\nsocket.socket(socket.AF_UNIX).connect_ex('\\0cowork-kernels-spec')")).Result);
    }

    [Fact]
    public async Task Nothing_but_the_workspace_and_scratch_can_be_written()
    {
        var run = await kernel.Run(
            """
            import os
            wrote = []
            for path in ("/", "/usr", "/usr/lib/python3", "/etc", "/dev", "/dev/pts", "/proc", "/proc/sys/kernel", "/run/..", "/usr/bin"):
                try:
                    open(os.path.join(path, "made"), "w").close()
                    wrote.append(path)
                except OSError:
                    pass
            for path in ("/bridge.py", "/etc/passwd", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/1/oom_score_adj", "/usr/bin/python3"):
                try:
                    open(path, "a").close()
                    wrote.append(path)
                except OSError:
                    pass
            wrote
            """);
        Assert.Equal("[]", run.Succeeded().Result);
    }

    [Fact]
    public async Task Files_of_the_host_cannot_be_read_not_even_through_links()
    {
        var outside = Directory.CreateTempSubdirectory("cowork-outside-");
        await File.WriteAllTextAsync(Path.Combine(outside.FullName, "secret"), Marked);
        File.CreateSymbolicLink(kernel.In("link"), Path.Combine(outside.FullName, "secret"));
        File.CreateSymbolicLink(kernel.In("folder"), outside.FullName);
        var run = await kernel.Run(
            $$"""
            import os
            read = []
            os.path.lexists("own") or os.symlink("../../../../../../etc/shadow", "own")
            for path in ("link", "folder/secret", "own", "{{outside.FullName}}/secret", "/etc/shadow", "/etc/hostname", "/etc/hosts", "/root", "/home", "/var", "/proc/1/root", "/proc/kcore",
                         "{{AppContext.BaseDirectory}}", "{{kernel.Folder}}", "/sys", "/mnt", "/oldroot", "/newroot"):
                try:
                    read.append((path, os.listdir(path) if os.path.isdir(path) else open(path).read()))
                except OSError:
                    pass
            read
            """);
        Assert.Equal("[]", run.Succeeded().Result);
        outside.Delete(recursive: true);
    }

    [Fact]
    public async Task A_folder_below_usr_can_be_hidden()
    {
        using var kernels = new SandboxedKernels(["/usr/share/doc"], TimeProvider.System, NullLogger<SandboxedKernels>.Instance);
        await using var started = await kernels.Start(new(Grants.Of(Grant.Of(kernel.Folder)), KernelLimits.Default), CancellationToken.None);
        Assert.Equal("[]", new CellRun(await started.Execute("import os; os.listdir('/usr/share/doc')", CancellationToken.None).ToListAsync()).Result);
    }

    [Fact]
    public async Task Descriptors_of_the_host_are_closed() =>
        Assert.Equal("[]", (await kernel.Run(
            """
            import os
            links = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{n}")]
            [link for link in links if link.startswith("/") and not link.startswith(("/dev/null", "/dev/urandom", "/proc"))]
            """)).Succeeded().Result);
}
