using static Cowork.Domain.AuditHeadsEvent;

namespace Cowork.Domain;

/// <summary>What a signature pins: the log up to a position. Its form is in docs/audit.md ("Signed heads").</summary>
/// <param name="TreeSize">Events that the tree has: the position of the last of them.</param>
/// <param name="RootHash">Root of the Merkle tree (RFC 6962) over them, hex SHA-256.</param>
/// <param name="Timestamp">When it was signed, whole milliseconds.</param>
/// <param name="Kid">The key that signed it.</param>
/// <param name="Signature">A JWS in compact form (RFC 7515), ES256, whose payload has the size, the root and the time.</param>
public sealed record SignedHead(long TreeSize, string RootHash, DateTimeOffset Timestamp, string Kid, string Signature);

/// <summary>Adds a head.</summary>
/// <param name="Follows">Tree size of the head before it, which it was checked against; 0: it is the first.</param>
public sealed record AddHead(SignedHead Head, long Follows, DateTimeOffset Now);

public abstract record AuditHeadsEvent(DateTimeOffset At) : Event(At)
{
    /// <summary>A head was signed. Its tree does not have this event itself.</summary>
    public sealed record HeadSigned(long TreeSize, string RootHash, DateTimeOffset Timestamp, string Kid, string Signature, DateTimeOffset At) : AuditHeadsEvent(At);
}

/// <summary>The signed heads of the whole log, in one stream of the operators' tenant: version n of the stream is head number n.</summary>
/// <param name="Last">Null: none was signed.</param>
/// <param name="Number">Of the last head; 0: there is none.</param>
public sealed record AuditHeads(SignedHead? Last, long Number)
{
    public static Aggregate<DigestKey, AddHead, AuditHeadsEvent, AuditHeads> Aggregate { get; } =
        new("audit_heads", new(null, 0), Decide, Evolve) { SizeOf = static _ => 1_024 };

    /// <summary>Of the one stream.</summary>
    public static DigestKey Key { get; } = new(Ids.KeyOf("audit_heads"));

    public static string Stream { get; } = Aggregate.Stream(Key);

    /// <summary>Of several hosts that sign at the same time one comes first; the others' heads are none.</summary>
    public static Decision<AuditHeadsEvent> Decide(AddHead command, AuditHeads state) =>
        command.Follows != (state.Last?.TreeSize ?? 0) || command.Head.TreeSize <= command.Follows
            ? Decision<AuditHeadsEvent>.Nothing
            : new HeadSigned(
                command.Head.TreeSize, command.Head.RootHash, command.Head.Timestamp, command.Head.Kid, command.Head.Signature, command.Now);

    public static AuditHeads Evolve(AuditHeads state, AuditHeadsEvent e) => e switch
    {
        HeadSigned h => new(HeadOf(h), state.Number + 1),
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };

    public static SignedHead HeadOf(HeadSigned e) => new(e.TreeSize, e.RootHash, e.Timestamp, e.Kid, e.Signature);
}
