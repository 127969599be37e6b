using System.Collections.Immutable;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Domain;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Infra;

/// <summary>Body of <c>POST /infra/groups</c>.</summary>
/// <param name="OrgId">The organisation that the group counts for.</param>
/// <param name="UserId">The member for whom the app opens the session.</param>
public sealed record NewGroupSession(
    [property: NeverNull] string? GroupId, [property: NeverNull] string? OrgId, [property: NeverNull] string? UserId) : IRequestBody<NewGroupSession>
{
    public static JsonTypeInfo<NewGroupSession> Json => InfraJson.Default.NewGroupSession;

    public void Validate(ValidationErrors errors)
    {
        InfraFields.ValidateId(GroupId, "$.group_id", errors);
        InfraFields.ValidateId(OrgId, "$.org_id", errors);
        InfraFields.ValidateId(UserId, "$.user_id", errors, AuthorityTokens.UserCharsMax);
    }
}

/// <param name="GroupControllerId">The same for each session of the group: the <c>iss</c> of the controller's requests.</param>
/// <param name="SessionPrivateKey">PKCS#8 PEM of an ES256 key. Only this answer shows it.</param>
/// <param name="SessionCertificate">For the header <c>X-Session-Cert</c>.</param>
public sealed record OpenedGroupSession(GroupKey GroupId, string GroupControllerId, string SessionPrivateKey, string SessionCertificate, DateTimeOffset ExpiresAt);

/// <summary>Body of <c>POST /infra/cleanup</c>.</summary>
/// <param name="Reason">Why the controller ends, for the log: at most 1000 characters.</param>
public sealed record Cleanup([property: NeverNull] string? GroupId, string? Reason = null) : IRequestBody<Cleanup>
{
    const int ReasonCharsMax = 1_000;

    public static JsonTypeInfo<Cleanup> Json => InfraJson.Default.Cleanup;

    public void Validate(ValidationErrors errors)
    {
        InfraFields.ValidateId(GroupId, "$.group_id", errors);
        if (Reason?.Length > ReasonCharsMax)
        {
            errors.Add("$.reason", $"A reason has at most {ReasonCharsMax} characters.");
        }
    }
}

/// <param name="Status"><c>closed</c>: the session's key and certificate are worth nothing any more.</param>
public sealed record CleanupAnswer(string Status);

/// <summary>What the bodies have in common.</summary>
static class InfraFields
{
    public static void ValidateId(string? id, string path, ValidationErrors errors, int charsMax = Limits.IdCharsMax)
    {
        if (string.IsNullOrWhiteSpace(id) || id.Length > charsMax)
        {
            errors.Add(path, $"An id of 1 to {charsMax} characters is required.");
        }
    }
}

static class GroupSessionEndpoints
{
    public static void MapGroupSessions(this IEndpointRouteBuilder routes)
    {
        routes.MapPost("/groups", Open).WithName("openGroupSession").WithTags("Trust").WithMetadata(new TakesAppSignature())
            .WithSummary("Open a session of a group's controller: an app signs, and gets a key that is shown once and a certificate")
            .Produces<OpenedGroupSession>(201).Refuses(400, 404, 409, 413, 415, 422);
        routes.MapPost("/cleanup", CleanUp).WithName("takeGroupCleanup").WithTags("Trust").WithMetadata(new TakesSessionSignature(SignedRequests.Orchestrator))
            .WithSummary("Close the session of a group's controller, which signs with its key")
            .Produces<CleanupAnswer>().Refuses(400, 404, 409, 413, 415, 422);
    }

    static async Task<IResult> Open(
        Body<NewGroupSession> body, Caller caller, SignedCall signed, SessionCertificates certificates, ICommandExecutor commands, CommandAnswers answers, CancellationToken ct)
    {
        var group = PathIds.Key<GroupKey>(body.Value.GroupId!, "$.group_id");
        var (pem, key, kid) = SessionCertificates.NewKey();
        var session = new CertifiedSession(
            caller.Org, group, body.Value.UserId!, signed.App!.Value.ToString(), signed.AppKey!.Value, key, kid, certificates.Expiry(), Persons(caller));
        // Signed before it is committed: whoever cannot sign opens nothing.
        var certificate = await certificates.Issue(session, ct);
        var open = new OpenGroupSession(group, body.Value.OrgId!, session.User, kid, session.App, session.ExpiresAt, signed.Use, body.Key);
        var result = await commands.Execute(caller.Org, caller.Origin, open, ct);
        return await answers.Of(
            caller.Org, result, GroupSession.Aggregate.Stream(GroupSession.StreamKey(kid)), body.Key,
            _ => JsonResult.Of(201, new OpenedGroupSession(group, session.Controller, pem, certificate, session.ExpiresAt), InfraJson.Answers.OpenedGroupSession) with
            {
                Location = $"/groups/{group}",
            },
            ct, holdsSecret: true);
    }

    static async Task<IResult> CleanUp(
        Body<Cleanup> body, Caller caller, SignedCall signed, ICommandExecutor commands, CommandAnswers answers, CancellationToken ct)
    {
        var (group, session) = (PathIds.Key<GroupKey>(body.Value.GroupId!, "$.group_id"), signed.Session!);
        if (group != session.Group)
        {
            return ErrorResult.Of(new("foreign_group", 403, "The certificate is of another group."));
        }
        var result = await commands.Execute(caller.Org, caller.Origin, new CleanUpGroupSession(group, session.Kid, body.Value.Reason, signed.Use, body.Key), ct);
        return await answers.Of(
            caller.Org, result, GroupSession.Aggregate.Stream(GroupSession.StreamKey(session.Kid)), body.Key,
            _ => JsonResult.Of(200, new CleanupAnswer("closed"), InfraJson.Answers.CleanupAnswer), ct);
    }

    /// <summary>The persons behind what an app asks for: the app, whose key signed it, and who registered that key.</summary>
    internal static ImmutableList<Issuer> Persons(Caller app) => [new(app.Actor), .. app.Issuers ?? []];
}
