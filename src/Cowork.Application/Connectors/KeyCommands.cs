using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Wraps data keys with a master key from now on. No-op when another writer was first.</summary>
public sealed record AdoptMasterKey(string MasterId, string? Replaces) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) => work.Do(MasterKeys.Aggregate, MasterKeys.Key, new MasterKeysCommand.Adopt(MasterId, Replaces, work.Now));
}

/// <summary>Notes that a tenant has data keys, before it gets one.</summary>
public sealed record RegisterKeyTenant(string Org) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) => work.Do(MasterKeys.Aggregate, MasterKeys.Key, new MasterKeysCommand.Register(Org, work.Now));
}

/// <summary>Makes a data key of the tenant. No-op when another writer was first.</summary>
public sealed record MakeDataKey(DataKey Key, string? Replaces) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) => work.Do(DataKeys.Aggregate, DataKeys.Key, new DataKeysCommand.Make(Key, Replaces, work.Now));
}

/// <summary>Puts a data key under another master key.</summary>
public sealed record RewrapDataKey(string KeyId, WrappedKey Wrapped) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) => work.Do(DataKeys.Aggregate, DataKeys.Key, new DataKeysCommand.Rewrap(KeyId, Wrapped, work.Now));
}

/// <summary>Puts a connection's credentials under another data key, unless they were replaced meanwhile.</summary>
public sealed record ReencryptConnection(ConnectionKey Connection, long Revision, SealedSecret Secret) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) =>
        work.Do(Domain.Connection.Aggregate, Connection, new ConnectionCommand.Reencrypt(Revision, Secret, work.Now));
}
