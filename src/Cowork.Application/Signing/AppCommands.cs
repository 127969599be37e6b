using System.Collections.Immutable;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Registers a key of an app. No-op when the app has it.</summary>
/// <param name="Issuers">The persons behind who registers it.</param>
public sealed record RegisterAppKey(string App, string Kid, PublicKey Public, ImmutableList<Issuer>? Issuers = null, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await work.Do(AppKey.Aggregate, AppKey.StreamKey(Kid), new AppKeyCommand.Register(App, Kid, Public, Issuers, work.Now));
        return Header is null ? refused : await Header.Claim(work, AppKey.Aggregate, AppKey.StreamKey(Kid)) ?? refused;
    }
}

/// <summary>Makes a key of an app worthless from now on.</summary>
public sealed record RevokeAppKey(string Kid) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) => work.Do(AppKey.Aggregate, AppKey.StreamKey(Kid), new AppKeyCommand.Revoke(work.Now));
}

/// <summary>What a signed request is recognised by when it comes again.</summary>
/// <param name="Issuer">Who signed it.</param>
/// <param name="TokenId">Its <c>jti</c>.</param>
public sealed record SingleUse(string Issuer, string TokenId, DateTimeOffset ExpiresAt)
{
    /// <summary>Claims it in the commit of its effect. A command claims it before it decides, because a replay is refused as such.</summary>
    public ValueTask<Refusal?> Claim(UnitOfWork work) => work.Do(
        OneUse.Aggregate, OneUse.StreamKey(Issuer, TokenId), new OneUseCommand.Use(Issuer, TokenId, ExpiresAt, work.Now), isNew: true);
}

/// <summary>Accepts a signed request that has no other effect.</summary>
public sealed record AcceptRequest(SingleUse Use) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) => Use.Claim(work);
}
