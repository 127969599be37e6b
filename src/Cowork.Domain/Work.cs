using System.Collections.Immutable;

using static Cowork.Domain.WorkCommand;
using static Cowork.Domain.WorkEvent;

namespace Cowork.Domain;

/// <summary>Commands to a work of contract E.</summary>
/// <param name="By">The principal who asks, as in <c>user:ann</c>: a work is there for its owner alone.</param>
public abstract record WorkCommand(string By, DateTimeOffset Now)
{
    /// <param name="CopyOf">The work whose payload it has; null: it is no copy.</param>
    public sealed record Create(WorkKey WorkId, string By, string Bucket, WorkCard Card, Content Payload, WorkKey? CopyOf, DateTimeOffset Now, string? Subject = null)
        : WorkCommand(By, Now);

    /// <param name="Card">The complete card, including unchanged members.</param>
    /// <param name="Payload">Null: as it is.</param>
    /// <param name="OnlyAt">The versions that the client expects, one of which the work must have; null: any will do.</param>
    public sealed record Change(string By, WorkCard Card, Content? Payload, ImmutableList<long>? OnlyAt, DateTimeOffset Now) : WorkCommand(By, Now);

    /// <param name="OnlyAt">As of <see cref="Change"/>.</param>
    public sealed record Delete(string By, ImmutableList<long>? OnlyAt, DateTimeOffset Now) : WorkCommand(By, Now);
}

public abstract record WorkEvent(DateTimeOffset At) : Event(At)
{
    /// <param name="Owner">The principal whose work it is.</param>
    /// <param name="Payload">The JSON text of an object, as it was sent.</param>
    /// <param name="CopyOf">The work whose payload it has; null: it is no copy.</param>
    public sealed record WorkCreated(WorkKey WorkId, string Owner, string Bucket, WorkCard Card, [property: Personal(PersonalAttribute.Object)] Content Payload, DateTimeOffset At,
        WorkKey? CopyOf = null, string? Subject = null) : WorkEvent(At);

    /// <param name="Card">The complete card after the change.</param>
    /// <param name="Payload">Null: the change left it as it was.</param>
    public sealed record WorkChanged(WorkCard Card, DateTimeOffset At, [property: Personal(PersonalAttribute.Object)] Content? Payload = null) : WorkEvent(At);

    public sealed record WorkDeleted(DateTimeOffset At) : WorkEvent(At);
}

/// <summary>What lists show of a work beside its times and its bucket.</summary>
/// <param name="Metadata">The JSON text of an object, as it was sent.</param>
public sealed record WorkCard(
    [property: Personal] string Label, [property: Personal(PersonalAttribute.Object)] Content? Metadata, [property: Personal] string? Preview,
    [property: Personal] ImmutableList<string>? Tags)
{
    public bool Equals(WorkCard? other) =>
        other is not null && (Label, Metadata, Preview) == (other.Label, other.Metadata, other.Preview)
        && (Tags is null || other.Tags is null ? Tags == other.Tags : Tags.SequenceEqual(other.Tags));

    public override int GetHashCode() => HashCode.Combine(Label, Metadata, Preview, Tags?.Count);
}

/// <summary>The buckets of works.</summary>
public static class WorkBuckets
{
    public const string BrandAssets = "brand_assets";
    public const string Listings = "listings";
    public const string Transactions = "transactions";

    public static IReadOnlyList<string> All { get; } = [BrandAssets, Listings, Transactions];

    /// <summary>The bucket of a name or of one of its aliases (contracts/decisions.md, "E, the rest"); null: there is no such bucket.</summary>
    public static string? Find(string name) => name switch
    {
        BrandAssets or "brand" => BrandAssets,
        Listings or "listing" => Listings,
        Transactions or "transaction" or "deal" or "deals" => Transactions,
        _ => null,
    };
}

/// <summary>What a tool has produced for a user, and the user has saved.</summary>
public abstract record Work
{
    public sealed record None : Work;

    /// <param name="Version">Of the work as clients see it: 1 when it is created, and one more after each change.</param>
    public sealed record Live(
        WorkKey WorkId, string Owner, string Bucket, WorkCard Card, Content Payload, long Version, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt,
        string? Subject = null) : Work, IOfSubject;

    public sealed record Deleted : Work;

    public static Aggregate<WorkKey, WorkCommand, WorkEvent, Work> Aggregate { get; } = new("work", new None(), Decide, Evolve);

    public static Decision<WorkEvent> Decide(WorkCommand command, Work state) => (command, state) switch
    {
        (Create c, None) => new WorkCreated(c.WorkId, c.By, c.Bucket, c.Card, c.Payload, c.Now, c.CopyOf, c.Subject),
        (Create c, Live s) when s.WorkId == c.WorkId && s.Owner == c.By => Decision<WorkEvent>.Nothing,
        (_, Live s) when s.Owner != command.By => Refusal.NotFound("work"),
        (Change { OnlyAt: { } versions }, Live s) when !versions.Contains(s.Version) => OtherVersion(s),
        (Delete { OnlyAt: { } versions }, Live s) when !versions.Contains(s.Version) => OtherVersion(s),
        (Change c, Live s) => Changed(c, s),
        (Delete c, Live) => new WorkDeleted(c.Now),
        _ => Refusal.NotFound("work"),
    };

    public static Work Evolve(Work state, WorkEvent e) => (e, state) switch
    {
        (WorkCreated c, _) => new Live(c.WorkId, c.Owner, c.Bucket, c.Card, c.Payload, 1, c.At, c.At, c.Subject),
        (WorkChanged c, Live s) => s with { Card = c.Card, Payload = c.Payload ?? s.Payload, Version = s.Version + 1, UpdatedAt = c.At },
        (WorkDeleted, Live) => new Deleted(),
        _ => throw new System.Diagnostics.UnreachableException($"{e.GetType().Name} in {state.GetType().Name}"),
    };

    static Decision<WorkEvent> Changed(Change c, Live s)
    {
        var payload = c.Payload == s.Payload ? null : c.Payload;
        return payload is null && c.Card == s.Card ? Decision<WorkEvent>.Nothing : new WorkChanged(c.Card, c.Now, payload);
    }

    static Refusal OtherVersion(Live s) => new("precondition_failed", 412, $"The work is at version {s.Version}, which If-Match does not name.");
}
