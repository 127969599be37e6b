using Cowork.Application;

using Microsoft.IdentityModel.Protocols;
using Microsoft.IdentityModel.Protocols.OpenIdConnect;
using Microsoft.IdentityModel.Tokens;

namespace Cowork.Web.Http;

/// <summary>
/// The keys that the authority signs its tokens with, as its document (OpenID Connect Discovery) leads to them. They are asked for at the start, every few minutes, and
/// when a token names one that is not known; so one that the authority withdraws is worth nothing soon. While the authority is away, those that are known go on for a
/// while.
/// </summary>
public sealed partial class AuthorityKeys : IDisposable
{
    const int DocumentBytesMax = 1 << 20;

    /// <summary>
    /// After a failure a request does not ask again for so long, and after a token with an unknown key the next such token does not: whoever makes up names of keys does
    /// not make this host ask.
    /// </summary>
    static readonly TimeSpan RestMax = TimeSpan.FromSeconds(5);

    static readonly TimeSpan AskMax = TimeSpan.FromSeconds(10);

    readonly OidcSettings settings;
    readonly TimeProvider clock;
    readonly ILogger<AuthorityKeys> logger;
    readonly HttpClient http;
    readonly Lock gate = new();
    Task<bool>? asking;
    long? failedAt;
    long? askedForKeyAt;
    bool told;
    volatile KeySet? current;

    public AuthorityKeys(OidcSettings settings, TimeProvider clock, ILogger<AuthorityKeys> logger)
    {
        (this.settings, this.clock, this.logger) = (settings, clock, logger);
        // No proxy of the environment: who sits there could answer with keys of his own. No redirect: the address was checked, another one was not.
        var handler = new SocketsHttpHandler { UseProxy = false, AllowAutoRedirect = false, PooledConnectionLifetime = TimeSpan.FromMinutes(2) };
        http = new(handler) { Timeout = AskMax, MaxResponseContentBufferSize = DocumentBytesMax };
    }

    /// <summary>The keys; null: none are known, or those that are known are too old, and the authority does not answer.</summary>
    internal async ValueTask<KeySet?> Get(CancellationToken ct)
    {
        if (Usable is { } known)
        {
            return known;
        }
        await Ask(Why.NoneKnown, ct);
        return Usable;
    }

    /// <summary>Where people sign in, as the authority's document says; null: it has not answered yet, or has no such place that may be asked.</summary>
    internal SignInPlace? SignIn => current?.SignIn;

    /// <summary>
    /// The keys after the authority was asked for them, because a token names a key that is not among them. Within seconds of another such question it is not asked; then
    /// these are the keys as they are known.
    /// </summary>
    /// <param name="known">As they were when the key was looked for.</param>
    /// <returns>Null: the authority does not answer, so that nobody can say whether there is such a key.</returns>
    internal async ValueTask<KeySet?> After(KeySet known, CancellationToken ct)
    {
        if (current is { } newer && newer != known)
        {
            return newer;
        }
        return await Ask(Why.UnknownKey, ct) is false ? null : current;
    }

    /// <summary>Whether a key, by its thumbprint, is one of the authority's, as far as this host knows.</summary>
    internal bool Has(string thumbprint) => current is not { } known || known.Thumbprints.Contains(thumbprint);

    /// <summary>The same of a key that another host has seen: it is asked for when this host does not know it yet.</summary>
    internal async ValueTask<bool> Finds(string thumbprint, CancellationToken ct) =>
        await Get(ct) is { } known && (known.Thumbprints.Contains(thumbprint) || (await After(known, ct))?.Thumbprints.Contains(thumbprint) == true);

    /// <summary>Asks for the keys until the token is cancelled.</summary>
    public async Task Run(CancellationToken ct)
    {
        LogTakes(logger, settings.Authority, string.Join(", ", settings.Audiences));
        do
        {
            await Ask(Why.Due, ct);
        }
        while (await clock.Pause(!told ? settings.RefreshEvery : Rest, ct));
    }

    public void Dispose() => http.Dispose();

    TimeSpan Rest => settings.RefreshEvery < RestMax ? settings.RefreshEvery : RestMax;

    KeySet? Usable => current is { } known && clock.GetElapsedTime(known.At) < settings.KeysKept ? known : null;

    /// <summary>
    /// All who ask at once wait for one answer. True: the keys are known anew. False: the authority does not answer. Null: it was asked just before, and answered.
    /// </summary>
    async ValueTask<bool?> Ask(Why why, CancellationToken ct)
    {
        Task<bool> asked;
        lock (gate)
        {
            if (asking is null or { IsCompleted: true })
            {
                if (why != Why.Due && failedAt is { } failed && clock.GetElapsedTime(failed) < Rest)
                {
                    return false;
                }
                if (why == Why.UnknownKey)
                {
                    if (askedForKeyAt is { } before && clock.GetElapsedTime(before) < Rest)
                    {
                        return null;
                    }
                    askedForKeyAt = clock.GetTimestamp();
                }
                asking = Task.Run(AskNow, CancellationToken.None);
            }
            asked = asking;
        }
        try
        {
            return await asked.WaitAsync(ct);
        }
        catch (OperationCanceledException)
        {
            return false;
        }
    }

