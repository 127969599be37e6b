using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

using Cowork.Application;

namespace Cowork.Kernels;

/// <summary>How a sandbox is started: a shell opens the files that bubblewrap takes by number, and becomes bubblewrap, which becomes the bridge.</summary>
static class SandboxCommand
{
    public const string Bubblewrap = "/usr/bin/bwrap";
    public const string Python = "/usr/bin/python3";

    /// <summary>What fits into /tmp. It counts as memory, too.</summary>
    public const long ScratchBytes = 256L << 20;

    const long SharedMemoryBytes = 64L << 20;
    const long RunBytes = 16L << 20;

    /// <summary>Address space that a Python process reserves and never touches: stacks of threads, arenas, libraries.</summary>
    const long AddressSlackBytes = 1L << 30;

    /// <summary>Where a session's folder is seen when its creation names no grants.</summary>
    public const string Workspace = "/workspace";

    /// <summary>Users in the sandbox: the names of the host's own are not its business.</summary>
    public const string Users = "cowork:x:1000:1000:cowork:/tmp:/bin/sh\n";

    /// <summary>
    /// Numbers 7 to 9 are the users, the bridge and the filter. The working directory is the workspace, which bubblewrap finds as <c>.</c>: it cannot look into another
    /// process's descriptors, and an open folder of its own would lead a cell out.
    /// </summary>
    const string Launcher = "exec 9<\"$1\" 8<\"$2\" 7<\"$3\" && cd \"$4\" && shift 4 && exec \"$@\"";

    /// <summary>
    /// As root: binds the folders where the sandbox's user finds them, <c>/mnt/0</c> and so on, in mounts that only this process sees, and becomes that user. Parents of the
    /// folders may be closed to it.
    /// </summary>
    const string UserChange =
        "u=$1 g=$2 n=$3 i=0 && shift 3 && mount -t tmpfs -o mode=755,size=64k cowork /mnt && "
        + "while [ $i -lt $n ]; do mkdir /mnt/$i && mount --rbind \"$1\" /mnt/$i && shift && i=$((i+1)) || exit 1; done && "
        + "exec setpriv --reuid \"$u\" --regid \"$g\" --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs -- \"$@\"";

    /// <summary>What a kernel may read of <c>/etc</c>, where it is there.</summary>
    static IEnumerable<string> Configuration =>
        ((string[])["/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts", "/etc/matplotlibrc", "/etc/mime.types", "/etc/R"]).Where(Path.Exists)
            .Concat(Directory.GetDirectories("/etc", "python3*"));

