using System.Runtime.InteropServices;
using System.Text;

namespace Cowork.Documents;

/// <summary>The system calls by which this process gives up what it does not need.</summary>
static class SystemCalls
{
    public const int CpuLimit = 0;
    public const int FileSizeLimit = 1;
    public const int DataLimit = 2;
    public const int StackLimit = 3;
    public const int CoreLimit = 4;
    public const int OpenFilesLimit = 7;

    public const int SetDeathSignal = 1;
    public const int SetNoNewPrivileges = 38;

    public const int Kill = 9;

    const int OReadOnly = 0;
    const int OPath = 0x200000;
    const int OCloseOnExec = 0x80000;
    const uint CloseRangeCloseOnExec = 4;

    /// <summary>Opens a path for reading, for as long as this process has the program that it has now. Answers a negative number when it cannot.</summary>
    public static int OpenForReading(string path) => open(Bytes(path), OReadOnly | OCloseOnExec);

    /// <summary>Opens a path as a place in the tree of files.</summary>
    public static int OpenAsPlace(string path) => open(Bytes(path), OPath | OCloseOnExec);

    /// <summary>Lets only the standard streams go over to the next program.</summary>
    public static void CloseOthersOnExec() => _ = close_range(3, uint.MaxValue, CloseRangeCloseOnExec);

    public static void Limit(int resource, long soft, long hard)
    {
        var limit = new ResourceLimit { Soft = (nuint)soft, Hard = (nuint)hard };
        if (setrlimit(resource, ref limit) != 0)
        {
            throw new ConfinementException($"setrlimit({resource}) failed: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    /// <summary>Replaces this program by another one. It returns only when that fails.</summary>
    public static void Execute(string program, IReadOnlyList<string> arguments, IReadOnlyList<string> environment) =>
        _ = execve(Bytes(program), Pointers([program, .. arguments]), Pointers(environment));

    /// <summary>The pointers live as long as the process: the next program takes over.</summary>
    static nint[] Pointers(IEnumerable<string> texts) => [.. texts.Select(Marshal.StringToCoTaskMemUTF8), 0];

    static byte[] Bytes(string path) => Encoding.UTF8.GetBytes(path + '\0');

    [StructLayout(LayoutKind.Sequential)]
    public struct ResourceLimit
    {
        public nuint Soft;
        public nuint Hard;
    }

#pragma warning disable SYSLIB1054, IDE1006, CA5392 // The names are those of the system calls, libc has no other place, and blittable calls need no generated marshalling.
    [DllImport("libc", SetLastError = true)]
    static extern int open(byte[] path, int flags);

    [DllImport("libc", SetLastError = true)]
    static extern int close_range(uint first, uint last, uint flags);

    [DllImport("libc", SetLastError = true)]
    static extern int setrlimit(int resource, ref ResourceLimit limit);

    [DllImport("libc", SetLastError = true)]
    static extern int execve(byte[] path, nint[] arguments, nint[] environment);

    [DllImport("libc", SetLastError = true)]
    public static extern int close(int fd);

    [DllImport("libc", SetLastError = true)]
    public static extern int dup2(int fd, int to);

    [DllImport("libc", SetLastError = true)]
    public static extern int getppid();

    [DllImport("libc", SetLastError = true)]
    public static extern int setpgid(int process, int group);

    [DllImport("libc", SetLastError = true)]
    public static extern int kill(int process, int signal);

    [DllImport("libc", SetLastError = true)]
    public static extern int prctl(int option, nuint second, nuint third, nuint fourth, nuint fifth);

    [DllImport("libc", SetLastError = true)]
    public static extern nint syscall(nint number, nint first, nint second, nint third, nint fourth);

    [DllImport("libc", SetLastError = true)]
    public static extern nint syscall(nint number, byte[] first, nint second, nint third, nint fourth);

    [DllImport("libc", SetLastError = true)]
    public static extern nint syscall(nint number, nint first, nint second, byte[] third, nint fourth);

    [DllImport("libc", SetLastError = true)]
    public static extern nint syscall(nint number, byte[] first, byte[] second);
#pragma warning restore SYSLIB1054, IDE1006, CA5392
}

/// <summary>A limit of this process could not be set, so that it must not read a document.</summary>
sealed class ConfinementException(string message) : Exception(message);
