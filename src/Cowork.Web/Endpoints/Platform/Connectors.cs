using System.Collections.Immutable;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Platform;

/// <summary>Body of <c>POST /api/v1/connectors/connections</c>. Its text tells no credentials.</summary>
/// <param name="SpecId">A connector of <c>GET /api/v1/connectors/specs</c>.</param>
/// <param name="Name">1 to 200 characters; several connections may have one name.</param>
/// <param name="Credentials">Values by the keys of the spec's fields, texts or numbers. They are encrypted, and never answered.</param>
public sealed record NewConnection(
    [property: NeverNull] string? SpecId, [property: NeverNull] string? Name, [property: NeverNull] JsonElement? Credentials)
    : IRequestBody<NewConnection>
{
    public static JsonTypeInfo<NewConnection> Json => PlatformJson.Default.NewConnection;

    public void Validate(ValidationErrors errors)
    {
        if (string.IsNullOrWhiteSpace(SpecId) || SpecId.Length > Limits.IdCharsMax)
        {
            errors.Add("$.spec_id", "A connector's spec is required.");
        }
        ConnectionFields.ValidateName(Name, errors);
        ConnectionFields.ValidateCredentials(Credentials, errors);
    }

    public override string ToString() => nameof(NewConnection);
}

/// <summary>Body of <c>PATCH /api/v1/connectors/connections/{id}</c>. A member that is left out keeps its value. Its text tells no credentials.</summary>
/// <param name="Credentials">
/// All of them, in place of the current ones: a secret is not carried over, because who changes the address beside it would have it sent there.
/// </param>
public sealed record ConnectionChanges(
    [property: NeverNull, JsonConverter(typeof(OptionalTextConverter))] Optional<string> Name = default,
    [property: NeverNull, JsonConverter(typeof(GivenElementConverter))] JsonElement? Credentials = null)
    : IRequestBody<ConnectionChanges>
{
    public static JsonTypeInfo<ConnectionChanges> Json => PlatformJson.Default.ConnectionChanges;

    public void Validate(ValidationErrors errors)
    {
        if (Name.IsGiven)
        {
            ConnectionFields.ValidateName(Name.Value, errors);
        }
        if (Credentials is not null)
        {
            ConnectionFields.ValidateCredentials(Credentials, errors);
        }
    }

    public override string ToString() => nameof(ConnectionChanges);
}

/// <param name="Status">How the source answered the last time; <c>pending</c>: the user has to agree at the source.</param>
/// <param name="StatusDetail">Why the source was not reached; null unless the status is <c>error</c>.</param>
/// <param name="CheckedAt">When the source was asked for the last time; null: never.</param>
public sealed record ConnectionDetails(
    [property: JsonPropertyName("id")] ConnectionKey ConnectionId, string SpecId, string Name, [property: ConnectionStatus] string Status, string? StatusDetail,
    DateTimeOffset? CheckedAt, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt)
{
    public static ConnectionDetails Of(ConnectionRow row) =>
        new(row.ConnectionId, row.SpecId, row.Name, row.Status, row.StatusDetail, row.CheckedAt, row.CreatedAt, row.UpdatedAt);
}

/// <param name="Object"><c>list</c>.</param>
/// <param name="Total">How many there are, on all pages.</param>
public sealed record ConnectionList(string Object, IReadOnlyList<ConnectionDetails> Data, long Total, long Limit, long Offset, bool HasMore);

/// <param name="Id">What <c>spec_id</c> of a connection names.</param>
/// <param name="AuthType"><c>credentials</c>: the client sends them. <c>oauth2</c>: the user agrees at the source.</param>
/// <param name="Fields">What to ask the user for, in this order.</param>
public sealed record ConnectorSpecDetails(
    string Id, string Name, string Description, [property: ConnectorAuthType] string AuthType, IReadOnlyList<ConnectorFieldDetails> Fields)
{
    public static ConnectorSpecDetails Of(ConnectorSpec spec) => new(
        spec.Id, spec.Name, spec.Description, spec.Auth == ConnectorAuth.OAuth2 ? "oauth2" : "credentials",
        [.. spec.Fields.Select(field => new ConnectorFieldDetails(field.Key, field.Label, field.IsSecret, field.IsRequired))]);
}

