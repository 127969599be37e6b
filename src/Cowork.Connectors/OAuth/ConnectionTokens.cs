using System.Collections.Immutable;
using System.Globalization;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Connectors;

/// <summary>
/// The tokens of connections, refreshed before they expire and when their source takes them no more: one refresh of a connection at a time, over all hosts, because a source
/// may give each refresh token once.
/// </summary>
public sealed class ConnectionTokens(OAuthClient client, IConnectionSecrets secrets, CommandHandler handler, ICommandExecutor commands, TimeProvider clock)
{
    public const string AccessToken = "access_token";
    public const string RefreshToken = "refresh_token";
    public const string ExpiresAt = "expires_at";

    /// <summary>What is to be done when the source takes the tokens no more.</summary>
    internal const string AgreeAgain = "The authorization has ended there. Start it again for this connection.";

    /// <summary>Why there is no token while another attempt has its time.</summary>
    const string Underway = "Its tokens are being refreshed by another request, or by one that was interrupted. Try again in a minute.";

    /// <summary>A token is used until so long before its end, so that it does not end on its way.</summary>
    static readonly TimeSpan Margin = TimeSpan.FromSeconds(30);

    /// <summary>Longer than a refresh takes. When a host dies in one, another begins after it.</summary>
    static readonly TimeSpan Lease = TimeSpan.FromSeconds(45);

    static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(100);

    static readonly Origin System = new("system");

    /// <summary>The fields of a connection with these tokens. A refresh token stays when no other one came.</summary>
    internal static ImmutableDictionary<string, string> Fields(OAuthTokens tokens, string? refreshBefore, DateTimeOffset now)
    {
        var fields = ImmutableDictionary<string, string>.Empty.Add(AccessToken, tokens.Access);
        fields = (tokens.Refresh ?? refreshBefore) is { } refresh ? fields.Add(RefreshToken, refresh) : fields;
        return tokens.Lifetime is { } lifetime
            ? fields.Add(ExpiresAt, (now + lifetime).ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture))
            : fields;
    }

    /// <summary>The settings with a token that works, as far as can be known here.</summary>
    /// <param name="isRefused">The source did not take the token of these settings.</param>
    /// <returns>Null settings: there is no such token, and the sentence says why.</returns>
    internal async ValueTask<(ConnectionSettings? Settings, string? WhyNot)> Usable(
        OAuthProvider provider, ConnectionSettings settings, bool isRefused, CancellationToken ct)
    {
        if (settings[AccessToken] is null)
        {
            return (null, "The connection waits for its user's agreement.");
        }
        if (!isRefused && !EndsWithin(settings, Margin))
        {
            return (settings, null);
        }
        var isWorthless = isRefused || EndsWithin(settings, TimeSpan.Zero);
        if (settings[RefreshToken] is null)
        {
            return isWorthless ? (null, AgreeAgain) : (settings, null);
        }
        var (fresh, whyNot) = await Refresh(provider, settings, ct);
        // While the source cannot be asked, the token that it gave is good to its end.
        return fresh is null && !isWorthless ? (settings, null) : (fresh, whyNot);
    }

    async ValueTask<(ConnectionSettings? Settings, string? WhyNot)> Refresh(OAuthProvider provider, ConnectionSettings settings, CancellationToken ct)
    {
        var holder = Ids.NewKey(clock.GetUtcNow());
        while (true)
        {
            await commands.Execute(settings.Org, System, new BeginConnectionRefresh(settings.Connection, settings.Revision, holder, Lease), ct);
            var state = await handler.LatestState(settings.Org, ConnectionRefresh.Aggregate, settings.Connection, ct);
            if (state is ConnectionRefresh.Spent spent && spent.Revision >= settings.Revision)
            {
                return (null, AgreeAgain);
            }
            // Another attempt may have come to its end: then the refresh token of these settings is worth nothing any more.
            if (await secrets.Open(settings.Org, settings.Connection, ct) is not { } now)
            {
                return (null, "The connection was deleted.");
            }
            if (now.Revision != settings.Revision)
            {
                return (now, null);
            }
            if (state is ConnectionRefresh.Running running && running.Holder == holder)
            {
                return await Refresh(provider, now, holder, ct);
            }
            try
            {
                await Task.Delay(LookEvery, clock, ct);
            }
            catch (OperationCanceledException)
            {
                // Nobody tells whether the host of the other attempt is slow or gone. Its refresh token may be spent, so that nobody uses it before the attempt's time is over.
                return (null, Underway);
            }
        }
    }

    /// <summary>Refreshes under the claim of an attempt. It goes to its end also when nobody waits for it: the source has given its answer all the same.</summary>
    async ValueTask<(ConnectionSettings? Settings, string? WhyNot)> Refresh(OAuthProvider provider, ConnectionSettings settings, string holder, CancellationToken ct)
    {
        var refresh = Task.Run<(ConnectionSettings?, string?)>(
            async () =>
            {
                var answer = await client.Refresh(provider, settings[RefreshToken]!, CancellationToken.None);
                if (answer.Tokens is { } tokens)
                {
                    var fields = Fields(tokens, settings[RefreshToken], clock.GetUtcNow());
                    return await secrets.Replace(settings, fields, CancellationToken.None) is { } replaced ? (replaced, null) : (null, "The connection was deleted.");
                }
                var final = answer.IsRefused ? AgreeAgain : null;
                await commands.Execute(
                    settings.Org, System, new FailConnectionRefresh(settings.Connection, settings.Revision, holder, final), CancellationToken.None);
                return (null, final ?? answer.WhyNot);
            },
            CancellationToken.None);
        return await refresh.WaitAsync(ct);
    }

    bool EndsWithin(ConnectionSettings settings, TimeSpan margin) =>
        long.TryParse(settings[ExpiresAt], NumberStyles.None, CultureInfo.InvariantCulture, out var end) && clock.GetUtcNow() + margin >= DateTimeOffset.FromUnixTimeSeconds(end);
}
