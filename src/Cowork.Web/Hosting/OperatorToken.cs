using System.Collections.Immutable;
using System.Text;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web;

/// <summary>
/// The operator's token in the data directory: the first host on a database makes one, and every other start finds that one works and makes none.
/// </summary>
public sealed partial class OperatorToken(
    HostSettings settings, DataDirectory data, ICommandExecutor commands, IRows rows, TimeProvider clock, ILogger<OperatorToken> logger)
{
    const int RowsAtOnce = 1_000;

    static readonly TimeSpan RetryAfter = TimeSpan.FromMilliseconds(500);

    string File => data.In("admin-token");

    /// <summary>Sees to it that an operator's token works. Answers it when it is new.</summary>
    public async Task<BearerToken?> Ensure(CancellationToken ct)
    {
        var kept = System.IO.File.Exists(File) ? BearerToken.Parse((await System.IO.File.ReadAllTextAsync(File, ct)).Trim()) : null;
        if (kept is not null)
        {
            switch (await Execute(kept, ct))
            {
                case null:
                    await CheckSecret(kept, ct);
                    return null;
                case EnsureOperator.Exists:
                    LogOthers(logger, File);
                    return null;
                default:
                    break;
            }
        }
        var token = BearerToken.New(RequestAuthorization.LocalOrg, clock.GetUtcNow());
        // First the file: a token that only the database knows would be nobody's.
        await Keep(token, ct);
        if (await Execute(token, ct) is null)
        {
            return token;
        }
        System.IO.File.Delete(File);
        LogNone(logger);
        return null;
    }

    /// <summary>For the person who started the host for the first time. What is no terminal may be kept where others read it, and gets the token's place only.</summary>
    public string Greeting(BearerToken first, string url, bool isTerminal)
    {
        var header = settings.TokenMode ? $" -H \"authorization: Bearer $(cat {File})\"" : "";
        var token = isTerminal ? $"The admin token, also in {File}:\n  {first.Reveal()}" : $"The admin token is in {File}.";
        return $$"""

            {{token}}

            The console: {{url}}/console/

            Try it:
              curl -s {{url}}/sessions{{header}} -H 'content-type: application/json' -d '{"session_id":"first"}'
              curl -s {{url}}/sessions/first/turn{{header}} -H 'content-type: application/json' -d '{"message":"Hello"}'

            """;
    }

    /// <summary>Answers the code of the refusal, or null.</summary>
    async Task<string?> Execute(BearerToken token, CancellationToken ct)
    {
        while (true)
        {
            try
            {
                var ensure = new EnsureOperator(token.Key, token.SecretSha256, await OfEarlierReleases(token.Org, ct), settings.Tokens.NewOperator);
                return (await commands.Execute(token.Org, new Origin(Operators.HostActor), ensure, ct)).Refused?.Code;
            }
            catch (StorageUnavailableException e) when (!e.IsDenied)
            {
                await Task.Delay(RetryAfter, clock, ct);
            }
        }
    }

    /// <summary>Hosts of earlier releases made a token each, and wrote it on no list.</summary>
    async Task<ImmutableList<TokenKey>> OfEarlierReleases(string org, CancellationToken ct)
    {
        var found = ImmutableList.CreateBuilder<TokenKey>();
        var query = new RowQuery(Limit: RowsAtOnce);
        while (true)
        {
            var page = await rows.List(org, Tokens.Model.Table, query, ct);
            found.AddRange(page.Select(row => Tokens.Model.Read(row.Json.Span)).Where(row => row.Operator == true).Select(row => row.TokenId));
            if (page.Count < query.Limit)
            {
                return found.ToImmutable();
            }
            query = query with { Before = page[^1].Created };
        }
    }

    /// <summary>Says so when the file has a secret that a rotation replaced.</summary>
    async Task CheckSecret(BearerToken kept, CancellationToken ct)
    {
        try
        {
            if (await rows.Get(kept.Org, Tokens.Model.Table, kept.Key.Value, ct) is { } row && !kept.Matches(Tokens.Model.Read(row.Json.Span).SecretSha256))
            {
                LogRotated(logger, File);
            }
        }
        catch (StorageUnavailableException)
        {
            // It is only a word of advice.
        }
    }

    async Task Keep(BearerToken token, CancellationToken ct)
    {
        var writing = File + ".new";
        System.IO.File.Delete(writing);
        await using (var file = new FileStream(writing, new FileStreamOptions
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.Write,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        }))
        {
            await file.WriteAsync(Encoding.ASCII.GetBytes(token.Reveal() + "\n"), ct);
            file.Flush(flushToDisk: true);
        }
        System.IO.File.Move(writing, File, overwrite: true);
    }

    [LoggerMessage(1, LogLevel.Information, "This host makes no operator's token, because the database has one that works. Cowork:Tokens:NewOperator would make another")]
    static partial void LogNone(ILogger logger);

    [LoggerMessage(2, LogLevel.Warning, "The token in {File} is none of this database's that works. Another operator's token does")]
    static partial void LogOthers(ILogger logger, string file);

    [LoggerMessage(3, LogLevel.Warning, "The token in {File} was given another secret; put that one in its place")]
    static partial void LogRotated(ILogger logger, string file);
}