/// <param name="Key">The member of <c>credentials</c>.</param>
/// <param name="Label">For people.</param>
/// <param name="Secret">A form should not show it.</param>
/// <param name="Required">False: it may be left out.</param>
public sealed record ConnectorFieldDetails(string Key, string Label, bool Secret, bool Required);

/// <param name="Object"><c>list</c>.</param>
/// <param name="Total">How many there are, on all pages.</param>
public sealed record ConnectorSpecList(string Object, IReadOnlyList<ConnectorSpecDetails> Data, long Total, long Limit, long Offset, bool HasMore);

/// <summary>The members that both bodies have.</summary>
static class ConnectionFields
{
    public static void ValidateName(string? name, ValidationErrors errors)
    {
        if (string.IsNullOrWhiteSpace(name) || name.Length > Limits.ConnectionNameCharsMax)
        {
            errors.Add("$.name", $"A name of 1 to {Limits.ConnectionNameCharsMax} characters is required, and must not be blank.");
        }
    }

    public static void ValidateCredentials(JsonElement? credentials, ValidationErrors errors)
    {
        if (credentials is not { ValueKind: JsonValueKind.Object })
        {
            errors.Add("$.credentials", "An object with the fields of the spec is required.");
        }
    }

    /// <summary>The fields of a spec, checked.</summary>
    /// <exception cref="UnreadableRequestException">Fields are missing, unknown or of a wrong form: all of them are named.</exception>
    public static ImmutableDictionary<string, string> Read(IConnector connector, string org, ConnectionKey connection, JsonElement? credentials)
    {
        var errors = new ValidationErrors();
        var (fields, faults) = Credentials.Read(connector.Spec, credentials);
        foreach (var fault in faults.Concat(faults.Count > 0 ? [] : connector.Check(new(org, connection, connector.Spec.Id, fields))))
        {
            errors.Add(fault.Key.Length > 0 ? $"$.credentials.{fault.Key}" : "$.credentials", fault.Message);
        }
        errors.ThrowIfAny();
        return fields;
    }
}

static class ConnectorEndpoints
{
    static readonly TextQuery OfSpec = new("spec_id", "", "Only connections of this spec.");

    public static void MapConnectors(this IEndpointRouteBuilder routes)
    {
        var connectors = routes.MapGroup("/connectors").WithTags("Connectors");
        connectors.MapGet("/specs", Specs).WithName("listConnectorSpecs")
            .WithSummary("List what this host can connect to")
            .Takes(Lists.LimitOfPage).Takes(Lists.Offset)
            .Produces<ConnectorSpecList>().Refuses(422);
        connectors.MapPost("/connections", Create).WithName("createConnection").RequireMember()
            .WithSummary("Create a connection and connect: the status says whether the source was reached")
            .Produces<ConnectionDetails>(201).Refuses(400, 409, 413, 415, 422, 507);
        connectors.MapGet("/connections", List).WithName("listConnections")
            .WithSummary("List connections, newest first")
            .Takes(OfSpec).Takes(NameQuery.Words).Takes(Lists.LimitOfPage).Takes(Lists.Offset)
            .Produces<ConnectionList>().Refuses(422);
        connectors.MapGet("/connections/{connection_id}", Get).WithName("getConnection")
            .WithSummary("Show a connection, without its credentials")
            .Produces<ConnectionDetails>().Refuses(404, 422);
        connectors.MapPatch("/connections/{connection_id}", Change).WithName("changeConnection").RequireMember()
            .WithSummary("Change a connection; other credentials are tried at once")
            .Produces<ConnectionDetails>().Refuses(400, 404, 409, 413, 415, 422, 507);
        connectors.MapPost("/connections/{connection_id}/test", Test).WithName("runConnectionTest").RequireMember()
            .WithSummary("Connect again: the status says whether the source was reached")
            .Produces<ConnectionDetails>().Refuses(400, 404, 409, 413, 415, 422);
        connectors.MapDelete("/connections/{connection_id}", Delete).WithName("deleteConnection").RequireMember()
            .WithSummary("Delete a connection; runs cannot use it any more")
            .Produces(204).Refuses(404, 409, 422);
    }

