using System.Collections.Immutable;

using static Cowork.Domain.MasterKeysCommand;
using static Cowork.Domain.MasterKeysEvent;

namespace Cowork.Domain;

public abstract record MasterKeysCommand(DateTimeOffset Now)
{
    /// <summary>Wraps new data keys with this master key from now on.</summary>
    /// <param name="Replaces">The one that does it now; null: none. When another writer was first, nothing happens.</param>
    public sealed record Adopt(string MasterId, string? Replaces, DateTimeOffset Now) : MasterKeysCommand(Now);

    /// <summary>Notes that a tenant has data keys, or is about to make one.</summary>
    public sealed record Register(string Org, DateTimeOffset Now) : MasterKeysCommand(Now);
}

public abstract record MasterKeysEvent(DateTimeOffset At) : Event(At)
{
    public sealed record MasterKeyAdopted(string MasterId, DateTimeOffset At) : MasterKeysEvent(At);

    public sealed record KeyTenantRegistered(string Org, DateTimeOffset At) : MasterKeysEvent(At);
}

/// <summary>Which master key a database is under, by its id, and which tenants have data keys: what a host compares its own master key with.</summary>
/// <param name="Current">Null: no secret was ever kept.</param>
/// <param name="Orgs">In the order in which they came.</param>
public sealed record MasterKeys(string? Current, ImmutableList<string> Orgs)
{
    public static Aggregate<DigestKey, MasterKeysCommand, MasterKeysEvent, MasterKeys> Aggregate { get; } = new("master_keys", new(null, []), Decide, Evolve);

    /// <summary>Of the one stream, in the operators' tenant.</summary>
    public static DigestKey Key { get; } = new(Ids.KeyOf("master_keys"));

    public static Decision<MasterKeysEvent> Decide(MasterKeysCommand command, MasterKeys state) => command switch
    {
        Adopt c => c.Replaces == state.Current && c.MasterId != state.Current ? new MasterKeyAdopted(c.MasterId, c.Now) : Decision<MasterKeysEvent>.Nothing,
        Register c => state.Orgs.Contains(c.Org) ? Decision<MasterKeysEvent>.Nothing : new KeyTenantRegistered(c.Org, c.Now),
        _ => throw new System.Diagnostics.UnreachableException(command.GetType().Name),
    };

    public static MasterKeys Evolve(MasterKeys state, MasterKeysEvent e) => e switch
    {
        MasterKeyAdopted a => state with { Current = a.MasterId },
        KeyTenantRegistered r => state with { Orgs = state.Orgs.Add(r.Org) },
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };
}
