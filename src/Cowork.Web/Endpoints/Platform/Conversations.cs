using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

using SessionEndpoints = Cowork.Web.Endpoints.AgentService.SessionEndpoints;

namespace Cowork.Web.Endpoints.Platform;

/// <summary>Body of <c>POST /api/v1/conversations</c>; every field is optional.</summary>
/// <param name="ProjectId">Null: the built-in project "General".</param>
/// <param name="Title">1 to 200 characters; null: the beginning of the first message.</param>
/// <param name="Goal">What the conversation is for: part of the prompt of each turn.</param>
/// <param name="Subject">The data subject whose texts it has: they are sealed under a key of theirs, and can be erased. It never changes. Null: nobody.</param>
public sealed record NewConversation(string? ProjectId = null, string? Title = null, string? Goal = null, string? Subject = null) : IRequestBody<NewConversation>
{
    public static JsonTypeInfo<NewConversation> Json => PlatformJson.Default.NewConversation;

    public static NewConversation WhenEmpty { get; } = new();

    public void Validate(ValidationErrors errors)
    {
        SubjectField.Validate(Subject, errors);
        ConversationFields.ValidateTitle(Title, errors);
        ConversationFields.ValidateGoal(Goal, errors);
    }
}

/// <summary>
/// Body of <c>PATCH /api/v1/conversations/{id}</c>. A member that is left out keeps its value; null clears <c>title</c>, which the next message gives again, and
/// <c>goal</c>.
/// </summary>
/// <param name="Status"><c>active</c> or <c>archived</c>.</param>
public sealed record ConversationChanges(
    [property: JsonConverter(typeof(OptionalTextConverter))] Optional<string> Title = default,
    [property: JsonConverter(typeof(OptionalTextConverter))] Optional<string> Goal = default,
    [property: NeverNull, JsonConverter(typeof(OptionalTextConverter)), ConversationStatus] Optional<string> Status = default)
    : IRequestBody<ConversationChanges>
{
    public static JsonTypeInfo<ConversationChanges> Json => PlatformJson.Default.ConversationChanges;

    public void Validate(ValidationErrors errors)
    {
        ConversationFields.ValidateTitle(Title.Value, errors);
        ConversationFields.ValidateGoal(Goal.Value, errors);
        if (Status is { IsGiven: true, Value: not (Projections.Sessions.Active or Projections.Sessions.Archived) })
        {
            errors.Add("$.status", $"Must be {Projections.Sessions.Active} or {Projections.Sessions.Archived}.");
        }
    }
}

/// <param name="Id"><c>conv_</c> and the session's own id.</param>
/// <param name="ProjectId">Null: the built-in project "General".</param>
/// <param name="Title">Null: it has none before its first message.</param>
public sealed record ConversationDetails(
    string Id, ProjectKey? ProjectId, string? Title, string? Goal, [property: ConversationStatus] string Status, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt);

/// <param name="Object"><c>list</c>.</param>
/// <param name="Total">How many there are, on all pages.</param>
public sealed record ConversationList(string Object, IReadOnlyList<ConversationDetails> Data, long Total, long Limit, long Offset, bool HasMore);

/// <summary>A message of a conversation.</summary>
/// <param name="ResponseId">The response that it belongs to.</param>
public sealed record ConversationItem(string Id, [property: ItemRole] string Role, string Content, string ResponseId, DateTimeOffset CreatedAt);

/// <summary>Messages in the order in which they were said.</summary>
/// <param name="Object"><c>list</c>.</param>
/// <param name="FirstId">The oldest one's id: with <c>before</c>, the items before it. Null: the list is empty.</param>
/// <param name="LastId">The newest one's id; null: the list is empty.</param>
/// <param name="HasMore">There are older ones.</param>
public sealed record ConversationItemList(string Object, IReadOnlyList<ConversationItem> Data, long Limit, string? FirstId, string? LastId, bool HasMore);

/// <summary>The members that both bodies have.</summary>
static class ConversationFields
{
    public static void ValidateTitle(string? title, ValidationErrors errors)
    {
        if (title is not null && (string.IsNullOrWhiteSpace(title) || title.Length > Limits.TitleCharsMax))
        {
            errors.Add("$.title", $"A title has 1 to {Limits.TitleCharsMax} characters, and is not blank.");
        }
    }

    public static void ValidateGoal(string? goal, ValidationErrors errors)
    {
        if (goal is not null && (string.IsNullOrWhiteSpace(goal) || goal.Length > Limits.GoalCharsMax))
        {
            errors.Add("$.goal", $"A goal has 1 to {Limits.GoalCharsMax} characters, and is not blank.");
        }
    }
}

static class ConversationEndpoints
{
    static readonly ChoiceQuery OfStatus =
        new("status", [Projections.Sessions.Active, Projections.Sessions.Archived, "all"], "all", "Only of this status.", "ConversationStatusFilter");
    static readonly IdQuery Before = new("before", "Only items before this one.");

