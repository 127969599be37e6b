using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Groups;

/// <summary>Body of <c>POST /groups/{id}/archive</c>; every field is optional.</summary>
/// <param name="Reason">At most 4 000 characters, not blank.</param>
public sealed record NewArchive(string? Reason = null) : IRequestBody<NewArchive>
{
    public static JsonTypeInfo<NewArchive> Json => GroupsJson.Default.NewArchive;

    public static NewArchive WhenEmpty { get; } = new();

    public void Validate(ValidationErrors errors)
    {
        if (Reason is not null && (string.IsNullOrWhiteSpace(Reason) || Reason.Length > Limits.NoteCharsMax))
        {
            errors.Add("$.reason", $"A reason has 1 to {Limits.NoteCharsMax} characters, and is not blank.");
        }
    }
}

/// <param name="ArchivedAt">Null: the group is closed, and its archive is still being written.</param>
/// <param name="R2Path">Where the archive lies in the bucket, or in the folder of the blob store.</param>
public sealed record ArchiveAnswer(DateTimeOffset? ArchivedAt, string R2Path);

/// <summary>The archive of a group, in canonical form (RFC 8785).</summary>
/// <remarks><see cref="GroupArchive"/> writes it; this is its shape in /openapi.json.</remarks>
/// <param name="Agents">Ids; the first one answered messages that named none.</param>
/// <param name="ArchiveRequestedBy">The user; null: the host, because nothing happened in the group.</param>
/// <param name="Events">The group's feed, whole, up to the end of its last run.</param>
/// <param name="FeedThrough">Feed id of the last event.</param>
/// <param name="Members">Those of the moment in which the archive was asked for.</param>
/// <param name="Messages">All that the group's WebSocket sent, by <c>seq</c>.</param>
/// <param name="Reason">Null: none was given.</param>
/// <param name="Texts">The bytes behind each <c>{sha256, bytes}</c> of an event.</param>
public sealed record GroupArchiveDocument(
    IReadOnlyList<string> Agents, DateTimeOffset ArchiveRequestedAt, string? ArchiveRequestedBy, DateTimeOffset CreatedAt, string CreatedBy,
    IReadOnlyList<ArchivedEvent> Events, long FeedThrough, string Format, GroupKey GroupId, bool IsPrivate, IReadOnlyList<ArchivedMember> Members,
    IReadOnlyList<JsonElement> Messages, string OrgId, string? Reason, SessionKey SessionId, IReadOnlyList<ArchivedText> Texts, string Title);

/// <summary>A member of the moment in which the archive was asked for.</summary>
public sealed record ArchivedMember(string UserId, [property: GroupRole] string Role, DateTimeOffset JoinedAt);

/// <summary>A stored event.</summary>
/// <param name="Type">The stored name, with its version.</param>
/// <param name="Hash">Chained to the event before it in its stream.</param>
public sealed record ArchivedEvent(
    long FeedId, long Gid, string TenantId, string StreamId, long Version, Guid Id, string Type, DateTimeOffset Ts, string Actor, JsonElement Data, string Hash,
    RunKey? RunId);

/// <summary>The bytes behind a <c>{sha256, bytes}</c> of an event.</summary>
public sealed record ArchivedText(string Sha256, long Bytes, byte[] Base64);

static class GroupArchiveEndpoints
{
    /// <summary>The answer waits so long for the archive; a client that waits longer asks again.</summary>
    static readonly TimeSpan Wait = TimeSpan.FromSeconds(10);

