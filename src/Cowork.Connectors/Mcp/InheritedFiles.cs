using System.Globalization;
using System.Runtime.InteropServices;

namespace Cowork.Connectors;

/// <summary>
/// Open files of this process. .NET marks those that it opens, so that no child has them; what this process itself inherited, and what libraries opened, it does not.
/// </summary>
static class InheritedFiles
{
    const int StandardError = 2;
    const int GetFlags = 1;
    const int SetFlags = 2;
    const int CloseOnExec = 1;

    /// <summary>Marks all files but the three standard ones, so that no child that is started from now on has them.</summary>
    public static void KeepFromChildren()
    {
        foreach (var entry in Directory.EnumerateFileSystemEntries("/proc/self/fd"))
        {
            if (int.TryParse(Path.GetFileName(entry), NumberStyles.None, CultureInfo.InvariantCulture, out var fd) && fd > StandardError
                && fcntl(fd, GetFlags, 0) is >= 0 and var flags && (flags & CloseOnExec) == 0)
            {
                _ = fcntl(fd, SetFlags, flags | CloseOnExec);
            }
        }
    }

#pragma warning disable SYSLIB1054, IDE1006 // The name is that of the system call, and this call needs no generated marshalling.
    [DllImport("libc")]
    static extern int fcntl(int fd, int command, int argument);
#pragma warning restore SYSLIB1054, IDE1006
}
