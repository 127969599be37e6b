using System.Collections.Concurrent;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;

namespace Cowork.Web.Http;

/// <summary>What let a request in.</summary>
/// <param name="Token">An API token; null: something else did.</param>
/// <param name="Key">Thumbprint of the key that signed the authority's token; null: no such token did.</param>
/// <param name="Until">When it ends by itself; null: it does not.</param>
/// <param name="Seen"><see cref="OpenRequests.Heard"/> as it was before the token was looked at.</param>
/// <param name="Session">The session of a group's controller that signed the request; null: none did.</param>
public sealed record OpenCredential(BearerToken? Token, string? Key, DateTimeOffset? Until, long Seen, CertifiedSession? Session = null);

/// <summary>A request that a credential let in and that is not answered yet.</summary>
public sealed class OpenRequest : IDisposable
{
    readonly OpenRequests all;
    readonly HttpContext http;
    readonly CancellationToken client;
    readonly CancellationTokenSource over;

    internal OpenRequest(OpenRequests all, HttpContext http, OpenCredential credential, RequiredRole? needs, long began)
    {
        (this.all, this.http, Needs, Began) = (all, http, needs, began);
        (Token, Key, Until, Seen, Session) = credential;
        // A request that is looked at may be answered meanwhile, and its context is another one's then.
        From = http.Connection.RemoteIpAddress;
        client = http.RequestAborted;
        over = CancellationTokenSource.CreateLinkedTokenSource(client);
        http.RequestAborted = over.Token;
    }

    /// <summary>Why the request was ended; null: it was not.</summary>
    public ErrorResult? Ended { get; private set; }

    /// <summary>The client has gone by itself.</summary>
    public bool IsLeft => client.IsCancellationRequested;

    /// <inheritdoc cref="OpenCredential.Token"/>
    internal BearerToken? Token { get; }

    /// <inheritdoc cref="OpenCredential.Key"/>
    internal string? Key { get; }

    /// <inheritdoc cref="OpenCredential.Session"/>
    internal CertifiedSession? Session { get; }

    internal RequiredRole? Needs { get; }

    internal DateTimeOffset? Until { get; set; }

    /// <summary>What had been heard of when the token was last looked at.</summary>
    internal long Seen { get; set; }

    /// <summary>Timestamp of its begin.</summary>
    internal long Began { get; }

    internal System.Net.IPAddress? From { get; }

    /// <summary>The request is answered, or about to be refused.</summary>
    public void Dispose()
    {
        if (all.Leave(this))
        {
            http.RequestAborted = client;
            over.Dispose();
        }
    }

    /// <summary>Has the request end. Whoever waits on its cancellation hears of it elsewhere: what he does then is no business of the caller's.</summary>
    internal async Task End(ErrorResult why)
    {
        try
        {
            Ended = why;
            await over.CancelAsync();
        }
        catch (ObjectDisposedException)
        {
            // It has just been answered.
        }
    }
}

/// <summary>
/// Ends what a token let in, event streams and requests that wait, within a second of when the token is revoked, expires or loses the role that it needs, on every
/// host: each hears of commits, its own and those of the others, and looks at the tokens of its open requests anew. A token of the authority ends with its time, or with
/// the key that signed it; what a group's controller signed, with its certificate's time or the key of the app that opened its session.
/// </summary>
/// <param name="authority">Null: API tokens are the only ones.</param>
public sealed partial class OpenRequests(IRows rows, TimeProvider clock, ILogger<OpenRequests> logger, AuthorityKeys? authority = null) : ICommitObserver
{
    static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(200);

    /// <summary>A request that is answered sooner is not interrupted: one that revokes its own token gets its answer, and one that commits is not left without.</summary>
    static readonly TimeSpan Brief = TimeSpan.FromMilliseconds(250);

    readonly ConcurrentDictionary<OpenRequest, bool> open = new();
    long heard;

    /// <summary>Counts what may have changed a token: read it before the token's row.</summary>
    public long Heard => Volatile.Read(ref heard);

    /// <summary>Requests that are open now.</summary>
    public int Count => open.Count;

    /// <summary>Ties the request's cancellation to its token. Dispose it when the request is answered.</summary>
    /// <param name="needs">The role that the endpoint needs; null: any.</param>
    public OpenRequest Enter(HttpContext http, OpenCredential credential, RequiredRole? needs)
    {
        var request = new OpenRequest(this, http, credential, needs, clock.GetTimestamp());
        open[request] = true;
        return request;
    }

