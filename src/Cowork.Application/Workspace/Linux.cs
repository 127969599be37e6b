using System.Runtime.InteropServices;
using System.Text;

using Microsoft.Win32.SafeHandles;

namespace Cowork.Application;

/// <summary>System calls that open, inspect and change paths relative to open folders. Needs Linux with <c>/proc</c>.</summary>
static class Linux
{
    public const int NotPermitted = 1;
    public const int NoSuchFile = 2;
    public const int AccessDenied = 13;
    public const int Exists = 17;
    public const int OtherDevice = 18;
    public const int NoFolder = 20;
    public const int NameTooLong = 36;
    public const int TooManyLinks = 40;

    public enum FileType
    {
        Fifo = 0x1000,
        Directory = 0x4000,
        Regular = 0x8000,
        Link = 0xa000,
        Socket = 0xc000,
    }

    /// <summary>A path to the open file, which stays valid when the file is moved.</summary>
    public static string ProcPath(SafeFileHandle handle) => $"/proc/self/fd/{handle.DangerousGetHandle()}";

    /// <summary>The present path of the open file; null: it has none, for example a pipe.</summary>
    public static string? RealPath(SafeFileHandle handle) => new FileInfo(ProcPath(handle)).LinkTarget is { } path && path.StartsWith('/') ? path : null;

    /// <summary>Opens a path with <c>O_PATH</c>, following links.</summary>
    public static SafeFileHandle? Open(string path, out int error) => Handle(openat(AtCurrent, Bytes(path), OPath | OCloseOnExec, 0), out error);

    /// <summary>Opens a name in an open folder with <c>O_PATH</c>. It opens a link itself, not its target.</summary>
    public static SafeFileHandle? OpenEntry(SafeFileHandle folder, string name, out int error) =>
        Handle(openat(Fd(folder), Bytes(name), OPath | OCloseOnExec | ONoFollow, 0), out error);

    /// <summary>Opens a folder in an open folder; a link to a folder is an error.</summary>
    public static SafeFileHandle? OpenFolder(SafeFileHandle folder, string name, out int error) =>
        Handle(openat(Fd(folder), Bytes(name), OPath | OCloseOnExec | ONoFollow | ODirectory, 0), out error);

    /// <summary>Creates a folder in an open folder. Answers 0 or the error.</summary>
    public static int CreateFolder(SafeFileHandle folder, string name) => Error(mkdirat(Fd(folder), Bytes(name), 0x1ff));

    /// <summary>Creates a file in an open folder and opens it for writing.</summary>
    /// <param name="mode">The permissions before the process's umask.</param>
    public static SafeFileHandle? CreateFile(SafeFileHandle folder, string name, int mode, out int error) =>
        Handle(openat(Fd(folder), Bytes(name), OWriteOnly | OCreate | OExclusive | ONoFollow | OCloseOnExec, mode), out error);

    /// <summary>Removes a file or link. Answers 0 or the error.</summary>
    public static int Remove(SafeFileHandle folder, string name) => Error(unlinkat(Fd(folder), Bytes(name), 0));

    /// <summary>Renames a file; a link itself, not its target. Answers 0 or the error.</summary>
    /// <param name="replace">False: a taken name gives <see cref="Exists"/>.</param>
    public static int Rename(SafeFileHandle folder, string name, SafeFileHandle newFolder, string newName, bool replace) =>
        Error(renameat2(Fd(folder), Bytes(name), Fd(newFolder), Bytes(newName), replace ? 0u : 1u));

    /// <summary>Changes the permissions of an open file. Answers 0 or the error.</summary>
    public static int SetMode(SafeFileHandle file, int mode) => Error(fchmod(Fd(file), mode & 0x1ff));

    /// <summary>Gives an open file, or a link itself, to a user and a group. Only root can. Answers 0 or the error.</summary>
    public static int Give(SafeFileHandle file, uint user, uint group) => Error(fchownat(Fd(file), [0], user, group, AtEmptyPath));

    /// <summary>What root makes in the folder of another user becomes that user's, as if the user had made it: programs of the user go on with it.</summary>
    /// <param name="made">What this process has just made in the folder.</param>
    public static void GiveToOwnerOf(SafeFileHandle folder, SafeFileHandle made)
    {
        if (EffectiveUser() == 0 && Status(folder) is { User: not 0 } owner)
        {
            _ = Give(made, owner.User, owner.Group);
        }
    }

