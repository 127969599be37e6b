using System.Collections.Immutable;
using System.Text;
using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>What a run's model is to be offered of outside sources.</summary>
/// <param name="Tools">A JSON list of declarations (<see cref="RunEvent.ToolsOffered"/>).</param>
/// <param name="LeftOut">Null: nothing.</param>
public sealed record ToolOffer(Content Tools, int Count, ImmutableList<UnofferedTool>? LeftOut);

/// <summary>
/// The tools of outside sources: which of them a run's model is offered, and their calls. What is offered is recorded in the run, and a call finds its source there; whether the
/// source still has the tool, and still calls it a read, is asked at the call.
/// </summary>
public sealed class OutsideTools(Policy policy, ConnectionAccess access, ToolConnections connections, ConnectorCalls calls, IBlobs blobs, TimeProvider clock)
{
    /// <summary>What is left out and told of.</summary>
    const int LeftOutMax = 100;

    /// <summary>Sources that were away and are remembered.</summary>
    const int AwayMax = 4_096;

    /// <summary>A source that is away is not asked again for so long: each round of each run would wait for it.</summary>
    static readonly TimeSpan AskAgainAfter = TimeSpan.FromSeconds(30);

    readonly LastUsed<(string Org, ConnectionKey Connection, long Revision), Away> away = new(AwayMax);

    /// <summary>The tools of an offer.</summary>
    /// <param name="offered">As the run has it; null: there are none.</param>
    public async ValueTask<IReadOnlyList<OutsideTool>> Read(Content? offered, CancellationToken ct) =>
        offered is null ? [] : OutsideTool.Read(await blobs.Text(offered, ct));

    /// <summary>What the run's model is to be offered from now on; null: what it was offered before.</summary>
    /// <param name="before">Null: it was never offered anything.</param>
    public async ValueTask<ToolOffer?> Look(string org, RunRequest request, Content? before, CancellationToken ct)
    {
        var all = await connections.Of(org, ct);
        if (all.IsEmpty && before is null)
        {
            return null;
        }
        var granted = await access.Granted(org, request.SessionId, ct);
        var used = all.Where(connection => granted.Includes(connection.Key, connection.SpecId) && MayCallAnyOf(request, connection)).ToList();
        var kept = await Read(before, ct);
        var asked = used.Take(ConnectorLimits.OfferedSourcesMax).ToList();
        var sources = await Task.WhenAll(asked.Select(connection => Ask(org, request, connection, kept, ct)));
        var leftOut = ImmutableList.CreateBuilder<UnofferedTool>();
        leftOut.AddRange(sources.SelectMany(source => source.LeftOut));
        leftOut.AddRange(used.Skip(asked.Count).Select(connection => new UnofferedTool(
            connection.Key, null, $"The tools of at most {ConnectorLimits.OfferedSourcesMax} connections are offered.")));
        var (tools, text) = Fit(sources.Select(source => source.Tools), leftOut);
        var content = await blobs.Store(text, ct);
        return content == before || (before is null && tools == 0 && leftOut.Count == 0) ? null : new(content, tools, leftOut.Count == 0 ? null : Bounded(leftOut));
    }

    /// <summary>What a call of an offered tool would do.</summary>
    /// <param name="input">The arguments, a JSON object.</param>
    public async ValueTask<CallSubject> Subject(ToolContext context, string name, JsonElement input, CancellationToken ct) =>
        await SubjectOf(await Find(context, name, input, ct), ct);

    /// <summary>Calls an offered tool.</summary>
    public async Task<ToolOutcome> Run(ToolContext context, string name, JsonElement input, CancellationToken ct)
    {
        var call = await Find(context, name, input, ct);
        if (call.Error is { } error)
        {
            return ToolOutcome.Error(error);
        }
        // The source may call the tool another thing since the policy judged the call, and the connection may lead elsewhere.
        var subject = await SubjectOf(call, ct);
        if (policy.Reevaluate(name, subject, context.Granted) is { } refused)
        {
            return refused;
        }
        var (opened, isWrite) = (call.Opened!, subject.Kind == CallSubject.ConnectorWrite);
        if (isWrite && context.Attempt > 1 && !opened.Connector.CanRepeatWrites)
        {
            return ToolOutcome.Error(QueryConnector.Interrupted);
        }
        var answer = await calls.Ask(opened.Settings, new ConnectorRequest.Call(call.Tool!.Tool, input, isWrite), ct);
        await access.Note(opened, answer, ct);
        return ConnectorText.Of(answer);
    }

