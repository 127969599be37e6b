using System.Collections.Immutable;

using static Cowork.Domain.AppKeyCommand;
using static Cowork.Domain.AppKeyEvent;

namespace Cowork.Domain;

public abstract record AppKeyCommand(DateTimeOffset Now)
{
    /// <inheritdoc cref="AppKeyRegistered"/>
    public sealed record Register(string App, string Kid, PublicKey Public, ImmutableList<Issuer>? Issuers, DateTimeOffset Now) : AppKeyCommand(Now);

    public sealed record Revoke(DateTimeOffset Now) : AppKeyCommand(Now);
}

public abstract record AppKeyEvent(DateTimeOffset At) : Event(At)
{
    /// <summary>Whoever has the private half of this key signs requests of the app.</summary>
    /// <param name="App">Name of the app in its tenant: <see cref="AppKey.IsName"/>.</param>
    /// <param name="Kid">The thumbprint of the public key (RFC 7638, SHA-256, base64url).</param>
    /// <param name="Issuers">The persons behind who registered it, beside that principal itself; null: nobody else.</param>
    public sealed record AppKeyRegistered(string App, string Kid, PublicKey Public, DateTimeOffset At, ImmutableList<Issuer>? Issuers = null) : AppKeyEvent(At);

    /// <summary>The key is worth nothing from now on, and for ever.</summary>
    public sealed record AppKeyRevoked(DateTimeOffset At) : AppKeyEvent(At);
}

/// <summary>A key that an app signs its requests with. An app has as many as it was given, so that one takes over from another without a gap.</summary>
public abstract record AppKey
{
    /// <summary>Characters of an app's name.</summary>
    public const int NameCharsMax = 64;

    public sealed record None : AppKey;

    public sealed record Valid(string App, string Kid, PublicKey Public) : AppKey;

    public sealed record Revoked : AppKey;

    public static Aggregate<DigestKey, AppKeyCommand, AppKeyEvent, AppKey> Aggregate { get; } = new("app_key", new None(), Decide, Evolve);

    /// <summary>The key's stream in its tenant.</summary>
    public static DigestKey StreamKey(string kid) => new(Ids.KeyOf(kid));

    /// <summary>True for a name of an app: <c>[A-Za-z0-9._-]{1,64}</c>.</summary>
    public static bool IsName(string name) => name.Length is > 0 and <= NameCharsMax && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-');

    public static Decision<AppKeyEvent> Decide(AppKeyCommand command, AppKey state) => (command, state) switch
    {
        (Register c, None) => new AppKeyRegistered(c.App, c.Kid, c.Public, c.Now, c.Issuers is { IsEmpty: false } ? c.Issuers : null),
        (Register c, Valid v) when v.App == c.App => Decision<AppKeyEvent>.Nothing,
        (Register, Valid) => Refusal.Conflict("app_key_taken", "Another app of the tenant has this key. Make one for each app."),
        (Register, Revoked) => Refusal.Conflict("app_key_revoked", "This key was revoked, and stays so. Make another one."),
        (Revoke c, Valid) => new AppKeyRevoked(c.Now),
        _ => Refusal.NotFound("app key"),
    };

    public static AppKey Evolve(AppKey state, AppKeyEvent e) => e switch
    {
        AppKeyRegistered r => new Valid(r.App, r.Kid, r.Public),
        AppKeyRevoked => new Revoked(),
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };
}

/// <summary>The id of an app, which names its tenant too: <c>support-desk@acme</c>.</summary>
public readonly record struct AppId(string Name, string Org)
{
    /// <summary>Null: the text is no id of an app.</summary>
    public static AppId? Parse(string text) =>
        text.IndexOf('@', StringComparison.Ordinal) is > 0 and var at && AppKey.IsName(text[..at]) && text[(at + 1)..] is { Length: > 0 and <= Limits.IdCharsMax } org
            && org.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-')
            ? new(text[..at], org)
            : null;

    /// <summary>The principal that a request of the app has in events.</summary>
    public string Actor => $"app:{this}";

    public override string ToString() => $"{Name}@{Org}";
}