    public static void MapGroupArchives(this IEndpointRouteBuilder routes)
    {
        var archive = routes.MapGroup("/{group_id}/archive");
        archive.MapPost("", Archive).WithName("archiveGroup").RequireMember()
            .WithSummary("Close a group, cancel what runs in it, and write its archive; 202: it is being written, and the same request answers with it later")
            .Produces<ArchiveAnswer>(200).Produces<ArchiveAnswer>(202).Refuses(400, 403, 404, 409, 413, 415, 422);
        archive.MapGet("", Get).WithName("downloadGroupArchive").WithMetadata(Exports.Of<GroupKey>("group"))
            .WithSummary("The archive of a group; the entity tag is its SHA-256")
            .Produces<GroupArchiveDocument>().Produces(304).Refuses(404, 409, 412, 416, 422);
    }

    static async Task<IResult> Archive(
        PathKey<GroupKey> group, Body<NewArchive> body, Caller caller, ICommandExecutor commands, CommandHandler handler, FeedHub hub, TimeProvider clock,
        CancellationToken ct)
    {
        var reason = body.Value.Reason is { } text ? Content.Of(text) : null;
        var close = new ArchiveGroup(group.Key, reason, caller.User, caller.Roles.Contains(Roles.Admin), body.Key);
        var result = await commands.Execute(caller.Org, caller.Origin, close, ct);
        if (result.Refused is { Code: not "idempotency_key_claimed" } refused)
        {
            return ErrorResult.Of(refused);
        }
        var known = await handler.Known(caller.Org, Group.Aggregate, group.Key, static state => ArchiveOf(state) is { ArchivedAt: not null }, ct);
        if (ArchiveOf(known.State) is { ArchivedAt: null })
        {
            using var late = new CancellationTokenSource(Wait, clock);
            using var either = CancellationTokenSource.CreateLinkedTokenSource(ct, late.Token);
            try
            {
                await foreach (var entry in hub.FollowStream(caller.Org, group.Key.Session, Group.Aggregate.Stream(group.Key), known.Version, either.Token))
                {
                    if (entry.Is<GroupEvent.GroupArchived>())
                    {
                        break;
                    }
                }
            }
            catch (OperationCanceledException) when (!ct.IsCancellationRequested)
            {
                // It is shown as it is now.
            }
        }
        var archive = ArchiveOf(await handler.LatestState(caller.Org, Group.Aggregate, group.Key, ct));
        return archive is null ? ErrorResult.NotFound("group")
            : JsonResult.Of(archive.ArchivedAt is null ? 202 : 200, new(archive.ArchivedAt, archive.Path), GroupsJson.Answers.ArchiveAnswer) with
            {
                Location = $"{GroupsDialect.BasePath}/{group.Key}/archive",
                Replayed = result.Refused is not null,
            };
    }

    static async Task<IResult> Get(PathKey<GroupKey> group, Caller caller, CommandHandler handler, IArchives archives, IRows rows, CancellationToken ct) =>
        await rows.FindGroup(caller, group.Key, ct) is null ? ErrorResult.NotFound("group")
        : ArchiveOf(await handler.LatestState(caller.Org, Group.Aggregate, group.Key, ct)) is not { } archive ? ErrorResult.NotFound("archive of the group")
        : archive is not { Sha256: { } sha256, Bytes: { } bytes }
            ? ErrorResult.Of(Refusal.Conflict("archive_in_progress", "The archive is being written.")) with { RetryAfter = 1 }
        : await archives.OpenArchive(archive.Path, ct) is { } file ? new BlobResult(_ => new(file), sha256, bytes, "application/json", $"{group.Key}.json")
        : await IsErased(caller.Org, group.Key, handler, ct) ? BlobResult.Erased
        : throw new InvalidDataException($"The archive {archive.Path} is missing.");

    static async ValueTask<bool> IsErased(string org, GroupKey group, CommandHandler handler, CancellationToken ct) =>
        (await handler.State(org, Group.Aggregate, group, ct) as IOfSubject)?.Subject is { } subject
        && await handler.LatestState(org, DataSubject.Aggregate, DataSubject.KeyOf(subject), ct) is DataSubject.Erased;

    static ArchiveOfGroup? ArchiveOf(Group group) => (group as Group.Live)?.Archive;
}