    /// <param name="folders">What the sandbox has of the host, the working directory first; empty: an empty one that ends with the sandbox.</param>
    /// <param name="user">The user to become; null: this process is not root, and the sandbox runs as its user.</param>
    /// <param name="hidden">Folders of the host that a sandbox must not see, should they lie in what it sees.</param>
    public static ProcessStartInfo Build(
        SandboxFiles files, InstalledKernel kernel, KernelLimits limits, IReadOnlyList<SandboxFolder> folders, SandboxUser? user, IEnumerable<string> hidden)
    {
        var start = new ProcessStartInfo("/bin/sh")
        {
            WorkingDirectory = "/",
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        // Nothing of the host's environment: it holds keys, and others can read that of a process.
        start.Environment.Clear();
        start.Environment["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin";
        IEnumerable<string> arguments =
            ["-c", Launcher, "sh", files.Filter.Place, files.Bridge.Place, files.Users.Place, folders.Count == 0 ? "/" : folders[0].Folder.Place];
        if (user is { } other)
        {
            arguments =
            [
                .. arguments, "unshare", "--mount", "--propagation", "private", "--",
                "/bin/sh", "-c", UserChange, "sh", Number(other.User), Number(other.Group), Number(folders.Count), .. folders.Select(folder => folder.Folder.Place),
            ];
        }
        // Without root only the working directory can be bound as the folder that is open. The others are bound by their paths, and compared when the sandbox has them.
        IEnumerable<(SandboxFolder Folder, string Source)> bound =
            folders.Index().Select(folder => (folder.Item, user is not null ? $"/mnt/{folder.Index}" : folder.Index == 0 ? "." : folder.Item.Folder.RealPath));
        foreach (var argument in (IEnumerable<string>)[.. arguments, .. Arguments([.. bound], hidden), "--", Python, "-I", "/bridge.py", Settings(kernel, limits, folders)])
        {
            start.ArgumentList.Add(argument);
        }
        return start;
    }

    static IEnumerable<string> Arguments(IReadOnlyList<(SandboxFolder Folder, string Source)> folders, IEnumerable<string> hidden) =>
    [
        Bubblewrap,
        "--unshare-all", "--unshare-user", "--disable-userns", "--uid", "1000", "--gid", "1000", "--hostname", "cowork",
        "--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL",
        "--ro-bind", "/usr", "/usr",
        .. ((string[])["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"]).SelectMany(SystemFolder),
        // Only what lies in what is bound can be seen at all.
        .. hidden.Where(h => h.StartsWith("/usr/", StringComparison.Ordinal) && Directory.Exists(h)).SelectMany(h => (string[])["--tmpfs", h, "--remount-ro", h]),
        .. Configuration.SelectMany(path => (string[])["--ro-bind", path, path]),
        "--ro-bind-data", "7", "/etc/passwd",
        "--proc", "/proc",
        "--dev", "/dev", "--size", Number(SharedMemoryBytes), "--tmpfs", "/dev/shm", "--remount-ro", "/dev",
        "--size", Number(ScratchBytes), "--tmpfs", "/tmp",
        "--size", Number(RunBytes), "--tmpfs", "/run",
        .. folders.Count == 0 ? (string[])["--size", Number(RunBytes), "--tmpfs", Workspace] : [],
        // What lies in another folder comes after it.
        .. folders.OrderBy(f => f.Folder.Path.Length).SelectMany(f => (string[])[f.Folder.IsWritable ? "--bind" : "--ro-bind", f.Source, f.Folder.Path]),
        "--ro-bind-data", "8", "/bridge.py",
        "--remount-ro", "/",
        "--seccomp", "9",
        "--chdir", folders.Count == 0 ? Workspace : folders[0].Folder.Path,
        "--clearenv",
        .. Variables.SelectMany(v => (string[])["--setenv", v.Name, v.Value]),
    ];

    static readonly (string Name, string Value)[] Variables =
    [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/tmp"), ("USER", "cowork"), ("LOGNAME", "cowork"), ("LANG", "C.UTF-8"), ("TZ", "UTC"),
        // Nothing but results belongs into the workspace.
        ("PYTHONDONTWRITEBYTECODE", "1"), ("IPYTHONDIR", "/tmp/.ipython"), ("MPLCONFIGDIR", "/tmp/.matplotlib"), ("JUPYTER_RUNTIME_DIR", "/run"),
        // Threads and arenas reserve address space, which is limited.
        ("OPENBLAS_NUM_THREADS", "1"), ("MALLOC_ARENA_MAX", "2"), ("PYDEVD_DISABLE_FILE_VALIDATION", "1"),
    ];

    /// <summary>Of a merged /usr a link, as on the host; else the folder itself.</summary>
    static IEnumerable<string> SystemFolder(string path) =>
        new DirectoryInfo(path) is not { Exists: true } folder ? [] : folder.LinkTarget is { } target ? ["--symlink", target, path] : ["--ro-bind", path, path];

    static string Settings(InstalledKernel kernel, KernelLimits limits, IReadOnlyList<SandboxFolder> folders)
    {
        using var memory = new MemoryStream();
        using (var json = new Utf8JsonWriter(memory))
        {
            json.WriteStartObject();
            json.WriteString("kernel", kernel.Spec.Name);
            json.WriteString("language", kernel.Spec.Language);
            json.WriteString("interrupt_mode", kernel.IsInterruptedByMessage ? "message" : "signal");
            json.WriteStartArray("argv");
            foreach (var argument in kernel.Arguments)
            {
                json.WriteStringValue(argument);
            }
            json.WriteEndArray();
            json.WriteStartObject("env");
            foreach (var (name, value) in kernel.Environment)
            {
                json.WriteString(name, value);
            }
            json.WriteEndObject();
            json.WriteString("workspace", folders.Count == 0 ? Workspace : folders[0].Path);
            Write("folders", folders.Select(folder => folder.Path));
            Write("writable", folders.Count == 0 ? [Workspace] : folders.Where(folder => folder.IsWritable).Select(folder => folder.Path));
            json.WriteNumber("seconds", limits.Time.TotalSeconds);
            json.WriteNumber("output_bytes", limits.OutputBytes);
            json.WriteNumber("memory_bytes", limits.MemoryBytes);
            // Other languages reserve many times what they use; what they use is measured.
            json.WriteNumber("address_bytes", kernel.IsPython ? limits.MemoryBytes + AddressSlackBytes : 0);
            json.WriteNumber("processes", limits.Processes);
            json.WriteNumber("disk_bytes", limits.DiskBytes);
            json.WriteNumber("scratch_bytes", ScratchBytes);
            json.WriteEndObject();

            void Write(string name, IEnumerable<string> paths)
            {
                json.WriteStartArray(name);
                foreach (var path in paths)
                {
                    json.WriteStringValue(path);
                }
                json.WriteEndArray();
            }
        }
        return System.Text.Encoding.UTF8.GetString(memory.GetBuffer(), 0, (int)memory.Length);
    }

    static string Number(long number) => number.ToString(CultureInfo.InvariantCulture);
}

/// <summary>Files that every sandbox is started with.</summary>
sealed record SandboxFiles(MemoryFile Filter, MemoryFile Bridge, MemoryFile Users) : IDisposable
{
    public void Dispose()
    {
        Filter.Dispose();
        Bridge.Dispose();
        Users.Dispose();
    }
}