    public static void MapConversations(this IEndpointRouteBuilder routes)
    {
        var conversations = routes.MapGroup("/conversations").WithTags("Conversations");
        conversations.MapPost("", Create).WithName("createConversation").RequireMember()
            .WithSummary("Create a conversation")
            .Produces<ConversationDetails>(201).Refuses(400, 404, 409, 413, 415, 422, 507);
        conversations.MapGet("", List).WithName("listConversations")
            .WithSummary("List conversations, newest first")
            .Takes(ProjectInQuery.Parameter).Takes(OfStatus).Takes(Lists.LimitOfConversations).Takes(Lists.Offset)
            .TakesAsOf()
            .Produces<ConversationList>().Refuses(404, 422);
        conversations.MapGet("/{session_id}", Get).WithName("getConversation")
            .WithSummary("Show a conversation")
            .TakesAsOf()
            .Produces<ConversationDetails>().Refuses(404, 422);
        conversations.MapPatch("/{session_id}", Change).WithName("changeConversation").RequireMember()
            .WithSummary("Change a conversation's title, goal or status; what is left out stays")
            .Produces<ConversationDetails>().Refuses(400, 404, 409, 413, 415, 422, 507);
        conversations.MapGet("/{session_id}/items", Items).WithName("listConversationItems")
            .WithSummary("List a conversation's newest messages in the order in which they were said")
            .Takes(Lists.Limit).Takes(Before)
            .TakesAsOf()
            .Produces<ConversationItemList>().Refuses(404, 422);
        conversations.MapDelete("/{session_id}", SessionEndpoints.Delete).WithName("deleteConversation").RequireMember()
            .WithSummary("Delete a conversation and cancel its live responses; the log keeps what happened")
            .Produces(204).Refuses(404, 409, 422);
    }

