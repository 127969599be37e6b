using System.Collections.Immutable;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Web.Http;

/// <summary>Endpoint metadata: what it answers is taken out of the system.</summary>
/// <param name="What">The kind of thing.</param>
/// <param name="IdOf">The id of what a request asks for, in its one form.</param>
public sealed record Exports(string What, Func<HttpContext, string?> IdOf)
{
    public static Exports Of<TKey>(string what)
        where TKey : struct, IKey<TKey> =>
        new(what, static http => TKey.Parse((string?)http.Request.RouteValues[PathIds.ParameterOf(TKey.FieldName, http.Request.RouteValues)] ?? "")?.Id);
}

/// <summary>
/// Counts who came in, who did not, and what was taken out, and writes it into the tenant's log: one event for all that was equal in a while, however many requests
/// there were. What it keeps in memory, and so what it writes, is bounded also where every request is another one.
/// </summary>
public sealed partial class SecurityLog(ICommandExecutor commands, HostSettings settings, TimeProvider clock, ILogger<SecurityLog> logger)
{
    /// <summary>Of one kind in one tenant; past it what is equal in kind and reason is one.</summary>
    const int ToldApartMax = 200;

    /// <summary>Exports are told apart further: each has cost its host more than the event.</summary>
    const int ExportsToldApartMax = 10_000;

    /// <summary>A token that goes on being used from one address is written down again after so many times the usual while.</summary>
    const int GrantsPace = 10;

    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(1);

    /// <summary>A host that stops does not wait longer for what is left.</summary>
    static readonly TimeSpan LastWriteMax = TimeSpan.FromSeconds(2);

    readonly Lock gate = new();
    readonly Dictionary<Subject, Tally> tallies = [];
    readonly Dictionary<(string Org, SecurityKind Kind), int> toldApart = [];

    /// <summary>A token has let a request in.</summary>
    public void Granted(Caller caller, HttpContext http) => Note(SubjectOf(SecurityKind.Granted, caller, http, null, null));

    /// <summary>A request was not let in.</summary>
    /// <param name="org">The tenant whose token was sent; null: no tenant's.</param>
    public void Refused(string? org, TokenKey? token, string reason, HttpContext http) =>
        Note(new(org ?? RequestAuthorization.LocalOrg, SecurityKind.Refused, null, token, AddressOf(http), reason, null, null));

    /// <summary>Who was let in asked for what they may not.</summary>
    public void Denied(Caller caller, string code, HttpContext http) =>
        Note(SubjectOf(SecurityKind.Denied, caller, http, code, $"{http.Request.Method} {(http.GetEndpoint() as RouteEndpoint)?.RoutePattern.RawText?.TrimEnd('/')}"));

    /// <summary>Something goes out.</summary>
    public void Exported(Caller caller, Exports exports, HttpContext http) =>
        Note(SubjectOf(
            SecurityKind.Exported, caller, http, exports.What, exports.IdOf(http)));

    /// <summary>Writes until the token is cancelled, and then what is left.</summary>
    public async Task Run(CancellationToken ct)
    {
        while (await clock.Pause(LookEvery, ct))
        {
            await Write(clock.GetUtcNow(), ct);
        }
        using var deadline = new CancellationTokenSource(LastWriteMax, clock);
        await Write(DateTimeOffset.MaxValue, deadline.Token);
    }

    static Subject SubjectOf(SecurityKind kind, Caller caller, HttpContext http, string? what, string? of) =>
        new(caller.Org, kind, caller.Actor, caller.Token, AddressOf(http), what, of, string.Join(' ', caller.Roles));

    static string AddressOf(HttpContext http) => http.Connection.RemoteIpAddress is { } address ? Networks.Plain(address).ToString() : "";

    TimeSpan Pace(SecurityKind kind) => kind == SecurityKind.Granted ? GrantsPace * settings.SecurityFold : settings.SecurityFold;

    void Note(Subject subject)
    {
        var now = clock.GetUtcNow();
        lock (gate)
        {
            var group = (subject.Org, subject.Kind);
            if (!tallies.TryGetValue(subject, out var tally))
            {
                var apart = toldApart.GetValueOrDefault(group);
                if (apart >= (subject.Kind == SecurityKind.Exported ? ExportsToldApartMax : ToldApartMax))
                {
                    subject = subject with { Actor = subject.Actor is null ? null : "*", Token = null, Address = "*", Of = subject.Of is null ? null : "*" };
                    tallies.TryGetValue(subject, out tally);
                }
                if (tally is null)
                {
                    toldApart[group] = apart + 1;
                    // What was taken out is written at once; the rest when there may be more of it.
                    tallies[subject] = tally = new(now + (subject.Kind == SecurityKind.Exported ? TimeSpan.Zero : settings.SecurityFold));
                }
            }
            tally.FirstAt = tally.Count++ == 0 ? now : tally.FirstAt;
            tally.LastAt = now;
        }
    }

    async Task Write(DateTimeOffset due, CancellationToken ct)
    {
        foreach (var tenant in Due(due).GroupBy(found => found.Org, found => found.Note))
        {
            try
            {
                // Once or not at all: a commit without an answer is looked up in the log.
                await commands.Execute(tenant.Key, new Origin(Operators.HostActor), new RecordSecurityNotes([.. tenant]), ct, waitForStorage: true);
            }
            catch (Exception e) when (e is OperationCanceledException or StorageUnavailableException)
            {
                LogLost(logger, tenant.Key, tenant.Sum(note => note.Count));
            }
        }
    }

    /// <summary>Takes what is to be written, and forgets what has not come again.</summary>
    List<(string Org, SecurityNote Note)> Due(DateTimeOffset now)
    {
        var found = new List<(string Org, SecurityNote Note)>();
        lock (gate)
        {
            foreach (var (subject, tally) in tallies)
            {
                if (tally.Due > now)
                {
                    continue;
                }
                if (tally.Count == 0)
                {
                    tallies.Remove(subject);
                    var group = (subject.Org, subject.Kind);
                    if (--toldApart[group] == 0)
                    {
                        toldApart.Remove(group);
                    }
                    continue;
                }
                found.Add((subject.Org, new(
                    subject.Kind, subject.Actor, subject.Token, subject.Address, subject.What, subject.Of,
                    subject.Roles is null ? null : [.. subject.Roles.Split(' ', StringSplitOptions.RemoveEmptyEntries)],
                    tally.Count, TimestampConverter.Whole(tally.FirstAt), TimestampConverter.Whole(tally.LastAt))));
                (tally.Count, tally.Due) = (0, now == DateTimeOffset.MaxValue ? now : now + Pace(subject.Kind));
            }
        }
        return found;
    }

    /// <param name="Roles">Separated by spaces, so that equal ones are equal.</param>
    sealed record Subject(string Org, SecurityKind Kind, string? Actor, TokenKey? Token, string Address, string? What, string? Of, string? Roles);

    sealed class Tally(DateTimeOffset due)
    {
        public long Count { get; set; }

        public DateTimeOffset FirstAt { get; set; }

        public DateTimeOffset LastAt { get; set; }

        public DateTimeOffset Due { get; set; } = due;
    }

    [LoggerMessage(1, LogLevel.Warning, "Security events of {Org} are lost, {Count} occurrences, because the host stops while the database does not answer")]
    static partial void LogLost(ILogger logger, string org, long count);
}
