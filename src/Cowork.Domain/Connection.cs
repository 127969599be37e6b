using static Cowork.Domain.ConnectionCommand;
using static Cowork.Domain.ConnectionEvent;

namespace Cowork.Domain;

/// <summary>Commands to a connection of contract B.</summary>
public abstract record ConnectionCommand(DateTimeOffset Now)
{
    /// <param name="Secret">Null: the connection waits for its user to agree at the source (OAuth 2.0).</param>
    /// <param name="Reached">Null exactly when there is no secret yet.</param>
    public sealed record Create(ConnectionKey ConnectionId, string SpecId, string Name, SealedSecret? Secret, ProbeOutcome? Reached, DateTimeOffset Now)
        : ConnectionCommand(Now);

    public sealed record Rename(string Name, DateTimeOffset Now) : ConnectionCommand(Now);

    /// <summary>Puts other credentials in place of those of a revision. When another writer replaced them before, nothing happens.</summary>
    /// <param name="Revision">The revision that was read; null: whatever it is.</param>
    /// <param name="Reached">The outcome of the probe with the new ones; null: they were not tried, and the status stays.</param>
    public sealed record ReplaceSecret(long? Revision, SealedSecret Secret, ProbeOutcome? Reached, DateTimeOffset Now) : ConnectionCommand(Now);

    /// <summary>Records how the source answered. An outcome for credentials that were replaced meanwhile is ignored.</summary>
    public sealed record RecordProbe(long Revision, ProbeOutcome Reached, DateTimeOffset Now) : ConnectionCommand(Now);

    /// <summary>Puts the same credentials under another data key, unless they were replaced meanwhile.</summary>
    /// <param name="Secret">The credentials of <paramref name="Revision"/>.</param>
    public sealed record Reencrypt(long Revision, SealedSecret Secret, DateTimeOffset Now) : ConnectionCommand(Now);

    public sealed record Delete(DateTimeOffset Now) : ConnectionCommand(Now);
}

public abstract record ConnectionEvent(DateTimeOffset At) : Event(At)
{
    /// <param name="Secret">The credentials, encrypted; null: the user has to agree at the source first.</param>
    public sealed record ConnectionCreated(ConnectionKey ConnectionId, string SpecId, string Name, DateTimeOffset At, SealedSecret? Secret = null) : ConnectionEvent(At);

    public sealed record ConnectionRenamed(string Name, DateTimeOffset At) : ConnectionEvent(At);

    /// <summary>The connection has other credentials: a user's, or tokens that the source gave.</summary>
    /// <param name="IsRefresh">True: the source gave them for the ones before, so that they open the same; null: a user gave them, or agreed anew.</param>
    public sealed record ConnectionSecretReplaced(SealedSecret Secret, DateTimeOffset At, bool? IsRefresh = null) : ConnectionEvent(At);

    /// <summary>The source was reached with the present credentials, or not.</summary>
    public sealed record ConnectionProbed(ProbeOutcome Outcome, DateTimeOffset At) : ConnectionEvent(At);

    /// <summary>The same credentials under another data key.</summary>
    public sealed record ConnectionReencrypted(SealedSecret Secret, DateTimeOffset At) : ConnectionEvent(At);

    public sealed record ConnectionDeleted(DateTimeOffset At) : ConnectionEvent(At);
}

/// <summary>Credentials as the log keeps them.</summary>
/// <param name="KeyId">The tenant's data key that encrypted them (<see cref="DataKeys"/>).</param>
/// <param name="Ciphertext">Base64 of nonce (12 bytes), AES-256-GCM ciphertext of their JSON, and tag (16 bytes).</param>
public sealed record SealedSecret(string KeyId, string Ciphertext);

/// <summary>How a source answered.</summary>
/// <param name="WhyNot">A plain sentence without secrets; null: it was reached.</param>
public sealed record ProbeOutcome(string? WhyNot = null);

/// <summary>A connection to an outside source: what it is called, and its encrypted credentials.</summary>
public abstract record Connection
{
    public sealed record None : Connection;

    /// <param name="Secret">Null: the user has to agree at the source first.</param>
    /// <param name="Revision">How often the credentials were set: an outcome with older ones says nothing of these.</param>
    /// <param name="Probed">The last outcome; null: there is none yet.</param>
    /// <param name="Given">The revision at which a user gave the credentials; those that a refresh brought since are as good.</param>
    public sealed record Live(ConnectionKey ConnectionId, string SpecId, string Name, SealedSecret? Secret, long Revision, ProbeOutcome? Probed, long Given) : Connection;

    /// <param name="Secret">The last credentials, for giving them back to the source; null: there were none.</param>
    public sealed record Deleted(string SpecId, SealedSecret? Secret) : Connection;

    public static Aggregate<ConnectionKey, ConnectionCommand, ConnectionEvent, Connection> Aggregate { get; } = new("connection", new None(), Decide, Evolve);

    public static Decision<ConnectionEvent> Decide(ConnectionCommand command, Connection state) => (command, state) switch
    {
        (Create c, None) => WithProbe(new ConnectionCreated(c.ConnectionId, c.SpecId, c.Name, c.Now, c.Secret), c.Reached),
        (Create c, Live s) when s.ConnectionId == c.ConnectionId => Decision<ConnectionEvent>.Nothing,
        (Rename c, Live s) => s.Name == c.Name ? Decision<ConnectionEvent>.Nothing : new ConnectionRenamed(c.Name, c.Now),
        (ReplaceSecret { Revision: { } revision }, Live s) when revision != s.Revision => Decision<ConnectionEvent>.Nothing,
        (ReplaceSecret c, Live) => WithProbe(new ConnectionSecretReplaced(c.Secret, c.Now, c.Revision is null ? null : true), c.Reached),
        (RecordProbe c, Live s) when c.Revision < s.Given || c.Revision > s.Revision || s.Secret is null => Decision<ConnectionEvent>.Nothing,
        (RecordProbe c, Live) => new ConnectionProbed(c.Reached, c.Now),
        (Reencrypt c, Live s) when c.Revision != s.Revision || s.Secret is null || s.Secret.KeyId == c.Secret.KeyId => Decision<ConnectionEvent>.Nothing,
        (Reencrypt c, Live) => new ConnectionReencrypted(c.Secret, c.Now),
        (Delete c, Live) => new ConnectionDeleted(c.Now),
        _ => Refusal.NotFound("connection"),
    };

    public static Connection Evolve(Connection state, ConnectionEvent e) => (e, state) switch
    {
        (ConnectionCreated c, _) => new Live(c.ConnectionId, c.SpecId, c.Name, c.Secret, c.Secret is null ? 0 : 1, null, c.Secret is null ? 0 : 1),
        (ConnectionRenamed c, Live s) => s with { Name = c.Name },
        (ConnectionSecretReplaced c, Live s) => s with { Secret = c.Secret, Revision = s.Revision + 1, Given = c.IsRefresh == true ? s.Given : s.Revision + 1 },
        (ConnectionProbed c, Live s) => s with { Probed = c.Outcome },
        (ConnectionReencrypted c, Live s) => s with { Secret = c.Secret },
        (ConnectionDeleted, Live s) => new Deleted(s.SpecId, s.Secret),
        _ => throw new System.Diagnostics.UnreachableException($"{e.GetType().Name} in {state.GetType().Name}"),
    };

    static Decision<ConnectionEvent> WithProbe(ConnectionEvent e, ProbeOutcome? reached) =>
        reached is null ? e : Decision<ConnectionEvent>.Of(e, new ConnectionProbed(reached, e.At));
}
