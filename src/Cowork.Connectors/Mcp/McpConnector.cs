using System.Collections.Immutable;

using Cowork.Application;

namespace Cowork.Connectors;

/// <summary>The tools of an MCP server: at an address, through the fence, or of a program that the administrator configured.</summary>
public sealed class McpConnector(EgressFence fence, McpCommands commands, TimeProvider clock) : IConnector, IAsyncDisposable
{
    const int SchemaCharsMax = 16 * 1024;

    readonly McpSessions sessions = new(clock);
    readonly McpFolders folders = new(commands.Folder, clock);

    public bool HasTools => true;

    public ConnectorSpec Spec { get; } = new(
        "mcp", "MCP server", "The tools of a server that speaks the Model Context Protocol. A tool that its server calls read-only reads; others need an approval.",
        ConnectorAuth.Credentials,
        [
            new("url", "Address of a server over streamable HTTP", IsRequired: false),
            new("headers", "Headers, one \"Name: value\" a line", IsSecret: true, IsRequired: false),
            new("bearer", "Bearer token", IsSecret: true, IsRequired: false),
            new("command", "Instead of an address: a command that the administrator configured", IsRequired: false),
            new("variables", "Variables of the command, one NAME=value a line", IsSecret: true, IsRequired: false),
        ]);

    public IEnumerable<FieldFault> Check(ConnectionSettings settings)
    {
        var (url, command) = (settings["url"], settings["command"]);
        if (url is null == command is null)
        {
            yield return new("url", "Give an address or a command.");
            yield break;
        }
        if (url is not null && AddressOf(url) is null)
        {
            yield return new("url", "Must be an address that begins with https:// or http://, without a user and a fragment (#).");
        }
        if (command is not null && !commands.ByName.ContainsKey(command))
        {
            var names = commands.ByName.IsEmpty ? "has configured none" : $"has configured {string.Join(", ", commands.ByName.Keys.Order(StringComparer.Ordinal))}";
            yield return new("command", $"Must be a command of Cowork:Connectors:McpCommands; the administrator {names}.");
        }
        string? fault = null;
        if (settings["headers"] is { } headers && (url is null ? fault = "Headers go with an address." : HttpHeaders.Lines(headers, out fault) is null ? fault : null) is not null)
        {
            yield return new("headers", fault!);
        }
        if (settings["bearer"] is { } bearer && (url is null || bearer.Contains(' ', StringComparison.Ordinal) || HttpHeaders.FaultOf("authorization", bearer) is not null))
        {
            yield return new("bearer", "Must be a token, without \"Bearer\" and blanks, for an address.");
        }
        if (settings["variables"] is { } variables)
        {
            var allowed = command is null ? null : commands.ByName.GetValueOrDefault(command)?.Variables;
            if (allowed is null || Variables(variables) is not { } given || given.Exists(variable => !allowed.Contains(variable.Key)))
            {
                yield return new("variables", $"Must be lines of NAME=value, for the variables that the command takes from connections: {string.Join(", ", allowed ?? ["none"])}.");
            }
        }
    }

    public async ValueTask<Probe> Probe(ConnectionSettings settings, CancellationToken ct)
    {
        using var time = new CancellationTokenSource(ConnectorLimits.ProbeTime, clock);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(ct, time.Token);
        try
        {
            await using var session = await Open(settings, linked.Token);
            await session.Tools(linked.Token);
            return Application.Probe.Connected;
        }
        catch (McpFailureException e)
        {
            return Application.Probe.Failed(Reason(settings, e));
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            return Application.Probe.Failed($"{NameOf(settings)}: it did not answer in time.");
        }
    }

    public async ValueTask<ConnectorEffect> Judge(ConnectionSettings settings, ConnectorRequest request, CancellationToken ct)
    {
        if (request is not ConnectorRequest.Call call)
        {
            return request is ConnectorRequest.Write ? ConnectorEffect.Write : ConnectorEffect.Read;
        }
        try
        {
            return (await Tools(settings, ct)).Listed.FirstOrDefault(tool => tool.Name == call.Tool) is { } known && !known.IsRead ? ConnectorEffect.Write : ConnectorEffect.Read;
        }
        catch (McpFailureException)
        {
            // The call asks once more before it is sent, and is sent when the tool is a read.
            return ConnectorEffect.Read;
        }
    }

    public async ValueTask<ConnectorAnswer> Ask(ConnectionSettings settings, ConnectorRequest request, CancellationToken ct)
    {
        using var time = new CancellationTokenSource(ConnectorLimits.AskTime, clock);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(ct, time.Token);
        try
        {
            return request switch
            {
                ConnectorRequest.Schema => Table(await Tools(settings, linked.Token)),
                ConnectorRequest.Sample sample => Described(await Tools(settings, linked.Token), sample.Name),
                ConnectorRequest.Tools => Listed(await Tools(settings, linked.Token)),
                ConnectorRequest.Call call => await Call(settings, call, linked.Token),
                _ => throw new System.Diagnostics.UnreachableException(request.GetType().Name),
            };
        }
        catch (McpFailureException e)
        {
            return new ConnectorAnswer.Failed(Reason(settings, e), e.IsBroken);
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            return new ConnectorAnswer.Failed($"{NameOf(settings)}: it did not answer in time.", IsUnreachable: true);
        }
    }