    async Task<bool> AskNow()
    {
        try
        {
            var document = await OpenIdConnectConfigurationRetriever.GetAsync(settings.Metadata.AbsoluteUri, new Documents(http, settings), CancellationToken.None);
            if (document.Issuer?.TrimEnd('/') != settings.Authority.TrimEnd('/'))
            {
                throw new InvalidOperationException($"its document names another issuer, {document.Issuer}");
            }
            // A secret that both sides know is no proof of who signed.
            var keys = document.SigningKeys.OfType<AsymmetricSecurityKey>().Cast<SecurityKey>().Where(key => key.CanComputeJwkThumbprint()).ToList();
            if (keys.Count == 0)
            {
                throw new InvalidOperationException("it has no key to sign with");
            }
            var found = new KeySet(document.Issuer, keys, keys.Select(Thumbprint).ToHashSet(), clock.GetTimestamp())
            {
                SignIn = MayAsk(document.AuthorizationEndpoint) is { } authorization && MayAsk(document.TokenEndpoint) is { } token
                    ? new(authorization, token, MayAsk(document.EndSessionEndpoint))
                    : null,
            };
            if (current is not { } before || !before.Thumbprints.SetEquals(found.Thumbprints))
            {
                LogKeys(logger, settings.Authority, keys.Count);
            }
            (current, told) = (found, false);
            Failed(null);
            return true;
        }
#pragma warning disable CA1031 // Whatever an authority answers, or does not: its tokens cannot be checked, and everything else goes on.
        catch (Exception e)
#pragma warning restore CA1031
        {
            if (!told)
            {
                LogAway(logger, settings.Authority, settings.Metadata, (e.InnerException ?? e).Message);
            }
            told = true;
            Failed(clock.GetTimestamp());
            return false;
        }
    }

    Uri? MayAsk(string? address) => Uri.TryCreate(address, UriKind.Absolute, out var uri) && settings.MayAsk(uri) ? uri : null;

    void Failed(long? at)
    {
        lock (gate)
        {
            failedAt = at;
        }
    }

    internal static string Thumbprint(SecurityKey key) => Convert.ToHexString(key.ComputeJwkThumbprint());

    enum Why
    {
        /// <summary>It is time to.</summary>
        Due,

        /// <summary>A token came, and no keys are known.</summary>
        NoneKnown,

        /// <summary>A token names a key that is not among those that are known.</summary>
        UnknownKey,
    }

    /// <param name="Issuer">As the authority writes it.</param>
    /// <param name="At">Timestamp of the answer.</param>
    internal sealed record KeySet(string Issuer, IReadOnlyList<SecurityKey> Keys, HashSet<string> Thumbprints, long At)
    {
        public SignInPlace? SignIn { get; init; }

        public bool HasId(string keyId) => Keys.Any(key => key.KeyId == keyId);
    }

    /// <summary>The addresses of OpenID Connect's authorization code flow, and of its RP-initiated logout, where the authority has one.</summary>
    internal sealed record SignInPlace(Uri AuthorizationEndpoint, Uri TokenEndpoint, Uri? EndSessionEndpoint);

    /// <summary>Fetches what the authority's document is and names, over HTTPS as the settings want it.</summary>
    sealed class Documents(HttpClient http, OidcSettings settings) : IDocumentRetriever
    {
        public async Task<string> GetDocumentAsync(string address, CancellationToken cancel) =>
            Uri.TryCreate(address, UriKind.Absolute, out var uri) && settings.MayAsk(uri)
                ? await http.GetStringAsync(uri, cancel)
                : throw new InvalidOperationException($"it names {address}, which is no https address");
    }

    [LoggerMessage(1, LogLevel.Information, "Tokens of {Authority} for {Audiences} let callers in, beside API tokens")]
    static partial void LogTakes(ILogger logger, string authority, string audiences);

    [LoggerMessage(2, LogLevel.Information, "{Authority} signs with {Count} keys")]
    static partial void LogKeys(ILogger logger, string authority, int count);

    [LoggerMessage(3, LogLevel.Warning,
        "{Authority} cannot be asked for its keys at {Address}, and is tried again until it can; its tokens are answered 503 when no key is known: {Reason}")]
    static partial void LogAway(ILogger logger, string authority, Uri address, string reason);
}
