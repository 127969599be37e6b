using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Signs with a new key from now on. No-op when another writer was first.</summary>
public sealed record MakeSigningKey(SigningKey Key, string? Replaces) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) => work.Do(SigningKeys.Aggregate, SigningKeys.Key, new SigningKeysCommand.Make(Key, Replaces, work.Now));
}

/// <summary>Puts a signing key under another master key.</summary>
public sealed record RewrapSigningKey(string Kid, WrappedKey Wrapped) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) => work.Do(SigningKeys.Aggregate, SigningKeys.Key, new SigningKeysCommand.Rewrap(Kid, Wrapped, work.Now));
}