    public ValueTask DisposeAsync() => sessions.DisposeAsync();

    async ValueTask<ConnectorAnswer> Call(ConnectionSettings settings, ConnectorRequest.Call call, CancellationToken ct)
    {
        // A server may change its tools at any time. So they are asked for before each call, which also finds a session that has ended before anything is done in it.
        var tools = (await Tools(settings, ct)).Listed;
        if (tools.FirstOrDefault(tool => tool.Name == call.Tool) is not { } known)
        {
            var has = tools.Count == 0 ? "none" : PlainReason.Quoted(string.Join(", ", tools.Select(tool => tool.Name)), 400);
            return new ConnectorAnswer.Failed($"The server has no such tool by now. It has {has}.");
        }
        if (!call.MayWrite && !known.IsRead)
        {
            return new ConnectorAnswer.Failed($"By now the server says that the tool {call.Tool} may change something: call it again, so that a person is asked.");
        }
        var (answer, isCut, isError) = await sessions.Use(
            settings, token => Open(settings, token), session => session.Call(call.Tool, call.Arguments, ct), mayRepeat: !call.MayWrite, ct);
        return isError
            ? new ConnectorAnswer.Failed($"The tool failed: {PlainReason.Quoted(answer, ConnectorLimits.ReasonCharsMax - 20)}")
            : new ConnectorAnswer.Text(answer, isCut ? "The answer is longer: this is its beginning." : null);
    }

    ValueTask<McpTools> Tools(ConnectionSettings settings, CancellationToken ct) =>
        sessions.Use(settings, token => Open(settings, token), session => session.Tools(ct), mayRepeat: true, ct);

    ValueTask<McpSession> Open(ConnectionSettings settings, CancellationToken ct)
    {
        if (settings["command"] is { } name)
        {
            return commands.ByName.TryGetValue(name, out var command)
                ? McpSession.Open(folders, command, Variables(settings["variables"] ?? "") ?? [], clock, ct)
                : throw new McpFailureException("the administrator has not configured it on this host (Cowork:Connectors:McpCommands)", false);
        }
        var headers = HttpHeaders.Lines(settings["headers"] ?? "", out _)!.ToList();
        if (settings["bearer"] is { } bearer)
        {
            headers.Add(new("Authorization", $"Bearer {bearer}"));
        }
        return McpSession.Open(fence, AddressOf(settings["url"]!)!, headers, ct);
    }

    static ConnectorAnswer.Table Table(McpTools tools) => new(
        ["tool", "effect", "description", "input"],
        [.. tools.Listed.Select(tool => (IReadOnlyList<string?>)
            [tool.Name, EffectOf(tool), PlainReason.Quoted(tool.Description, ConnectorLimits.DescriptionCharsMax), Schema(tool, ConnectorLimits.CellCharsMax)])],
        CutOf(tools));

    static ConnectorAnswer.Tools Listed(McpTools tools) => new(
        [.. tools.Listed.Select(tool => new SourceTool(tool.Name, tool.Description, tool.InputSchema, tool.IsRead))], tools.Unusable, CutOf(tools));

    static string? CutOf(McpTools tools) => tools.IsCut ? $"The server has more tools: these are the first {ConnectorLimits.ToolsMax}." : null;

    static ConnectorAnswer Described(McpTools tools, string name) => tools.Listed.FirstOrDefault(tool => tool.Name == name) is { } tool
        ? new ConnectorAnswer.Text(
            $"{tool.Name} ({EffectOf(tool)}): {PlainReason.Quoted(tool.Description, ConnectorLimits.DescriptionCharsMax)}\n{Schema(tool, SchemaCharsMax)}")
        : new ConnectorAnswer.Failed("The server has no such tool.");

    static string Schema(McpTool tool, int charsMax)
    {
        var text = VisibleText.OfJson(tool.InputSchema);
        return text.Length <= charsMax ? text : FileText.Truncate(text, charsMax);
    }

    static string EffectOf(McpTool tool) => tool.IsRead ? "read" : "write";

    /// <summary>Null: it is no address of an MCP server.</summary>
    static Uri? AddressOf(string url) =>
        Uri.TryCreate(url.Trim(), UriKind.Absolute, out var address) && address is { Scheme: "http" or "https", UserInfo.Length: 0, Fragment.Length: 0 } ? address : null;

    /// <summary>Lines of <c>NAME=value</c>; null: the text is none.</summary>
    static List<KeyValuePair<string, string>>? Variables(string text)
    {
        var pairs = text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).Select(line => line.Split('=', 2)).ToList();
        return pairs.TrueForAll(pair => pair.Length == 2 && !pair[1].Contains('\0', StringComparison.Ordinal))
            ? [.. pairs.Select(pair => KeyValuePair.Create(pair[0], pair[1]))]
            : null;
    }

    static string NameOf(ConnectionSettings settings) => settings["command"] is { } command ? $"The command {command}" : AddressOf(settings["url"]!)!.Authority;

    static string Reason(ConnectionSettings settings, McpFailureException e) =>
        PlainReason.Quoted($"{NameOf(settings)}: {(e.Message.EndsWith('?') ? e.Message : e.Message.TrimEnd('.') + ".")}");
}
