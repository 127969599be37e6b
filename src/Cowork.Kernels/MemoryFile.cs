using System.Runtime.InteropServices;
using System.Text;

using Microsoft.Win32.SafeHandles;

namespace Cowork.Kernels;

/// <summary>A file in memory for programs that this process starts: no crash leaves it behind, and no other user reads it.</summary>
sealed class MemoryFile : IDisposable
{
    const uint CloseOnExec = 1;

    readonly SafeFileHandle handle;

    /// <exception cref="IOException">The system makes no such file.</exception>
    public MemoryFile(string name, ReadOnlySpan<byte> content)
    {
        var fd = memfd_create(Encoding.UTF8.GetBytes(name + '\0'), CloseOnExec);
        handle = fd >= 0 ? new(fd, ownsHandle: true) : throw new IOException($"memfd_create failed: {Marshal.GetLastPInvokeErrorMessage()}");
        RandomAccess.Write(handle, content, 0);
    }

    /// <summary>A path for other processes of this user, as long as the file is there.</summary>
    public string Place => $"/proc/{Environment.ProcessId}/fd/{handle.DangerousGetHandle()}";

    public void Dispose() => handle.Dispose();

#pragma warning disable SYSLIB1054, IDE1006 // The name is that of the system call, and it needs no generated marshalling.
    [DllImport("libc", SetLastError = true)]
    static extern int memfd_create(byte[] name, uint flags);
#pragma warning restore SYSLIB1054, IDE1006
}