    static JsonResult<ConnectorSpecList> Specs(HttpContext http, ConnectorCatalog catalog)
    {
        var (limit, offset) = (Lists.LimitOfPage.Read(http), Lists.Offset.Read(http));
        var shown = catalog.Specs.Skip((int)offset).Take((int)limit).Select(ConnectorSpecDetails.Of).ToList();
        return JsonResult.Of(
            200, new("list", shown, catalog.Specs.Count, limit, offset, offset + shown.Count < catalog.Specs.Count), PlatformJson.Answers.ConnectorSpecList);
    }

    static async Task<IResult> Create(
        Body<NewConnection> body, Caller caller, ConnectorCatalog catalog, ConnectorCalls calls, TenantSecrets secrets, ICommandExecutor commands, CommandAnswers answers,
        TenantUsage usage, IRows rows, TimeProvider clock, CancellationToken ct)
    {
        var spec = body.Value.SpecId!;
        if (catalog.Find(spec) is not { } connector)
        {
            return ErrorResult.Invalid("$.spec_id", $"There is no such connector. There are: {string.Join(", ", catalog.Specs.Select(s => s.Id))}.", "unknown_spec");
        }
        var connection = ConnectionKey.New(clock.GetUtcNow());
        var fields = ConnectionFields.Read(connector, caller.Org, connection, body.Value.Credentials);
        var key = await secrets.Keyed(caller.Org, body.Key, ct);
        var (secret, reached) = ((SealedSecret?)null, (ProbeOutcome?)null);
        if (!await answers.IsRepeat(caller.Org, key, ct))
        {
            if (await usage.StorageRefusal(caller.Org, ct) is { } full)
            {
                return ErrorResult.Of(full);
            }
            if ((await rows.Page(caller.Org, Connections.Model.Table, new(Limit: 1), 0, ct)).Total >= Limits.ConnectionsMax)
            {
                return new ErrorResult(409, "connections_full", $"The tenant has {Limits.ConnectionsMax} connections, and may not have more. Delete some.");
            }
            if (connector.Spec.Auth == ConnectorAuth.Credentials)
            {
                reached = await calls.Probe(new(caller.Org, connection, spec, fields), ct);
                secret = await secrets.Seal(caller.Org, connection, fields, ct);
            }
        }
        var result = await commands.Execute(caller.Org, caller.Origin, new CreateConnection(connection, spec, body.Value.Name!, secret, reached, key), ct);
        return await answers.Of(caller.Org, result, Connection.Aggregate.Stream(connection), key, after => Shown(201, after), ct);
    }

    static async Task<IResult> List(HttpContext http, Caller caller, IRows rows, CancellationToken ct)
    {
        var (spec, limit, offset) = (OfSpec.Read(http), Lists.LimitOfPage.Read(http), Lists.Offset.Read(http));
        var page = await rows.Page(
            caller.Org, Connections.Model.Table,
            new(spec.Length == 0 ? null : spec, Limit: (int)limit, Bytes: PageBytes.Max) { Named = NameQuery.Read(http, Connection.Aggregate.Name) }, offset, ct);
        var shown = page.Rows.Select(row => ConnectionDetails.Of(Connections.Model.Read(row.Json.Span))).ToList();
        return JsonResult.Of(200, new("list", shown, page.Total, limit, offset, offset + shown.Count < page.Total), PlatformJson.Answers.ConnectionList);
    }

    static async Task<IResult> Get(PathKey<ConnectionKey> connection, Caller caller, IRows rows, CancellationToken ct) =>
        await rows.Get(caller.Org, Connections.Model.Table, connection.Key.Value, ct) is { } row
            ? JsonResult.Of(200, ConnectionDetails.Of(Connections.Model.Read(row.Json.Span)), PlatformJson.Answers.ConnectionDetails)
            : ErrorResult.NotFound("connection");

