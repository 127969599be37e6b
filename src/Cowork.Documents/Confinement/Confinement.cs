using System.Runtime.InteropServices;

namespace Cowork.Documents;

/// <summary>What the process may use, as its first argument says.</summary>
/// <param name="Host">Id of the process that waits for the result.</param>
/// <param name="MemoryBytes">All of the process's memory.</param>
/// <param name="CpuSeconds">Time of all its threads.</param>
sealed record ProcessLimits(int Host, long MemoryBytes, int CpuSeconds);

/// <summary>
/// Confines the process before it reads a byte of a document, in two steps. The first program sets what the kernel hands on to the next one: limits, no privileges,
/// the end with its host, and Landlock, which holds for one thread and what it executes. Then it executes itself, so that all threads of the second program are
/// within them. The second one installs the filter of system calls, which would not let it be executed.
/// </summary>
static class Confinement
{
    /// <summary>A file that a PDF or a package never needs many of.</summary>
    const int OpenFilesMax = 256;

    /// <summary>Every thread counts with its whole stack. The thread that reads has one of its own size.</summary>
    const int StackBytes = 1 << 20;

    /// <summary>Confines this process and begins again as the next program; the document is its standard input.</summary>
    /// <param name="document">Path of the document.</param>
    /// <exception cref="IOException">The document cannot be opened.</exception>
    public static void ExecuteConfined(ProcessLimits limits, string document, IReadOnlyList<string> arguments)
    {
        _ = SystemCalls.setpgid(0, 0);
        _ = SystemCalls.prctl(SystemCalls.SetDeathSignal, SystemCalls.Kill, 0, 0, 0);
        if (SystemCalls.getppid() != limits.Host)
        {
            Environment.Exit(0); // the host has gone, and nobody waits
        }
        var file = SystemCalls.OpenForReading(document);
        if (file < 0)
        {
            throw new IOException($"The document cannot be opened: {Marshal.GetLastPInvokeErrorMessage()}.");
        }
        _ = SystemCalls.dup2(file, 0);
        _ = SystemCalls.close(file);
        if (SystemCalls.prctl(SystemCalls.SetNoNewPrivileges, 1, 0, 0, 0) != 0)
        {
            throw new ConfinementException("The process cannot give up new privileges.");
        }
        Capabilities.Drop();
        SystemCalls.Limit(SystemCalls.CoreLimit, 0, 0);
        SystemCalls.Limit(SystemCalls.FileSizeLimit, 0, 0);
        SystemCalls.Limit(SystemCalls.OpenFilesLimit, OpenFilesMax, OpenFilesMax);
        SystemCalls.Limit(SystemCalls.CpuLimit, limits.CpuSeconds, limits.CpuSeconds + 1);
        SystemCalls.Limit(SystemCalls.StackLimit, StackBytes, StackBytes);
        SystemCalls.Limit(SystemCalls.DataLimit, DataBytes(limits), DataBytes(limits));

        var dotnet = Environment.ProcessPath!;
        if (Landlock.Version() > 0)
        {
            // A program that was published has no list of its files, so that the runtime looks for them in its folder.
            Landlock.Restrict(Programs(dotnet), Data(), [AppContext.BaseDirectory]);
        }
        SystemCalls.CloseOthersOnExec();
        SystemCalls.Execute(
            dotnet, ["exec", typeof(Confinement).Assembly.Location, .. arguments], [.. Variables(limits).Select(v => $"{v.Key}={v.Value}")]);
        throw new ConfinementException($"The confined program cannot be executed: {Marshal.GetLastPInvokeErrorMessage()}");
    }

    /// <summary>Names of what confines this process beside its limits: <c>landlock</c>, <c>seccomp</c>.</summary>
    public static IReadOnlyList<string> Complete() =>
        [.. Landlock.Version() > 0 ? (string[])["landlock"] : [], .. SystemCallFilter.Install() ? (string[])["seccomp"] : []];

    /// <summary>Memory that the process can write. What remains of its memory is for the program's files.</summary>
    static long DataBytes(ProcessLimits limits) => limits.MemoryBytes / 16 * 13;

    /// <summary>The managed heap. What remains of the data is for the runtime, compiled code and stacks.</summary>
    static long HeapBytes(ProcessLimits limits) => limits.MemoryBytes / 16 * 9;

    static Dictionary<string, string> Variables(ProcessLimits limits) => new()
    {
        ["DOTNET_GCHeapHardLimit"] = $"0x{HeapBytes(limits):x}",
        // Files or sockets of the runtime that others could see, or that the limits would not let it make.
        ["DOTNET_EnableDiagnostics"] = "0",
        ["DOTNET_EnableWriteXorExecute"] = "0",
        ["LC_ALL"] = "C.UTF-8",
    };

    static IEnumerable<string> Programs(string dotnet) =>
        [Path.GetDirectoryName(Path.GetFullPath(new FileInfo(dotnet).ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? dotnet))!, "/lib", "/lib64", "/usr/lib", "/usr/lib64"];

    /// <summary>Of the program's folder only the program: settings may lie beside it.</summary>
    static IEnumerable<string> Data() =>
    [
        .. Directory.GetFiles(AppContext.BaseDirectory, "*.dll"),
        .. ((string[])["runtimeconfig", "deps"]).Select(of => Path.Combine(AppContext.BaseDirectory, $"{typeof(Confinement).Assembly.GetName().Name}.{of}.json")),
        "/etc/ld.so.cache", "/etc/ssl/openssl.cnf", "/sys/fs/cgroup", "/sys/devices/system", "/proc/meminfo", "/proc/stat", "/proc/cpuinfo", $"/proc/{Environment.ProcessId}",
    ];
}