    public void Committed(IReadOnlyList<FeedEntry> entries)
    {
        foreach (var entry in entries)
        {
            if (entry.Is<ApiTokenEvent.TokenRevoked>() || entry.Is<ApiTokenEvent.TokenRolesChanged>() || entry.Is<ApiTokenEvent.TokenRotated>()
                || entry.Is<AppKeyEvent.AppKeyRevoked>())
            {
                Interlocked.Increment(ref heard);
            }
        }
    }

    /// <summary>Tokens may be among what others wrote.</summary>
    public void OthersWrote() => Interlocked.Increment(ref heard);

    /// <summary>Ends requests until the token is cancelled.</summary>
    public async Task Run(CancellationToken ct)
    {
        while (await clock.Pause(LookEvery, ct))
        {
            await Look(ct);
        }
    }

    internal bool Leave(OpenRequest request) => open.TryRemove(request, out _);

    async Task Look(CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var known = Heard;
        List<OpenRequest>? unsure = null;
        foreach (var (request, _) in open)
        {
            if (request.Ended is not null || clock.GetElapsedTime(request.Began) < Brief)
            {
                continue;
            }
            if (request.Until <= now)
            {
                End(request, request.Session is null ? Expired : Over("The session's certificate has expired."));
            }
            else if (request.Key is { } key)
            {
                if (authority?.Has(key) == false)
                {
                    End(request, Over("The authority has withdrawn the key that signed the token."));
                }
            }
            else if (request.Seen != known)
            {
                (unsure ??= []).Add(request);
            }
        }
        foreach (var tenants in unsure?.GroupBy(request => (Org: request.Token?.Org ?? request.Session!.Org, IsSigned: request.Session is not null)) ?? [])
        {
            try
            {
                await (tenants.Key.IsSigned ? LookAtKeys([.. tenants], tenants.Key.Org, known, ct) : Look([.. tenants], tenants.Key.Org, known, now, ct));
            }
            catch (StorageUnavailableException)
            {
                // They are looked at again in a moment.
            }
            catch (OperationCanceledException) when (ct.IsCancellationRequested)
            {
                return;
            }
        }
    }

    async Task Look(IReadOnlyList<OpenRequest> requests, string org, long known, DateTimeOffset now, CancellationToken ct)
    {
        var found = (await rows.Get(org, Tokens.Model.Table, [.. requests.Select(request => request.Token!.Key.Value).Distinct()], ct))
            .ToDictionary(row => row.Key, row => Tokens.Model.Read(row.Json.Span));
        foreach (var request in requests)
        {
            var row = found.GetValueOrDefault(request.Token!.Key.Value);
            var admitted = Admission.Of(row, request.Token, request.From, now);
            (request.Seen, request.Until) = (known, admitted.Until);
            if (admitted.Fault != TokenFault.None)
            {
                End(request, admitted.Fault == TokenFault.Expired ? Expired : Over("The token was revoked, or has another secret by now."));
            }
            else if (request.Needs?.RefusalOf(row!.Roles) is { } refused)
            {
                End(request, refused);
            }
        }
    }

    /// <summary>The keys of the apps that opened the sessions which signed the requests.</summary>
    async Task LookAtKeys(IReadOnlyList<OpenRequest> requests, string org, long known, CancellationToken ct)
    {
        var there = (await rows.Get(org, AppKeys.Model.Table, [.. requests.Select(request => request.Session!.AppKey.Value).Distinct()], ct))
            .Select(row => row.Key).ToHashSet(StringComparer.Ordinal);
        foreach (var request in requests)
        {
            request.Seen = known;
            if (!there.Contains(request.Session!.AppKey.Value))
            {
                End(request, Over("The key of the app that opened the session was revoked."));
            }
        }
    }

    void End(OpenRequest request, ErrorResult why) => request.End(why).ContinueWith(
        ending => LogEndFailed(ending.Exception!), CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);

    static ErrorResult Expired => Over("The token has expired.");

    /// <summary>The refusal of a request that had been let in: what it asked for may have been done.</summary>
    static ErrorResult Over(string detail) => new(401, "access_ended", $"{detail} What the request asked for may have been done.")
    {
        Challenge = "Bearer realm=\"cowork\", error=\"invalid_token\"",
    };

    [LoggerMessage(1, LogLevel.Error, "A request whose token is over did not end well")]
    partial void LogEndFailed(Exception e);
}
