using System.Buffers.Binary;

namespace Cowork.Documents;

/// <summary>
/// Linux's Landlock: this thread, and the program that it executes, may only read the named files from here on, and reach no socket and no process outside. See landlock(7).
/// </summary>
static class Landlock
{
    const int CreateRuleset = 444;
    const int AddRule = 445;
    const int RestrictSelf = 446;
    const int VersionFlag = 1;
    const int PathBeneath = 1;

    const ulong Execute = 1 << 0;
    const ulong ReadFile = 1 << 2;
    const ulong ReadFolder = 1 << 3;

    /// <summary>Version of Landlock that the kernel has; 0: none.</summary>
    public static int Version() => (int)Math.Max(0, SystemCalls.syscall(CreateRuleset, 0, 0, VersionFlag, 0));

    /// <summary>Restricts the thread. Needs that it can gain no privileges.</summary>
    /// <param name="programs">Files and folders that may be read and executed.</param>
    /// <param name="data">Files and folders that may be read.</param>
    /// <param name="names">Folders whose files may be listed, and not read.</param>
    public static void Restrict(IEnumerable<string> programs, IEnumerable<string> data, IEnumerable<string> names)
    {
        var version = Version();
        // Each version knows more rights, and refuses those that it does not know.
        var files = version switch { 1 => (1ul << 13) - 1, 2 => (1ul << 14) - 1, 3 or 4 => (1ul << 15) - 1, _ => (1ul << 16) - 1 };
        var attributes = new byte[version >= 6 ? 24 : version >= 4 ? 16 : 8];
        BinaryPrimitives.WriteUInt64LittleEndian(attributes, files);
        if (version >= 4)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(attributes.AsSpan(8), 3); // TCP: to bind and to connect
        }
        if (version >= 6)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(attributes.AsSpan(16), 3); // sockets without a file, and signals, of processes outside
        }
        var ruleset = SystemCalls.syscall(CreateRuleset, attributes, attributes.Length, 0, 0);
        if (ruleset < 0)
        {
            throw new ConfinementException("Landlock makes no ruleset.");
        }
        foreach (var (path, rights) in programs.Select(p => (p, Execute | ReadFile)).Concat(data.Select(p => (p, ReadFile))).Concat(names.Select(p => (p, 0ul))))
        {
            Allow(ruleset, path, rights);
        }
        if (SystemCalls.syscall(RestrictSelf, ruleset, 0, 0, 0) != 0)
        {
            throw new ConfinementException("Landlock does not restrict the process.");
        }
        _ = SystemCalls.close((int)ruleset);
    }

    static void Allow(nint ruleset, string path, ulong rights)
    {
        var place = SystemCalls.OpenAsPlace(path);
        if (place < 0)
        {
            return; // this system has no such file
        }
        var rule = new byte[12];
        BinaryPrimitives.WriteUInt64LittleEndian(rule, Directory.Exists(path) ? rights | ReadFolder : rights);
        BinaryPrimitives.WriteInt32LittleEndian(rule.AsSpan(8), place);
        if (SystemCalls.syscall(AddRule, ruleset, PathBeneath, rule, 0) != 0)
        {
            throw new ConfinementException($"Landlock takes no rule for {path}.");
        }
        _ = SystemCalls.close(place);
    }
}
