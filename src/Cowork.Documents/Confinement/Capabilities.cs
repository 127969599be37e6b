using System.Buffers.Binary;

namespace Cowork.Documents;

/// <summary>What makes a process of root more than that of any user. See capabilities(7).</summary>
static class Capabilities
{
    const uint Version3 = 0x20080522;
    const int SetSecureBits = 28;

    /// <summary>An id of 0 gives no capabilities when a program is executed, and that cannot be changed.</summary>
    const int NoRoot = 0x1 | 0x2;

    static readonly nint CapSet = System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture == System.Runtime.InteropServices.Architecture.X64 ? 126 : 91;

    /// <summary>Drops all capabilities for ever. No-op for a process that has none.</summary>
    public static void Drop()
    {
        _ = SystemCalls.prctl(SetSecureBits, NoRoot, 0, 0, 0);
        var header = new byte[8];
        BinaryPrimitives.WriteUInt32LittleEndian(header, Version3);
        if (SystemCalls.syscall(CapSet, header, new byte[24]) != 0)
        {
            throw new ConfinementException("The process cannot drop its capabilities.");
        }
    }
}