    sealed record FoundCall(string? Error, OutsideTool? Tool = null, OpenedConnection? Opened = null, JsonElement Input = default);

    async ValueTask<FoundCall> Find(ToolContext context, string name, JsonElement input, CancellationToken ct)
    {
        var offered = await Read(context.Offered, ct);
        if (offered.FirstOrDefault(tool => tool.Name == name) is not { } tool)
        {
            var there = offered.Count == 0 ? "No connection of this run has tools." : $"The connections of this run have: {string.Join(", ", offered.Select(one => one.Name))}.";
            return new($"There is no tool named \"{FileText.Truncate(name, 100)}\". {there}");
        }
        if (input.GetRawText().Length > ConnectorLimits.TextCharsMax)
        {
            return new($"The arguments are longer than {ConnectorLimits.TextCharsMax} characters.");
        }
        var (opened, whyNot) = await access.Open(context.Org, context.Session, tool.ConnectionId, ct);
        return opened is { Connector.HasTools: true } ? new(null, tool, opened, input) : new(whyNot ?? "The connection has no tools any more.");
    }

    async ValueTask<CallSubject> SubjectOf(FoundCall call, CancellationToken ct)
    {
        if (call.Error is not null)
        {
            return new(CallSubject.ConnectorWrite, Invalid: call.Error);
        }
        var (tool, opened) = (call.Tool!, call.Opened!);
        // A tool that was no read when it was offered is none, whatever its source says by now.
        var isRead = tool.IsRead && await calls.Judge(opened.Settings, new ConnectorRequest.Call(tool.Tool, call.Input, MayWrite: false), ct) == ConnectorEffect.Read;
        var kind = isRead ? CallSubject.ConnectorRead : CallSubject.ConnectorWrite;
        return new(kind) { NotGranted = opened.WhyNotGranted(kind), Source = opened.Source };
    }

    /// <summary>False: the run's skills name tools, and none of this connection.</summary>
    static bool MayCallAnyOf(RunRequest request, ToolConnection connection) =>
        request.Skills?.Any(skill => skill.Tools is not null) is not true
        || request.Skills.Any(skill => skill.Tools?.Exists(tool => tool.StartsWith($"{OutsideToolNames.Prefix}{connection.ToolPart}__", StringComparison.Ordinal)) is true);

    /// <summary>The tools of one source, and what of them is left out.</summary>
    /// <param name="before">What the run was offered until now: a source that is away for a while keeps its tools.</param>
    async Task<SourceOffer> Ask(string org, RunRequest request, ToolConnection connection, IReadOnlyList<OutsideTool> before, CancellationToken ct)
    {
        var (opened, whyNot) = await access.Open(org, request.SessionId, connection.Key, ct);
        if (opened is null)
        {
            return new([], [new(connection.Key, null, whyNot!)]);
        }
        var place = (org, connection.Key, opened.Settings.Revision);
        if (away.Get(place) is { } last && clock.GetElapsedTime(last.Since) < AskAgainAfter)
        {
            return Missing(last.WhyNot);
        }
        var answer = await InTime(opened, ct);
        await access.Note(opened, answer, ct);
        if (answer is not ConnectorAnswer.Tools listed)
        {
            var reason = answer is ConnectorAnswer.Failed failed ? failed.Reason : "It has no tools.";
            away.Put(place, new(clock.GetTimestamp(), reason));
            return Missing(reason);
        }
        away.Remove(place);
        return Declared(request, connection, listed, opened);

        SourceOffer Missing(string reason) =>
            before.Where(tool => tool.ConnectionId == connection.Key).ToList() is { Count: > 0 } still ? new(still, []) : new([], [new(connection.Key, null, reason)]);
    }

