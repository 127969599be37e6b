using System.Text.Json;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// <c>query_connector {connection_id, action: list|schema|sample|query|write, query?, limit?}</c>: asks an outside source over a connection of the tenant. A query that is not
/// provably a read is a write.
/// </summary>
public sealed class QueryConnector(Policy policy, ConnectionAccess access, ConnectorCalls calls, IRunQueries queries) : ITool
{
    const int DefaultLimit = 100;

    /// <summary>
    /// The largest limit that can be asked for at all. The policy denies those over <see cref="BulkLimit"/>, and an answer has at most <see cref="ConnectorLimits.RowsMax"/> rows.
    /// </summary>
    const long LimitMax = 1_000_000_000;

    /// <summary>Rows from which on the policy calls a read one in bulk (contracts/decisions.md, "Tools and policy").</summary>
    const long BulkLimit = 10_000;

    /// <summary>What a model is told of a write that a lost attempt may have made.</summary>
    internal const string Interrupted = "An earlier attempt at this write was interrupted: it may have happened or not. Look at the source before it is written to again.";

    public string Name => "query_connector";

    public string Description =>
        "Asks an outside source, such as a database, over a connection that a user has made. list: the connections. schema: what a source has. "
        + $"sample: some rows of the table named by query. query: a read in the source's language, at most {ConnectorLimits.RowsMax} rows. "
        + "write: a change; a person is asked first.";

    public JsonElement Schema { get; } = ToolInput.Schema(
        """
        {"type":"object","required":["action"],"properties":{
          "connection_id":{"type":"string","description":"Id of a connection; list answers them."},
          "action":{"type":"string","enum":["list","schema","sample","query","write"]},
          "query":{"type":"string","description":"query, write: SQL, or what the source takes. sample: the name of a table."},
          "limit":{"type":"integer","description":"Rows of the answer. Default: 100."}}}
        """);

    public async ValueTask<CallSubject> Subject(ToolContext context, JsonElement input, CancellationToken ct) => await SubjectOf(await Read(context, input, ct), ct);

    /// <summary>What a call would do, as far as its arguments alone tell.</summary>
    internal static CallSubject SubjectUnasked(JsonElement input) => ToolInput.Text(input, "action", required: true, out var error) switch
    {
        "list" or "schema" or "sample" => new(CallSubject.ConnectorRead),
        _ => new(CallSubject.ConnectorWrite, Invalid: error),
    };

    public async Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct)
    {
        var call = await Read(context, input, ct);
        if (call.Error is { } error)
        {
            return ToolOutcome.Error(error);
        }
        // The connection may have become another one since the policy judged the call.
        var subject = await SubjectOf(call, ct);
        if (policy.Reevaluate(Name, subject, context.Granted) is { } refused)
        {
            return refused;
        }
        if (call.Request is not { } request)
        {
            return ToolOutcome.Ok(await List(context, ct));
        }
        if (subject.Kind == CallSubject.ConnectorWrite)
        {
            if (context.Attempt > 1 && !call.Opened!.Connector.CanRepeatWrites)
            {
                return ToolOutcome.Error(Interrupted);
            }
            if (request is ConnectorRequest.Query query)
            {
                request = new ConnectorRequest.Write(query.Text, query.Limit, context.IdempotencyToken);
            }
        }
        var answer = await calls.Ask(call.Opened!.Settings, request, ct);
        await access.Note(call.Opened, answer, ct);
        return ConnectorText.Of(answer);
    }

    /// <summary>A call as far as it could be read.</summary>
    /// <param name="Request">Null: the connections are to be listed.</param>
    sealed record Call(string? Error, ConnectorRequest? Request = null, long Limit = 0, OpenedConnection? Opened = null);

    async ValueTask<Call> Read(ToolContext context, JsonElement input, CancellationToken ct)
    {
        var action = ToolInput.Text(input, "action", required: true, out var error);
        var limit = ToolInput.Number(input, "limit", DefaultLimit, 1, LimitMax, out var limitError);
        if ((error ?? limitError) is { } wrong)
        {
            return new(wrong);
        }
        if (action == "list")
        {
            return new(null);
        }
        if (action is not ("schema" or "sample" or "query" or "write"))
        {
            return new("The argument \"action\" must be list, schema, sample, query or write.");
        }
        var id = ToolInput.Text(input, "connection_id", required: true, out error);
        var query = ToolInput.Text(input, "query", required: action != "schema", out var queryError);
        if ((error ?? queryError) is { } missing)
        {
            return new(missing);
        }
        if (query?.Length > ConnectorLimits.TextCharsMax)
        {
            return new($"The argument \"query\" is longer than {ConnectorLimits.TextCharsMax} characters.");
        }
        if (ConnectionKey.Parse(id!) is not { } key)
        {
            return new("There is no such connection. The action list answers those that there are.");
        }
        var (opened, whyNot) = await access.Open(context.Org, context.Session, key, ct);
        if (opened is null)
        {
            return new(whyNot);
        }
        if (opened.Connector.HasTools && action is ("query" or "write"))
        {
            return new($"The tools of that connection are tools of their own, {OutsideToolNames.Pattern}. The action schema lists them.");
        }
        var rows = (int)Math.Min(limit, ConnectorLimits.RowsMax);
        ConnectorRequest request = action switch
        {
            "schema" => new ConnectorRequest.Schema(),
            "sample" => new ConnectorRequest.Sample(query!, rows),
            "query" => new ConnectorRequest.Query(query!, rows),
            _ => new ConnectorRequest.Write(query!, rows, context.IdempotencyToken),
        };
        return new(null, request, limit, opened);
    }

    async ValueTask<CallSubject> SubjectOf(Call call, CancellationToken ct)
    {
        if (call is { Error: not null } or { Request: null })
        {
            return new(CallSubject.ConnectorRead, Invalid: call.Error);
        }
        var effect = call.Request is ConnectorRequest.Query or ConnectorRequest.Write ? await calls.Judge(call.Opened!.Settings, call.Request, ct) : ConnectorEffect.Read;
        var kind = effect == ConnectorEffect.Alter ? CallSubject.ConnectorAlter
            : effect == ConnectorEffect.Write || call.Request is ConnectorRequest.Write ? CallSubject.ConnectorWrite
            : call.Limit > BulkLimit ? CallSubject.ConnectorBulk
            : effect == ConnectorEffect.Scan ? CallSubject.ConnectorScan
            : CallSubject.ConnectorRead;
        return new(kind) { NotGranted = call.Opened!.WhyNotGranted(kind), Source = call.Opened.Source };
    }

    async ValueTask<string> List(ToolContext context, CancellationToken ct)
    {
        var granted = await access.Granted(context.Org, context.Session, ct);
        var shown = (await queries.Connections(context.Org, Limits.ConnectionsMax, ct)).Where(connection => granted.Includes(connection.Key, connection.SpecId)).ToList();
        return shown.Count == 0
            ? "There is no connection."
            : ConnectorText.Table(new(["connection_id", "name", "connector", "status"], [.. shown.Select(c => (IReadOnlyList<string?>)[c.Key.Id, c.Name, c.SpecId, c.Status])]));
    }
}

/// <summary>A connection, for the model.</summary>
/// <param name="Status"><c>connected</c>, <c>error</c> or <c>pending</c>.</param>
public sealed record ListedConnection(ConnectionKey Key, string Name, string SpecId, string Status);
