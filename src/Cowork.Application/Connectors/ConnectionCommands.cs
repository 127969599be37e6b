using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Creates a connection. Its source was asked before: <paramref name="Reached"/> is how it answered.</summary>
/// <param name="Secret">Null: the user has to agree at the source first.</param>
/// <param name="Header">The idempotency key that the same commit claims.</param>
public sealed record CreateConnection(
    ConnectionKey Connection, string SpecId, string Name, SealedSecret? Secret, ProbeOutcome? Reached, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await work.Do(
            Domain.Connection.Aggregate, Connection, new ConnectionCommand.Create(Connection, SpecId, Name, Secret, Reached, work.Now));
        return Header is null ? refused : await Header.Claim(work, Domain.Connection.Aggregate, Connection) ?? refused;
    }
}

/// <summary>Changes what a connection is called, its credentials, or both.</summary>
/// <param name="Name">Null: as it is.</param>
/// <param name="Secret">Null: as it is.</param>
/// <param name="Reached">How the source answered to the new credentials.</param>
public sealed record ChangeConnection(ConnectionKey Connection, string? Name, SealedSecret? Secret, ProbeOutcome? Reached, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await Apply(work);
        return Header is null ? refused : await Header.Claim(work, Domain.Connection.Aggregate, Connection) ?? refused;
    }

    async ValueTask<Refusal?> Apply(UnitOfWork work)
    {
        if (await work.State(Domain.Connection.Aggregate, Connection) is not Domain.Connection.Live before)
        {
            return Refusal.NotFound("connection");
        }
        return await work.Do(Domain.Connection.Aggregate, Connection, new ConnectionCommand.Rename(Name ?? before.Name, work.Now))
            ?? (Secret is null ? null : await work.Do(Domain.Connection.Aggregate, Connection, new ConnectionCommand.ReplaceSecret(null, Secret, Reached, work.Now)));
    }
}

/// <summary>Puts other credentials in the place of those of a revision, for example refreshed tokens. No-op when another writer was first.</summary>
/// <param name="Reached">How the source answered to them; null: it was not asked.</param>
public sealed record ReplaceConnectionSecret(ConnectionKey Connection, long Revision, SealedSecret Secret, ProbeOutcome? Reached = null) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) =>
        work.Do(Domain.Connection.Aggregate, Connection, new ConnectionCommand.ReplaceSecret(Revision, Secret, Reached, work.Now));
}

/// <summary>Records how a source answered to the credentials of a revision.</summary>
public sealed record RecordConnectionProbe(ConnectionKey Connection, long Revision, ProbeOutcome Reached, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await work.Do(Domain.Connection.Aggregate, Connection, new ConnectionCommand.RecordProbe(Revision, Reached, work.Now));
        return Header is null ? refused : await Header.Claim(work, Domain.Connection.Aggregate, Connection) ?? refused;
    }
}

/// <summary>Deletes a connection. The log keeps its credentials, encrypted.</summary>
/// <param name="Revokes">Its source takes credentials back: a job asks it to.</param>
public sealed record DeleteConnection(ConnectionKey Connection, bool Revokes = false) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await work.Do(Domain.Connection.Aggregate, Connection, new ConnectionCommand.Delete(work.Now));
        if (refused is null && Revokes)
        {
            work.Start(new Storage.Job(ConnectionRevocation.JobKind, Connection.Value));
        }
        return refused;
    }
}