    async ValueTask<ConnectorAnswer> InTime(OpenedConnection opened, CancellationToken ct)
    {
        using var late = new CancellationTokenSource(ConnectorLimits.ProbeTime, clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(late.Token, ct);
        try
        {
            return await calls.Ask(opened.Settings, new ConnectorRequest.Tools(), either.Token);
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            return new ConnectorAnswer.Failed($"The source did not list its tools within {ConnectorLimits.ProbeTime.TotalSeconds:0} seconds.", IsUnreachable: true);
        }
    }

    static SourceOffer Declared(RunRequest request, ToolConnection connection, ConnectorAnswer.Tools listed, OpenedConnection opened)
    {
        var (tools, names) = (new List<OutsideTool>(), new HashSet<string>(StringComparer.Ordinal));
        var leftOut = listed.Unusable.Select(tool => new UnofferedTool(connection.Key, tool.Name, tool.Reason)).ToList();
        if (listed.Cut is { } cut)
        {
            leftOut.Add(new(connection.Key, null, cut));
        }
        foreach (var tool in listed.Listed)
        {
            var name = OutsideToolNames.OfTool(connection.ToolPart, tool.Name);
            if (!request.MayCall(name))
            {
                continue;
            }
            if (!tool.IsRead && !opened.AllowsActions)
            {
                leftOut.Add(new(connection.Key, tool.Name, opened.WhyNotGranted(CallSubject.ConnectorWrite)!));
                continue;
            }
            var (schema, whyNot) = OutsideToolSchema.Of(tool.InputSchema);
            if (schema is null || !names.Add(name))
            {
                leftOut.Add(new(connection.Key, tool.Name, whyNot ?? "Another tool of the source has the same name."));
                continue;
            }
            var description = FileText.Truncate(VisibleText.Of(StorableText.Escape(FileText.OneLine(tool.Description))), ConnectorLimits.DescriptionCharsMax);
            tools.Add(new(name, connection.Key, tool.Name, description, schema.Value, tool.IsRead));
        }
        return new(tools, leftOut);
    }

    /// <summary>As many declarations as a request takes: one of each source in turn, so that no source with many tools leaves the others without any.</summary>
    static (int Count, string Text) Fit(IEnumerable<IReadOnlyList<OutsideTool>> sources, ImmutableList<UnofferedTool>.Builder leftOut)
    {
        var (fit, bytes) = (new SortedDictionary<string, string>(StringComparer.Ordinal), 0);
        foreach (var (_, tool) in sources.SelectMany(tools => tools.Index()).OrderBy(tool => tool.Index))
        {
            var declaration = Encoding.UTF8.GetString(tool.Declaration());
            var size = Encoding.UTF8.GetByteCount(declaration) + 1;
            if (fit.Count >= ConnectorLimits.OfferedToolsMax || bytes + size > ConnectorLimits.OfferedBytesMax)
            {
                leftOut.Add(new(
                    tool.ConnectionId, tool.Tool,
                    $"A request declares at most {ConnectorLimits.OfferedToolsMax} tools of connections, and {ConnectorLimits.OfferedBytesMax >> 10} KiB of them."));
            }
            else if (fit.TryAdd(tool.Name, declaration))
            {
                bytes += size;
            }
        }
        return (fit.Count, $"[{string.Join(',', fit.Values)}]");
    }

    static ImmutableList<UnofferedTool> Bounded(ImmutableList<UnofferedTool>.Builder leftOut) => leftOut.Count <= LeftOutMax
        ? leftOut.ToImmutable()
        : [.. leftOut.Take(LeftOutMax - 1), leftOut[LeftOutMax - 1] with { Tool = null, Reason = $"{leftOut.Count - LeftOutMax + 1} more are left out." }];

    sealed record SourceOffer(IReadOnlyList<OutsideTool> Tools, IReadOnlyList<UnofferedTool> LeftOut);

    sealed record Away(long Since, string WhyNot);
}
