using System.Runtime.InteropServices;

namespace Cowork.Kernels;

/// <summary>
/// The seccomp filter of a sandbox. It refuses what namespaces and missing capabilities do not cut by themselves: families of sockets that no network namespace holds
/// back (AF_VSOCK), memory that no process is charged for, new namespaces, and calls that only administrators and debuggers need.
/// </summary>
static class SandboxFilter
{
    /// <summary>New namespaces of every kind that clone(2) makes: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.</summary>
    const uint NewNamespaces = 0x7e02_0000;

    /// <summary>AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: ipykernel makes them, and the last three reach nothing.</summary>
    static readonly uint[] Families = [1, 2, 10, 16];

    /// <summary>Calls that have one number on every architecture.</summary>
    static readonly uint[] Everywhere =
    [
        425, 426, 427, // io_uring, which makes calls that no filter sees
        428, 429, 430, 431, 432, 433, 442, // mounts
        438, 440, 443, 447, 448, // pidfd_getfd, process_madvise, quotactl_fd, memfd_secret, process_mrelease
    ];

    /// <summary>clone3 has its flags where a filter cannot look, so it fails as on an older system, and libc takes clone.</summary>
    const uint Clone3 = 435;

    sealed record CallTable(uint Id, uint NewTask, uint Socket, uint SocketPair, uint MemoryFile, uint[] Denied);

    static readonly CallTable X64 = new(
        SeccompProgram.X64, 56, 41, 53, 319,
        [
            165, 166, 155, 161, 272, 308, // mount, umount2, pivot_root, chroot, unshare, setns
            101, 310, 311, 312, // ptrace, process_vm_readv, process_vm_writev, kcmp
            29, 30, 31, 67, 64, 65, 66, 220, 68, 69, 70, 71, 240, 241, // shared memory, semaphores and queues of System V, queues of POSIX
            321, 298, 323, 248, 249, 250, // bpf, perf_event_open, userfaultfd, keys
            246, 320, 175, 313, 176, 169, 167, 168, 170, 171, 164, 227, 159, 305, 163, 179, 103, 172, 173, 154, 135, 153, // the machine
            300, 303, 304, 212, // fanotify_init, name_to_handle_at, open_by_handle_at, lookup_dcookie
        ]);

    static readonly CallTable Arm64 = new(
        SeccompProgram.Arm64, 220, 198, 199, 279,
        [
            40, 39, 41, 51, 97, 268,
            117, 270, 271, 272,
            194, 195, 196, 197, 190, 191, 192, 193, 186, 187, 188, 189, 180, 181,
            280, 241, 282, 217, 218, 219,
            104, 294, 105, 273, 106, 142, 224, 225, 161, 162, 170, 112, 171, 266, 89, 60, 116, 92, 58,
            262, 264, 265, 18,
        ]);

    /// <summary>The program for bubblewrap; null: this architecture has none.</summary>
    public static byte[]? Build() => RuntimeInformation.ProcessArchitecture switch
    {
        Architecture.X64 => Build(X64),
        Architecture.Arm64 => Build(Arm64),
        _ => null,
    };

    static byte[] Build(CallTable table)
    {
        var program = new SeccompProgram(table.Id);
        foreach (var call in table.Denied.Concat(Everywhere))
        {
            program.Refuse(call, SeccompProgram.NotPermitted);
        }
        program.Refuse(Clone3, SeccompProgram.NoSuchCall);
        // Its pages are no process's as long as nobody maps them.
        program.Refuse(table.MemoryFile, SeccompProgram.NoSuchCall);
        program.RefuseWithAny(table.NewTask, 0, NewNamespaces, SeccompProgram.NotPermitted);
        program.RefuseOthers(table.Socket, 0, Families, SeccompProgram.NoSuchFamily);
        program.RefuseOthers(table.SocketPair, 0, Families, SeccompProgram.NoSuchFamily);
        return program.ToBytes();
    }
}
