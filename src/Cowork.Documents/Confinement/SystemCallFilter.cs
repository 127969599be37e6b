using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Cowork.Documents;

/// <summary>
/// A seccomp filter over all threads of the process: system calls that make processes, sockets or names of files, or that change what others see, fail. What the
/// runtime needs to go on stays: it reads files, maps memory and makes threads.
/// </summary>
static class SystemCallFilter
{
    const int SetModeFilter = 1;
    const int AllThreads = 1;

    /// <summary>Numbers of calls on one architecture.</summary>
    /// <param name="Denied">They fail with EPERM.</param>
    /// <param name="Open">The argument that has the flags of each call that opens a file: to write or to create fails.</param>
    sealed record CallTable(uint Id, uint Seccomp, uint NewTask, uint Prlimit, uint[] Denied, (uint Call, uint Argument)[] Open);

    /// <summary>Calls that have one number on every architecture.</summary>
    static readonly uint[] Everywhere =
    [
        424, 434, 438, 440, // pidfd_send_signal, pidfd_open, pidfd_getfd, process_madvise
        425, 426, 427, // io_uring
        428, 429, 430, 431, 432, 433, 442, // mounts
        448, 452, // process_mrelease, fchmodat2
    ];

    /// <summary>clone3 and openat2 have their flags where a filter cannot look. They fail as on an older kernel, so that libc takes the older call.</summary>
    static readonly uint[] Missing = [435, 437];

    static readonly CallTable X64 = new(
        SeccompProgram.X64, 317, 56, 302,
        [
            41, 53, 42, 49, 50, 43, 288, // socket, socketpair, connect, bind, listen, accept, accept4
            57, 58, 59, 322, // fork, vfork, execve, execveat
            62, 200, 101, 310, 311, 312, // kill, tkill, ptrace, process_vm_readv, process_vm_writev, kcmp
            85, 83, 258, 84, 87, 263, 82, 264, 316, 86, 265, 88, 266, 133, 259, // creat, mkdir, rmdir, unlink, rename, link, symlink, mknod
            90, 91, 268, 92, 93, 94, 260, 76, 77, 285, 132, 235, 261, 280, // chmod, chown, truncate, fallocate, times
            188, 189, 190, 197, 198, 199, 319, // attributes, memfd_create
            165, 166, 155, 161, 272, 308, // mount, umount2, pivot_root, chroot, unshare, setns
            321, 298, 323, 250, 248, 249, // bpf, perf_event_open, userfaultfd, keys
            160, 141, 135, 29, 30, 68, 64, 240, // setrlimit, setpriority, personality, shared memory and queues
            175, 313, 176, 246, 320, 169, 167, 168, 170, 171, 164, 227, 159, 305, 163, 179, 103, 172, 173, 154, 300, 304, // the machine
        ],
        [(2, 1), (257, 2)]);

    static readonly CallTable Arm64 = new(
        SeccompProgram.Arm64, 277, 220, 261,
        [
            198, 199, 203, 200, 201, 202, 242,
            221, 281,
            129, 130, 117, 270, 271, 272,
            34, 35, 38, 276, 37, 36, 33,
            52, 53, 54, 55, 45, 46, 47, 88,
            5, 6, 7, 14, 15, 16, 279,
            40, 39, 41, 51, 97, 268,
            280, 241, 282, 219, 217, 218,
            164, 140, 92, 194, 196, 186, 190, 180,
            105, 273, 106, 104, 294, 142, 224, 225, 161, 162, 170, 112, 171, 266, 89, 60, 116, 262, 265,
        ],
        [(56, 2)]);

    static CallTable? Table => RuntimeInformation.ProcessArchitecture switch
    {
        Architecture.X64 => X64,
        Architecture.Arm64 => Arm64,
        _ => null,
    };

    /// <summary>Installs the filter. False: the kernel or the architecture has none.</summary>
    public static bool Install()
    {
        if (Table is not { } table)
        {
            return false;
        }
        var filter = Filter(table);
        var instructions = Marshal.AllocHGlobal(filter.Length);
        Marshal.Copy(filter, 0, instructions, filter.Length);
        var program = new byte[16];
        BinaryPrimitives.WriteUInt16LittleEndian(program, (ushort)(filter.Length / 8));
        BinaryPrimitives.WriteInt64LittleEndian(program.AsSpan(8), instructions);
        return SystemCalls.syscall((nint)table.Seccomp, SetModeFilter, AllThreads, program, 0) == 0;
    }

    static byte[] Filter(CallTable table)
    {
        var program = new SeccompProgram(table.Id);
        foreach (var call in table.Denied.Concat(Everywhere))
        {
            program.Refuse(call, SeccompProgram.NotPermitted);
        }
        foreach (var call in Missing)
        {
            program.Refuse(call, SeccompProgram.NoSuchCall);
        }
        foreach (var (call, argument) in table.Open)
        {
            program.RefuseWithAny(call, argument, 0x1 | 0x2 | 0x40 | 0x200 | 0x400, SeccompProgram.AccessDenied); // to write, create, truncate or append
        }
        program.RefuseWithNone(table.NewTask, 0, 0x10000, SeccompProgram.NotPermitted); // CLONE_THREAD
        // To ask for a limit is to give no new one.
        program.RefuseWithAny(table.Prlimit, 2, uint.MaxValue, SeccompProgram.NotPermitted);
        return program.ToBytes();
    }
}
