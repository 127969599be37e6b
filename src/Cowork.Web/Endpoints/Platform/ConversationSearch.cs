using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Platform;

/// <summary>A title or message that shares words with the query.</summary>
/// <param name="ItemId">The item of <c>GET /conversations/{id}/items</c>; null: it is the title.</param>
/// <param name="Role">Who said it; null: it is the title.</param>
/// <param name="Snippet">The passage that shares most, in one line.</param>
public sealed record MessageMatch(string? ItemId, [property: ItemRole] string? Role, string Snippet, DateTimeOffset? CreatedAt);

/// <param name="Matches">The best of the conversation, best first, at most three.</param>
public sealed record ConversationMatch(ConversationDetails Conversation, IReadOnlyList<MessageMatch> Matches);

/// <summary>Conversations that were found.</summary>
/// <param name="Object"><c>list</c>.</param>
public sealed record ConversationMatchList(string Object, IReadOnlyList<ConversationMatch> Data, long Limit, long Offset, bool HasMore);

static class ConversationSearch
{
    const int MatchesMax = 3;
    const int SnippetChars = 300;

    /// <summary>Titles and turns that are looked at for each conversation that is asked for.</summary>
    const int RowsPerConversation = 4;

    public static void MapConversationSearch(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/conversations/search", Search).WithTags("Conversations").WithName("searchConversations")
            .WithSummary("Find conversations by words of their titles and messages, best first")
            .Takes(SearchQuery.Words).Takes(ProjectInQuery.Parameter).Takes(Lists.LimitOfConversations).Takes(SearchQuery.Offset)
            .Produces<ConversationMatchList>().Refuses(404, 422);

    static async Task<IResult> Search(HttpContext http, Caller caller, IRows rows, IBlobs blobs, CancellationToken ct)
    {
        var (question, limit, offset) = (SearchQuery.Read(http), (int)Lists.LimitOfConversations.Read(http), (int)SearchQuery.Offset.Read(http));
        var (project, missing) = await ProjectInQuery.Find(http, caller, rows, ct);
        if (missing is not null)
        {
            return missing;
        }
        var found = (await rows.Search(
            caller.Org, Messages.Model.Table, question, (offset + limit + 1) * RowsPerConversation, Messages.Owner, project?.Value, null, ct))
            .Select(row => Messages.Model.Read(row.Json.Span)).ToList();
        var sessions = found.Select(row => row.Session).Distinct().Skip(offset).ToList();
        var asked = sessions.Take(limit).ToList();
        var conversations = (await rows.Get(caller.Org, Projections.Sessions.Model.Table, [.. asked.Select(session => session.Value)], ct))
            .ToDictionary(row => row.Key, row => Projections.Sessions.Model.Read(row.Json.Span), StringComparer.Ordinal);
        var shown = new List<ConversationMatch>();
        foreach (var session in asked)
        {
            // One that was deleted this moment has no row.
            if (conversations.GetValueOrDefault(session.Value) is { } conversation)
            {
                var matches = found.Where(row => row.Session == session).SelectMany(row => Matches(row, question)).OrderByDescending(match => match.Score).Take(MatchesMax);
                shown.Add(new(await ConversationEndpoints.Details(conversation, blobs, ct), [.. matches.Select(match => match.Match)]));
            }
        }
        return JsonResult.Of(200, new("list", shown, limit, offset, sessions.Count > limit), PlatformJson.Answers.ConversationMatchList);
    }

    static IEnumerable<(double Score, MessageMatch Match)> Matches(MessageRow row, string question)
    {
        if (Best(row.Title) is { } title)
        {
            yield return (title.Score, new(null, null, title.Snippet, null));
        }
        if (Best(row.Message) is { } message)
        {
            yield return (message.Score, new(new ItemId(row.Run!.Value, IsReply: false).ToString(), "user", message.Snippet, row.SaidAt));
        }
        if (Best(row.Reply) is { } reply)
        {
            yield return (reply.Score, new(new ItemId(row.Run!.Value, IsReply: true).ToString(), "assistant", reply.Snippet, row.RepliedAt));
        }

        (double Score, string Snippet)? Best(string? text) =>
            text is not null && TextSearch.Find([TextIndex.Of("", text)], question, 1).Hits is [var hit]
                ? (hit.Coverage, FileText.Truncate(FileText.OneLine(hit.Passage.Text), SnippetChars))
                : null;
    }
}
