using System.Globalization;
using System.Text;
using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// <c>query_connector {connection_id, action: list|schema|sample|query|write, query?, limit?}</c>: asks an outside source over a connection of the tenant. A query that is not
/// provably a read is a write.
/// </summary>
public sealed class QueryConnector(
    Policy policy, CommandHandler handler, ICommandExecutor commands, ConnectionSecrets secrets, ConnectorCatalog catalog, ConnectorCalls calls, IRunQueries queries)
    : ITool
{
    const int DefaultLimit = 100;

    /// <summary>
    /// The largest limit that can be asked for at all. The policy denies those over <see cref="BulkLimit"/>, and an answer has at most <see cref="ConnectorLimits.RowsMax"/> rows.
    /// </summary>
    const long LimitMax = 1_000_000_000;

    /// <summary>Rows from which on the policy calls a read one in bulk (contracts/decisions.md, "Tools and policy").</summary>
    const long BulkLimit = 10_000;

    /// <summary>Characters of an answer for the model: with more, little of its context would be left.</summary>
    const int TextCharsMax = 128 * 1024;

    static readonly Origin System = new("system");

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
            if (context.Attempt > 1 && !call.Connector!.CanRepeatWrites)
            {
                return ToolOutcome.Error("An earlier attempt at this write was interrupted: it may have happened or not. Look at the source before it is written to again.");
            }
            if (request is ConnectorRequest.Query query)
            {
                request = new ConnectorRequest.Write(query.Text, query.Limit, context.IdempotencyToken);
            }
        }
        var answer = await calls.Ask(call.Settings!, request, ct);
        await Note(context.Org, call, answer, ct);
        return answer switch
        {
            ConnectorAnswer.Table table => ToolOutcome.Ok(TableText(table)),
            ConnectorAnswer.Text text => ToolOutcome.Ok(Bounded(text.Content, text.Cut)),
            ConnectorAnswer.Failed failed => ToolOutcome.Error(failed.Reason),
            _ => throw new global::System.Diagnostics.UnreachableException(answer.GetType().Name),
        };
    }

    /// <summary>A call as far as it could be read.</summary>
    /// <param name="Request">Null: the connections are to be listed.</param>
    sealed record Call(
        string? Error, ConnectorRequest? Request = null, long Limit = 0, ConnectionSettings? Settings = null, IConnector? Connector = null, Connection.Live? Live = null);

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
        if (ConnectionKey.Parse(id!) is not { } key || await handler.LatestState(context.Org, Connection.Aggregate, key, ct) is not Connection.Live live)
        {
            return new("There is no such connection. The action list answers those that there are.");
        }
        if (await Allowed(context, ct) is { } allowed && !allowed.Contains(key))
        {
            return new("The project of this conversation does not use that connection.");
        }
        if (catalog.Find(live.SpecId) is not { } connector)
        {
            return new($"This host cannot connect to {live.SpecId}.");
        }
        if (live.Secret is null)
        {
            return new("The connection waits for its user to agree at the source.");
        }
        var rows = (int)Math.Min(limit, ConnectorLimits.RowsMax);
        ConnectorRequest request = action switch
        {
            "schema" => new ConnectorRequest.Schema(),
            "sample" => new ConnectorRequest.Sample(query!, rows),
            "query" => new ConnectorRequest.Query(query!, rows),
            _ => new ConnectorRequest.Write(query!, rows, context.IdempotencyToken),
        };
        try
        {
            return new(null, request, limit, await secrets.Settings(context.Org, live, ct), connector, live);
        }
        catch (SecretUnreadableException)
        {
            return new("This host cannot open the connection's credentials at the moment.");
        }
    }

    async ValueTask<CallSubject> SubjectOf(Call call, CancellationToken ct)
    {
        if (call is { Error: not null } or { Request: null })
        {
            return new(CallSubject.ConnectorRead, Invalid: call.Error);
        }
        var effect = call.Request is ConnectorRequest.Query or ConnectorRequest.Write ? await calls.Judge(call.Settings!, call.Request, ct) : ConnectorEffect.Read;
        var kind = effect == ConnectorEffect.Alter ? CallSubject.ConnectorAlter
            : effect == ConnectorEffect.Write || call.Request is ConnectorRequest.Write ? CallSubject.ConnectorWrite
            : call.Limit > BulkLimit ? CallSubject.ConnectorBulk
            : effect == ConnectorEffect.Scan ? CallSubject.ConnectorScan
            : CallSubject.ConnectorRead;
        // Another revision has other credentials, and perhaps leads to another source: an approval is for this one.
        var live = call.Live!;
        return new(kind) { Source = string.Create(CultureInfo.InvariantCulture, $"{live.Name}: {live.SpecId}, {live.ConnectionId.Id}, revision {live.Revision}") };
    }

    /// <summary>The connections of the session's project; null: any, because it names none.</summary>
    async ValueTask<HashSet<ConnectionKey>?> Allowed(ToolContext context, CancellationToken ct)
    {
        var session = await handler.State(context.Org, Session.Aggregate, context.Session, ct);
        return session is Session.Open { Project: { IsGeneral: false } key }
            && await handler.LatestState(context.Org, Project.Aggregate, key, ct) is Project.Live { Definition.ConnectorIds: { IsEmpty: false } ids }
            ? [.. ids.Select(ConnectionKey.Parse).OfType<ConnectionKey>()]
            : null;
    }

    async ValueTask<string> List(ToolContext context, CancellationToken ct)
    {
        var allowed = await Allowed(context, ct);
        var shown = (await queries.Connections(context.Org, Limits.ConnectionsMax, ct)).Where(connection => allowed is null || allowed.Contains(connection.Key)).ToList();
        return shown.Count == 0
            ? "There is no connection."
            : TableText(new(["connection_id", "name", "connector", "status"], [.. shown.Select(c => (IReadOnlyList<string?>)[c.Key.Id, c.Name, c.SpecId, c.Status])]));
    }

    /// <summary>The connection shows what the call found out about its source.</summary>
    async ValueTask Note(string org, Call call, ConnectorAnswer answer, CancellationToken ct)
    {
        var (live, reached) = (call.Live!, answer is ConnectorAnswer.Failed { IsUnreachable: true } failed ? new ProbeOutcome(failed.Reason) : new());
        if (live.Probed != reached)
        {
            await commands.Execute(org, System, new RecordConnectionProbe(live.ConnectionId, live.Revision, reached), ct, waitForStorage: true);
        }
    }

    static string TableText(ConnectorAnswer.Table table)
    {
        var text = new StringBuilder();
        Line(text, table.Columns);
        var shown = 0;
        foreach (var row in table.Rows)
        {
            var before = text.Length;
            Line(text, row);
            if (text.Length > TextCharsMax)
            {
                text.Length = before;
                break;
            }
            shown++;
        }
        var cut = shown < table.Rows.Count ? string.Create(CultureInfo.InvariantCulture, $"Cut after {shown} rows: more do not fit the answer.") : table.Cut;
        return text.Append(cut is null ? string.Create(CultureInfo.InvariantCulture, $"[{table.Rows.Count} rows.]") : $"[{cut}]").ToString();
    }

    /// <summary>Cells between bars, each on one line.</summary>
    static void Line(StringBuilder text, IEnumerable<string?> cells) => text.AppendJoin(
        " | ",
        cells.Select(cell => cell is null ? "NULL" : VisibleText.Of(cell.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("|", "\\|", StringComparison.Ordinal)
            .Replace("\r", "\\r", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal).Replace("\t", "\\t", StringComparison.Ordinal))))
        .Append('\n');

    static string Bounded(string text, string? cut) => text.Length > TextCharsMax
        ? $"{FileText.Truncate(text, TextCharsMax)}\n[Cut: the answer is longer than {TextCharsMax} characters.]"
        : cut is null ? text : $"{text}\n[{cut}]";
}

/// <summary>A connection, for the model.</summary>
/// <param name="Status"><c>connected</c>, <c>error</c> or <c>pending</c>.</param>
public sealed record ListedConnection(ConnectionKey Key, string Name, string SpecId, string Status);
