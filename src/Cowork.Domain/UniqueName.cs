using static Cowork.Domain.UniqueNameCommand;
using static Cowork.Domain.UniqueNameEvent;

namespace Cowork.Domain;

public abstract record UniqueNameCommand(DateTimeOffset Now)
{
    /// <param name="Kind">The kind of object in which the name is unique: <c>skill</c>.</param>
    /// <param name="Owner">Id of the object that claims the name.</param>
    public sealed record Claim(string Kind, string Name, string Owner, DateTimeOffset Now) : UniqueNameCommand(Now);

    public sealed record Release(string Owner, DateTimeOffset Now) : UniqueNameCommand(Now);
}

public abstract record UniqueNameEvent(DateTimeOffset At) : Event(At)
{
    public sealed record NameClaimed(string Kind, string Name, string Owner, DateTimeOffset At) : UniqueNameEvent(At);

    public sealed record NameReleased(string Owner, DateTimeOffset At) : UniqueNameEvent(At);
}

/// <summary>A name that at most one object of a kind has. The commit that creates the object claims it, and deletion frees it.</summary>
public abstract record UniqueName
{
    public sealed record Free : UniqueName;

    public sealed record Taken(string Owner) : UniqueName;

    public static Aggregate<DigestKey, UniqueNameCommand, UniqueNameEvent, UniqueName> Aggregate { get; } = new("name", new Free(), Decide, Evolve);

    /// <summary>Key of the stream: a digest of kind and name.</summary>
    public static DigestKey StreamKey(string kind, string name) => new(Ids.KeyOf($"{kind}\n{name}"));

    public static Decision<UniqueNameEvent> Decide(UniqueNameCommand command, UniqueName state) => (command, state) switch
    {
        (Claim c, Free) => new NameClaimed(c.Kind, c.Name, c.Owner, c.Now),
        (Claim c, Taken t) when t.Owner == c.Owner => Decision<UniqueNameEvent>.Nothing,
        (Claim c, Taken t) => Refusal.Conflict($"{c.Kind}_exists", $"There is a {c.Kind} named \"{c.Name}\": {t.Owner}.") with { Existing = t.Owner },
        (Release c, Taken t) when t.Owner == c.Owner => new NameReleased(c.Owner, c.Now),
        (Release, _) => Decision<UniqueNameEvent>.Nothing,
        _ => throw new System.Diagnostics.UnreachableException(command.GetType().Name),
    };

    public static UniqueName Evolve(UniqueName state, UniqueNameEvent e) => e switch
    {
        NameClaimed c => new Taken(c.Owner),
        NameReleased => new Free(),
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };
}
