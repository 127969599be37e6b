using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>A text that shares words with the question.</summary>
/// <param name="Kind">What was found.</param>
/// <param name="SessionId">Null: a memory that a user stated.</param>
/// <param name="Role">Who said it, or <c>title</c>, or <c>memory</c>.</param>
/// <param name="RunId">The run whose message or reply it is, or that left the memory; null: a title, or a memory that a user stated.</param>
/// <param name="Snippet">The passage that shares most, in one line.</param>
/// <param name="At">When it was said or written; null: it is a title.</param>
public sealed record SearchHit(
    [property: SearchKind] string Kind, SessionKey? SessionId, RunKey? RunId, MemoryKey? MemoryId, [property: SearchRole] string Role, string Snippet, DateTimeOffset? At);

/// <param name="AsOfGid">Texts up to this position of the log were searched.</param>
public sealed record SearchAnswer(string Q, IReadOnlyList<SearchHit> Hits, long AsOfGid);

static class SearchEndpoints
{
    const int SnippetChars = 300;

    /// <summary>Rows that are looked at for each hit that is asked for.</summary>
    const int RowsPerHit = 2;

    /// <summary>What belongs to a session that was deleted is not found. Who sees a group is asked afterwards.</summary>
    static RowOwner Of(string? member) => new(member, Projections.Sessions.Model.Table) { OrTable = GroupSessions.Model.Table };

    static readonly TextQuery Kinds = new("kinds", "", $"Only these, separated by commas: {string.Join(", ", SearchKindAttribute.All)}.");
    static readonly WholeNumberQuery Limit = new("limit", 1, 100, 20, "At most so many.");

    public static void MapSearch(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/search", Search).WithName("searchTexts").WithTags("Runs")
            .WithSummary("Find messages, replies, titles and memories by words, best first")
            .Takes(SearchQuery.Words).Takes(Kinds).Takes(Limit)
            .Produces<SearchAnswer>().Refuses(422);

    static async Task<IResult> Search(HttpContext http, Caller caller, IRows rows, IAsyncProjectionStore projections, CancellationToken ct)
    {
        var (question, limit) = (SearchQuery.Read(http), (int)Limit.Read(http));
        string[] kinds = Kinds.Read(http) is { Length: > 0 } named
            ? named.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
            : [.. SearchKindAttribute.All];
        if (kinds.Length == 0 || kinds.Any(kind => !SearchKindAttribute.All.Contains(kind)))
        {
            return ErrorResult.Invalid(Kinds.Name, $"Must be some of {string.Join(", ", SearchKindAttribute.All)}, separated by commas.");
        }
        var progress = await projections.Progress(ct);
        var asOf = Math.Min(progress.Of(Messages.Model.Table).Checkpoint.Position, progress.Of(MemoryWords.Model.Table).Checkpoint.Position);
        var found = new List<(double Score, SearchHit Hit)>();
        if (kinds.Any(kind => kind != SearchKindAttribute.Memories))
        {
            var texts = (await rows.Search(caller.Org, Messages.Model.Table, question, limit * RowsPerHit, Of("session"), null, null, ct))
                .Select(row => Messages.Model.Read(row.Json.Span)).ToList();
            var seen = await rows.FindSessions(caller, [.. texts.Select(text => text.Session).Distinct()], ct);
            found.AddRange(texts.Where(text => seen.ContainsKey(text.Session)).SelectMany(text => Hits(text, seen[text.Session].SessionId, question)));
        }
        if (kinds.Contains(SearchKindAttribute.Memories))
        {
            var keys = (await rows.Search(caller.Org, MemoryWords.Model.Table, question, limit * RowsPerHit, Of(null), null, null, ct)).Select(row => row.Key).ToList();
            var memories = (await rows.Get(caller.Org, Memories.Model.Table, keys, ct)).Select(row => Memories.Model.Read(row.Json.Span)).ToList();
            var seen = await rows.FindSessions(caller, [.. memories.Select(memory => memory.SessionId).OfType<SessionKey>().Distinct()], ct);
            foreach (var memory in memories.Where(memory => memory.SessionId is not { } session || seen.ContainsKey(session)))
            {
                if (Best((memory.Text as Content.Inline)?.Text, question) is { } best)
                {
                    found.Add((
                        best.Score,
                        new(SearchKindAttribute.Memories, memory.SessionId, memory.RunId, memory.MemoryId, SearchRoleAttribute.Memory, best.Snippet, memory.UpdatedAt)));
                }
            }
        }
        SearchHit[] hits =
        [
            .. found.Where(hit => kinds.Contains(hit.Hit.Kind)).OrderByDescending(hit => hit.Score).ThenByDescending(hit => hit.Hit.At ?? DateTimeOffset.MinValue)
                .Select(hit => hit.Hit).Take(limit),
        ];
        return JsonResult.Of(200, new(question, hits, asOf), AgentServiceJson.Answers.SearchAnswer);
    }

    static IEnumerable<(double Score, SearchHit Hit)> Hits(MessageRow text, SessionKey session, string question)
    {
        if (Best(text.Title, question) is { } title)
        {
            yield return (title.Score, new(SearchKindAttribute.Titles, session, null, null, SearchRoleAttribute.Title, title.Snippet, null));
        }
        if (Best(text.Message, question) is { } message)
        {
            yield return (message.Score, new(SearchKindAttribute.Messages, session, text.Run, null, SearchRoleAttribute.User, message.Snippet, text.SaidAt));
        }
        if (Best(text.Reply, question) is { } reply)
        {
            yield return (reply.Score, new(SearchKindAttribute.Replies, session, text.Run, null, SearchRoleAttribute.Assistant, reply.Snippet, text.RepliedAt));
        }
    }

    static (double Score, string Snippet)? Best(string? text, string question) =>
        text is not null && TextSearch.Find([TextIndex.Of("", text)], question, 1).Hits is [var hit]
            ? (hit.Coverage, FileText.Truncate(FileText.OneLine(hit.Passage.Text), SnippetChars))
            : null;
}
