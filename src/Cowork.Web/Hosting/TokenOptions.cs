namespace Cowork.Web;

/// <summary><c>Cowork:Tokens:…</c></summary>
public sealed record TokenOptions
{
    /// <summary>A new token that says nothing of it expires after so long.</summary>
    public TimeSpan ExpireAfter { get; init; } = TimeSpan.FromDays(90);

    /// <summary>After a rotation that says nothing of it the old secret works for so long.</summary>
    public TimeSpan Overlap { get; init; } = TimeSpan.FromHours(1);

    /// <summary>
    /// A host whose data directory has no operator's token that works makes one at its start, although another one works: for a database whose operators have lost
    /// theirs.
    /// </summary>
    public bool NewOperator { get; init; }
}