    static async Task<IResult> Create(
        Body<NewConversation> body, Caller caller, ICommandExecutor commands, Subjects subjects, CommandAnswers answers, TenantUsage usage, Workspaces workspaces, IBlobs blobs,
        TimeProvider clock, CancellationToken ct)
    {
        var asked = body.Value;
        var project = asked.ProjectId is { } id ? PathIds.Key<ProjectKey>(id, "$.project_id") : ProjectKey.General;
        var session = SessionKey.New(clock.GetUtcNow());
        if (await usage.SessionRefusal(caller.Org, ct) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        var workspace = await workspaces.Prepare(caller.Org, session, null, ct);
        if (workspace.Refused is { } refused)
        {
            return ErrorResult.Of(refused);
        }
        var (subject, erased) = await subjects.Of(caller.Org, caller.Actor, body.Value.Subject, ct);
        if (erased is not null)
        {
            return ErrorResult.Of(erased);
        }
        var open = new OpenSession(
            session, workspace.Path!, "{}", null, body.Key, Project: project.IsGeneral ? null : project, Title: ContentOf(asked.Title), Goal: ContentOf(asked.Goal),
            Subject: subject);
        var result = await commands.Execute(caller.Org, caller.Origin, open, ct);
        if (result.Refused is null)
        {
            usage.Made(caller.Org, sessions: 1);
        }
        return await answers.Of(
            caller.Org, result, Session.Aggregate.Stream(session), body.Key,
            async after =>
            {
                var opened = after.Row(Projections.Sessions.Model);
                return JsonResult.Of(201, await Details(opened, blobs, ct), PlatformJson.Answers.ConversationDetails) with
                {
                    Location = $"/api/v1/conversations/{opened.SessionId.ConversationId}",
                };
            },
            ct);
    }

    static async Task<IResult> List(HttpContext http, Caller caller, ReadView view, IBlobs blobs, CancellationToken ct)
    {
        var (limit, offset, status) = (Lists.LimitOfConversations.Read(http), Lists.Offset.Read(http), OfStatus.Read(http));
        var (project, missing) = await ProjectInQuery.Find(http, caller, view.Rows, ct);
        if (missing is not null)
        {
            return missing;
        }
        var query = new RowQuery(project?.Value, status == OfStatus.Default ? null : status, (int)limit, Bytes: PageBytes.Max);
        var page = await view.Rows.Page(caller.Org, Projections.Sessions.Model.Table, query, offset, ct);
        var shown = new List<ConversationDetails>();
        foreach (var row in page.Rows)
        {
            shown.Add(await Details(Projections.Sessions.Model.Read(row.Json.Span), blobs, ct));
        }
        return JsonResult.Of(200, new("list", shown, page.Total, limit, offset, offset + shown.Count < page.Total), PlatformJson.Answers.ConversationList);
    }

    static async Task<IResult> Get(PathKey<SessionKey> session, Caller caller, ReadView view, IBlobs blobs, CancellationToken ct) =>
        await view.Rows.FindSession(caller, session.Key, ct) is { } row
            ? JsonResult.Of(200, await Details(row, blobs, ct), PlatformJson.Answers.ConversationDetails)
            : ErrorResult.NotFound("conversation");

    static async Task<IResult> Change(
        PathKey<SessionKey> session, Body<ConversationChanges> body, Caller caller, ICommandExecutor commands, CommandAnswers answers, TenantUsage usage, IBlobs blobs,
        CancellationToken ct)
    {
        if (await usage.StorageRefusal(caller.Org, ct) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        var asked = body.Value;
        var change = new ChangeSession(
            session.Key, asked.Title.Select(Content.Of), asked.Goal.Select(Content.Of), asked.Status.IsGiven ? asked.Status.Value == Projections.Sessions.Archived : null,
            body.Key);
        var result = await commands.Execute(caller.Org, caller.Origin, change, ct);
        return await answers.Of(
            caller.Org, result, Session.Aggregate.Stream(session.Key), body.Key,
            async after => JsonResult.Of(200, await Details(after.Row(Projections.Sessions.Model), blobs, ct), PlatformJson.Answers.ConversationDetails), ct);
    }

    static async Task<IResult> Items(PathKey<SessionKey> session, HttpContext http, Caller caller, ReadView view, IBlobs blobs, CancellationToken ct)
    {
        var limit = (int)Lists.Limit.Read(http);
        var before = http.Request.Query.TryGetValue(Before.Name, out var sent) ? ItemId.Read(sent is [{ } id] ? id : "") : null;
        if (await view.Rows.FindSession(caller, session.Key, ct) is null)
        {
            return ErrorResult.NotFound("conversation");
        }
        long? madeBefore = null;
        if (before is not null)
        {
            if (await view.Rows.Get(caller.Org, Runs.Model.Table, before.Run.Value, ct) is not { } cursor || Runs.Model.Read(cursor.Json.Span).SessionId != session.Key)
            {
                return ErrorResult.Invalid(Before.Name, "Must be the id of an item of this conversation.");
            }
            // Before a reply comes the message that it answers.
            madeBefore = before.IsReply ? cursor.Created + 1 : cursor.Created;
        }
        var (items, room, isCut) = (new List<ConversationItem>(), new ListRoom(), false);
        while (items.Count <= limit && !isCut)
        {
            // A run has a message, and most have a reply: some more runs than are shown tell whether there are older ones.
            var wanted = ((limit - items.Count) / 2) + 1;
            var runs = await view.Rows.List(
                caller.Org, Runs.Model.Table, new(Scope: session.Key.Value, Limit: wanted, Before: madeBefore, Bytes: PageBytes.Max), ct);
            foreach (var row in runs)
            {
                var run = Runs.Model.Read(row.Json.Span);
                isCut = !room.Takes(row, run.Message, run.Reply);
                if (isCut)
                {
                    break;
                }
                if (run.Reply is { } reply && !(before is { IsReply: true } && before.Run == run.RunId))
                {
                    items.Add(await Item(run, isReply: true, reply, run.CompletedAt ?? run.StartedAt ?? run.CreatedAt, blobs, ct));
                }
                items.Add(await Item(run, isReply: false, run.Message, run.CreatedAt, blobs, ct));
                madeBefore = row.Created;
            }
            if (runs.Count < wanted && runs.Sum(row => (long)row.Json.Length) <= PageBytes.Max)
            {
                break;
            }
        }
        var hasMore = isCut || items.Count > limit;
        items.RemoveRange(Math.Min(limit, items.Count), Math.Max(0, items.Count - limit));
        items.Reverse();
        return JsonResult.Of(
            200, new("list", items, limit, items is [var first, ..] ? first.Id : null, items is [.., var last] ? last.Id : null, hasMore),
            PlatformJson.Answers.ConversationItemList);
    }

    static async ValueTask<ConversationItem> Item(RunRow run, bool isReply, Content text, DateTimeOffset at, IBlobs blobs, CancellationToken ct) => new(
        new ItemId(run.RunId, isReply).ToString(), isReply ? "assistant" : "user", await blobs.Text(text, ct), run.RunId.ResponseId, at);

    public static async ValueTask<ConversationDetails> Details(SessionRow session, IBlobs blobs, CancellationToken ct) => new(
        session.SessionId.ConversationId, session.Project, session.Title is { } title ? await blobs.Text(title, ct) : null,
        session.Goal is { } goal ? await blobs.Text(goal, ct) : null, session.Archived ? Projections.Sessions.Archived : Projections.Sessions.Active,
        session.CreatedAt, session.UpdatedAt);

    static Content? ContentOf(string? text) => text is null ? null : Content.Of(text);
}

/// <summary>The id of an item: the run whose message or reply it is.</summary>
sealed record ItemId(RunKey Run, bool IsReply)
{
    const string Prefix = "msg_";
    const string OfUser = "_user";
    const string OfAgent = "_assistant";

    /// <exception cref="UnreadableRequestException">No item has such an id.</exception>
    public static ItemId Read(string id)
    {
        var end = id.EndsWith(OfUser, StringComparison.Ordinal) ? OfUser : OfAgent;
        return id.Length > Prefix.Length + end.Length && id.StartsWith(Prefix, StringComparison.Ordinal) && id.EndsWith(end, StringComparison.Ordinal)
            && RunKey.Parse(id[Prefix.Length..^end.Length]) is { } run
                ? new(run, end == OfAgent)
                : throw new UnreadableRequestException(ErrorResult.Invalid("before", "Must be the id of an item of this conversation."));
    }

    public override string ToString() => $"{Prefix}{Run.Value}{(IsReply ? OfAgent : OfUser)}";
}