    /// <summary>Syncs the names in an open folder to the disk, if the file system can.</summary>
    public static void Sync(SafeFileHandle folder)
    {
        using var readable = Handle(openat(Fd(folder), Bytes("."), ODirectory | OCloseOnExec, 0), out _);
        if (readable is not null)
        {
            _ = fsync(Fd(readable));
        }
    }

    /// <summary>The user as whom this process acts.</summary>
    public static uint EffectiveUser() => geteuid();

    /// <summary>The status of the open file; null: the system reports none.</summary>
    public static Stat? Status(SafeFileHandle handle) => statx(Fd(handle), [0], AtEmptyPath, StatxBasic, out var stat) == 0 ? stat : null;

    static SafeFileHandle? Handle(int fd, out int error)
    {
        error = fd < 0 ? Marshal.GetLastPInvokeError() : 0;
        return fd < 0 ? null : new SafeFileHandle(fd, ownsHandle: true);
    }

    static int Error(int result) => result == 0 ? 0 : Marshal.GetLastPInvokeError();

    static int Fd(SafeFileHandle handle) => (int)handle.DangerousGetHandle();

    static byte[] Bytes(string path) => Encoding.UTF8.GetBytes(path + '\0');

    // These values and the layout of struct statx are the same on each Linux that .NET supports, except for two flags on ARM.
    const int AtCurrent = -100;
    const int OWriteOnly = 0x1;
    const int OCreate = 0x40;
    const int OExclusive = 0x80;
    const int OPath = 0x200000;
    const int OCloseOnExec = 0x80000;
    const int AtEmptyPath = 0x1000;
    const uint StatxBasic = 0x7ff;

    static readonly bool IsArm = RuntimeInformation.ProcessArchitecture is Architecture.Arm or Architecture.Arm64;
    static readonly int ODirectory = IsArm ? 0x4000 : 0x10000;
    static readonly int ONoFollow = IsArm ? 0x8000 : 0x20000;

    [StructLayout(LayoutKind.Sequential)]
    public struct StatTime
    {
        public long Seconds;
        public uint Nanoseconds;
        public int Reserved;
    }

    [StructLayout(LayoutKind.Sequential, Size = 256)]
    public struct Stat
    {
        public uint Mask;
        public uint BlockSize;
        public ulong Attributes;
        public uint Links;
        public uint User;
        public uint Group;
        public ushort Mode;
        public ushort Spare;
        public ulong Inode;
        public ulong Size;
        public ulong Blocks;
        public ulong AttributesMask;
        public StatTime Accessed;
        public StatTime Born;
        public StatTime Changed;
        public StatTime Modified;
        public uint RealDeviceMajor;
        public uint RealDeviceMinor;
        public uint DeviceMajor;
        public uint DeviceMinor;

        public readonly FileType Type => (FileType)(Mode & 0xf000);

        /// <summary>Size in bytes.</summary>
        public readonly long Length => checked((long)Size);

        /// <summary>The same under every name, and nothing else's.</summary>
        public readonly string Identity => $"{DeviceMajor}:{DeviceMinor}:{Inode}";

        /// <summary>Changes with the content.</summary>
        public readonly string Version =>
            $"{Identity}:{Size}:{Modified.Seconds}.{Modified.Nanoseconds}:{Changed.Seconds}.{Changed.Nanoseconds}";
    }

#pragma warning disable SYSLIB1054, IDE1006 // The names are those of the system calls, and these calls need no generated marshalling.
    [DllImport("libc", SetLastError = true)]
    static extern int openat(int folder, byte[] path, int flags, int mode);

    [DllImport("libc", SetLastError = true)]
    static extern int mkdirat(int folder, byte[] path, int mode);

    [DllImport("libc", SetLastError = true)]
    static extern int unlinkat(int folder, byte[] path, int flags);

    [DllImport("libc", SetLastError = true)]
    static extern int renameat2(int folder, byte[] path, int newFolder, byte[] newPath, uint flags);

    [DllImport("libc")]
    static extern uint geteuid();

    [DllImport("libc", SetLastError = true)]
    static extern int fchmod(int fd, int mode);

    [DllImport("libc", SetLastError = true)]
    static extern int fchownat(int folder, byte[] path, uint user, uint group, int flags);

    [DllImport("libc", SetLastError = true)]
    static extern int fsync(int fd);

    [DllImport("libc", SetLastError = true)]
    static extern int statx(int fd, byte[] path, int flags, uint mask, out Stat stat);
#pragma warning restore SYSLIB1054, IDE1006
}
