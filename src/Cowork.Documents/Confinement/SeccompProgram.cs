using System.Buffers.Binary;

namespace Cowork;

/// <summary>
/// Builds a filter of system calls: classic BPF over struct seccomp_data, which has the number of the call, the architecture and six arguments. A call that no rule
/// refuses is allowed. See seccomp(2).
/// </summary>
sealed class SeccompProgram
{
    public const uint X64 = 0xc000003e;
    public const uint Arm64 = 0xc00000b7;

    public const uint NotPermitted = 1;
    public const uint AccessDenied = 13;
    public const uint NoSuchCall = 38;
    public const uint NoSuchFamily = 97;

    const ushort LoadWord = 0x20;
    const ushort JumpIfEqual = 0x15;
    const ushort JumpIfAtLeast = 0x35;
    const ushort JumpIfAnyBit = 0x45;
    const ushort Return = 0x06;
    const uint CallNumber = 0;
    const uint CallArchitecture = 4;
    const uint FirstArgument = 16;
    const uint Allow = 0x7fff0000;
    const uint Fail = 0x00050000;
    const uint KillProcess = 0x80000000;

    readonly List<(ushort Operation, byte IfTrue, byte IfFalse, uint Value)> code;

    /// <param name="architecture">The only one whose calls are allowed; a call of another one ends the process.</param>
    public SeccompProgram(uint architecture) => code =
    [
        (LoadWord, 0, 0, CallArchitecture),
        (JumpIfEqual, 1, 0, architecture),
        (Return, 0, 0, KillProcess),
        (LoadWord, 0, 0, CallNumber),
        // Calls of the x32 form have this bit, and other numbers.
        (JumpIfAtLeast, 0, 1, 0x40000000),
        (Return, 0, 0, Fail | NoSuchCall),
    ];

    /// <summary>The call fails.</summary>
    public void Refuse(uint call, uint error) => code.AddRange([(JumpIfEqual, 0, 1, call), (Return, 0, 0, Fail | error)]);

    /// <summary>The call fails when the lower half of an argument has one of the bits.</summary>
    public void RefuseWithAny(uint call, uint argument, uint bits, uint error) => RefuseBits(call, argument, bits, error, ifAny: 1, ifNone: 0);

    /// <summary>The call fails unless the lower half of an argument has one of the bits.</summary>
    public void RefuseWithNone(uint call, uint argument, uint bits, uint error) => RefuseBits(call, argument, bits, error, ifAny: 0, ifNone: 1);

    /// <summary>The call fails unless the lower half of an argument is one of the values.</summary>
    public void RefuseOthers(uint call, uint argument, IReadOnlyList<uint> values, uint error)
    {
        code.AddRange([(JumpIfEqual, 0, (byte)(values.Count + 3), call), (LoadWord, 0, 0, FirstArgument + (8 * argument))]);
        code.AddRange(values.Select((value, i) => (JumpIfEqual, (byte)(values.Count - i), (byte)0, value)));
        code.AddRange([(Return, 0, 0, Fail | error), (Return, 0, 0, Allow)]);
    }

    /// <summary>The program, as seccomp(2) takes it: 8 bytes for each instruction.</summary>
    public byte[] ToBytes()
    {
        var bytes = new byte[(code.Count + 1) * 8];
        foreach (var (i, (operation, ifTrue, ifFalse, value)) in code.Append((Return, (byte)0, (byte)0, Allow)).Index())
        {
            var at = bytes.AsSpan(i * 8);
            BinaryPrimitives.WriteUInt16LittleEndian(at, operation);
            (at[2], at[3]) = (ifTrue, ifFalse);
            BinaryPrimitives.WriteUInt32LittleEndian(at[4..], value);
        }
        return bytes;
    }

    void RefuseBits(uint call, uint argument, uint bits, uint error, byte ifAny, byte ifNone) => code.AddRange(
    [
        (JumpIfEqual, 0, 4, call),
        (LoadWord, 0, 0, FirstArgument + (8 * argument)),
        (JumpIfAnyBit, (byte)(1 - ifAny), (byte)(1 - ifNone), bits),
        (Return, 0, 0, Fail | error),
        (Return, 0, 0, Allow),
    ]);
}