    static async Task<IResult> Change(
        PathKey<ConnectionKey> connection, Body<ConnectionChanges> body, Caller caller, ConnectorCatalog catalog, ConnectorCalls calls, TenantSecrets secrets,
        CommandHandler handler, ICommandExecutor commands, CommandAnswers answers, TenantUsage usage, CancellationToken ct)
    {
        var key = await secrets.Keyed(caller.Org, body.Key, ct);
        var (secret, reached) = ((SealedSecret?)null, (ProbeOutcome?)null);
        if (!await answers.IsRepeat(caller.Org, key, ct))
        {
            if (await usage.StorageRefusal(caller.Org, ct) is { } full)
            {
                return ErrorResult.Of(full);
            }
            if (body.Value.Credentials is { } credentials)
            {
                if (await handler.LatestState(caller.Org, Connection.Aggregate, connection.Key, ct) is not Connection.Live live || catalog.Find(live.SpecId) is not { } connector)
                {
                    return ErrorResult.NotFound("connection");
                }
                if (connector.Spec.Auth != ConnectorAuth.Credentials)
                {
                    return ErrorResult.Invalid("$.credentials", "The user agrees at the source; a client sends no credentials.");
                }
                var fields = ConnectionFields.Read(connector, caller.Org, connection.Key, credentials);
                reached = await calls.Probe(new(caller.Org, connection.Key, live.SpecId, fields), ct);
                secret = await secrets.Seal(caller.Org, connection.Key, fields, ct);
            }
        }
        var result = await commands.Execute(caller.Org, caller.Origin, new ChangeConnection(connection.Key, body.Value.Name.Value, secret, reached, key), ct);
        return await answers.Of(caller.Org, result, Connection.Aggregate.Stream(connection.Key), key, after => Shown(200, after), ct);
    }

    static async Task<IResult> Test(
        PathKey<ConnectionKey> connection, Body<NoBody> body, Caller caller, ConnectorCatalog catalog, ConnectorCalls calls, IConnectionSecrets secrets,
        ICommandExecutor commands, CommandAnswers answers, CancellationToken ct)
    {
        var (revision, reached) = (-1L, new ProbeOutcome());
        if (!await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            if (await secrets.Open(caller.Org, connection.Key, ct) is not { } settings)
            {
                return ErrorResult.NotFound("connection");
            }
            if (settings.Revision > 0)
            {
                revision = settings.Revision;
                reached = catalog.Find(settings.Spec) is null ? new($"This host has no connector {settings.Spec}.") : await calls.Probe(settings, ct);
            }
        }
        var result = await commands.Execute(caller.Org, caller.Origin, new RecordConnectionProbe(connection.Key, revision, reached, body.Key), ct);
        return await answers.Of(caller.Org, result, Connection.Aggregate.Stream(connection.Key), body.Key, after => Shown(200, after), ct);
    }

    static async Task<IResult> Delete(
        PathKey<ConnectionKey> connection, Caller caller, ConnectorCatalog catalog, IRows rows, ICommandExecutor commands, CancellationToken ct)
    {
        if (await rows.Get(caller.Org, Connections.Model.Table, connection.Key.Value, ct) is not { } row)
        {
            return ErrorResult.NotFound("connection");
        }
        var revokes = catalog.Find(Connections.Model.Read(row.Json.Span).SpecId) is { Spec.Auth: ConnectorAuth.OAuth2 };
        return await commands.Execute(caller.Org, caller.Origin, new DeleteConnection(connection.Key, revokes), ct) is { Refused: { } refused }
            ? ErrorResult.Of(refused)
            : TypedResults.NoContent();
    }

    static JsonResult<ConnectionDetails> Shown(int status, StreamResult after)
    {
        var connection = after.Row(Connections.Model);
        return JsonResult.Of(status, ConnectionDetails.Of(connection), PlatformJson.Answers.ConnectionDetails) with
        {
            Location = status == 201 ? $"/api/v1/connectors/connections/{connection.ConnectionId}" : null,
        };
    }
}
