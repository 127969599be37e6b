using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application;

using ModelContextProtocol;
using ModelContextProtocol.Client;
using ModelContextProtocol.Protocol;

namespace Cowork.Connectors;

/// <summary>A session with an MCP server. It offers the server nothing: no sampling, no elicitation, no roots.</summary>
sealed class McpSession : IAsyncDisposable
{
    /// <summary>A message of a server. Answers for a model are shorter by far.</summary>
    internal const int MessageBytesMax = 4 << 20;

    const int UnusableMax = 50;

    const int PagesMax = 50;

    readonly McpClient client;
    readonly McpProcess? process;
    readonly FaultOf fault;

    /// <summary>The server says when its tools change, and the pipe brings each of its messages.</summary>
    readonly bool hearsOfChanges;

    /// <summary>The tools as they were listed; null: they are to be asked for.</summary>
    McpTools? known;
    int changes;

    McpSession(McpClient client, McpProcess? process, FaultOf fault)
    {
        (this.client, this.process, this.fault) = (client, process, fault);
        hearsOfChanges = process is not null && client.ServerCapabilities.Tools?.ListChanged == true;
        client.RegisterNotificationHandler(
            NotificationMethods.ToolListChangedNotification,
            (_, _) =>
            {
                Forget();
                return default;
            });
    }

    /// <summary>The server has gone, or sent what ends the session.</summary>
    public bool IsOver => client.Completion.IsCompleted || fault.Message is not null;

    /// <summary>Connects over streamable HTTP.</summary>
    /// <exception cref="McpFailureException">There is no session.</exception>
    public static async ValueTask<McpSession> Open(EgressFence fence, Uri address, IEnumerable<KeyValuePair<string, string>> headers, CancellationToken ct)
    {
        var fault = new FaultOf();
        var http = new HttpClient(new BoundedAnswers(fence.NewHandler(ConnectorLimits.ProbeTime), MessageBytesMax, fault.Set, fault.Note)) { Timeout = Timeout.InfiniteTimeSpan };
        var transport = new HttpClientTransport(
            new()
            {
                Endpoint = address,
                TransportMode = HttpTransportMode.StreamableHttp,
                ConnectionTimeout = ConnectorLimits.AskTime,
                AdditionalHeaders = headers.ToDictionary(header => header.Key, header => header.Value, StringComparer.OrdinalIgnoreCase),
                // Tools are asked for when they are needed, so that nothing has to be told in between.
                EnableStandaloneGetStream = false,
                MaxReconnectionAttempts = 1,
            },
            http, ownsHttpClient: true);
        try
        {
            return new(await McpClient.CreateAsync(transport, Options, cancellationToken: ct), null, fault);
        }
        catch (Exception e)
        {
            await transport.DisposeAsync();
            http.Dispose();
            throw Failure(e, fault, null, ct) ?? e;
        }
    }

    /// <summary>Starts a process and connects to it.</summary>
    /// <exception cref="McpFailureException">There is no session.</exception>
    public static async ValueTask<McpSession> Open(
        McpFolders folders, McpCommand command, IEnumerable<KeyValuePair<string, string>> variables, TimeProvider clock, CancellationToken ct)
    {
        var fault = new FaultOf();
        McpProcess? process = null;
        try
        {
            process = await McpProcess.Start(folders, command, variables, clock);
            var output = new BoundedStream(process.Output, MessageEnd.Line, MessageBytesMax, fault.Set);
            return new(await McpClient.CreateAsync(new StreamClientTransport(process.Input, output), Options, cancellationToken: ct), process, fault);
        }
        catch (Exception e)
        {
            var why = process is null ? e.Message : IsTransport(e) ? await process.WhyEnded() : null;
            if (process is not null)
            {
                await process.DisposeAsync();
            }
            throw Failure(e, fault, why, ct) ?? e;
        }
    }

    /// <summary>
    /// The tools that the server has now. A list is kept until the server says that it changed, where nothing that it says can be lost. Over HTTP such a message may come while
    /// nothing listens, and the list is asked for each time.
    /// </summary>
    /// <exception cref="McpFailureException">They cannot be had.</exception>
    public async ValueTask<McpTools> Tools(CancellationToken ct)
    {
        if (Volatile.Read(ref known) is { } tools && !IsOver)
        {
            return tools;
        }
        var before = Volatile.Read(ref changes);
        var listed = await Guarded(() => List(ct), ct);
        if (hearsOfChanges)
        {
            Volatile.Write(ref known, listed);
            if (Volatile.Read(ref changes) != before)
            {
                // It changed while it was listed.
                Volatile.Write(ref known, null);
            }
        }
        return listed;
    }

    /// <summary>Calls a tool, and answers what it says as text.</summary>
    /// <exception cref="McpFailureException">There is no answer.</exception>
    public async ValueTask<(string Text, bool IsCut, bool IsError)> Call(string tool, JsonElement arguments, CancellationToken ct)
    {
        try
        {
            return await Guarded(
                async () => McpText.Of(await Ask("tools/call", new() { ["name"] = tool, ["arguments"] = JsonObject.Create(arguments) }, ct), ConnectorLimits.BytesMax), ct);
        }
        finally
        {
            // What a call changes may be told of after its answer.
            Forget();
        }
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            await client.DisposeAsync();
        }
        catch (Exception e) when (PlainReason.IsKnown(e) || e is McpException or ObjectDisposedException)
        {
            // The server is told that the session ends, and does not want to know.
        }
        if (process is not null)
        {
            await process.DisposeAsync();
        }
    }

    void Forget()
    {
        Interlocked.Increment(ref changes);
        Volatile.Write(ref known, null);
    }

    async Task<McpTools> List(CancellationToken ct)
    {
        var (tools, unusable) = (new Dictionary<string, McpTool>(StringComparer.Ordinal), new List<UnusableTool>());
        string? cursor = null;
        for (var page = 0; page < PagesMax && tools.Count < ConnectorLimits.ToolsMax; page++)
        {
            var (listed, odd, next) = McpTool.Page(await Ask("tools/list", cursor is null ? [] : new() { ["cursor"] = cursor }, ct));
            unusable.AddRange(odd.Take(UnusableMax - unusable.Count));
            foreach (var tool in listed)
            {
                if (tools.Count == ConnectorLimits.ToolsMax && !tools.ContainsKey(tool.Name))
                {
                    return new([.. tools.Values], unusable, IsCut: true);
                }
                if (!tools.TryAdd(tool.Name, tool) && unusable.Count < UnusableMax)
                {
                    unusable.Add(new(tool.Name, "It is listed twice: the first one counts."));
                }
            }
            if ((cursor = next) is null)
            {
                break;
            }
        }
        return new([.. tools.Values], unusable, IsCut: cursor is not null);
    }

    static McpClientOptions Options => new()
    {
        ClientInfo = new() { Name = "cowork", Version = "1" },
        InitializationTimeout = ConnectorLimits.AskTime,
    };

    /// <summary>The result as the server sent it: one thing that is malformed in it does not spoil the others.</summary>
    async Task<JsonNode?> Ask(string method, JsonObject parameters, CancellationToken ct) =>
        (await client.SendRequestAsync(new JsonRpcRequest { Method = method, Params = parameters }, ct)).Result;

    async ValueTask<T> Guarded<T>(Func<Task<T>> ask, CancellationToken ct)
    {
        try
        {
            return await ask();
        }
        catch (Exception e)
        {
            var why = process is not null && (IsTransport(e) || IsOver) ? await process.WhyEnded() : null;
            throw Failure(e, fault, why, ct) ?? e;
        }
    }

    /// <summary>The same for every way in which a server can fail; null: the caller cancelled, or it is a bug.</summary>
    static McpFailureException? Failure(Exception e, FaultOf fault, string? why, CancellationToken ct) => e switch
    {
        _ when ct.IsCancellationRequested && e is OperationCanceledException => null,
        _ when fault.Message is { } tooLong => new(tooLong, IsBroken: true),
        _ when why is not null => new(why, IsBroken: true),
        McpProtocolException refused => new($"it answers: {PlainReason.Quoted(refused.Message, 300)}", IsBroken: false),
        // The client's exceptions for these are those of other faults: its words tell them apart.
        _ when e.Message.Contains("protocol version", StringComparison.OrdinalIgnoreCase) => new("it speaks a version of MCP that is not known here", IsBroken: true),
        // The message says which member of the answer has which form, in words of the parser.
        JsonException or InvalidOperationException or FormatException or ArgumentException => new("it answers what is no message of MCP", IsBroken: true),
        OperationCanceledException or TimeoutException => new("it did not answer in time", IsBroken: true),
        HttpRequestException { StatusCode: { } status } => new($"it answers {(int)status}", IsBroken: true),
        _ when Egress(e) is { } refused => new(refused.Message, IsBroken: true),
        McpException when fault.Strange is { } strange => new(strange, IsBroken: true),
        McpException when e.Message.Contains("without a reply", StringComparison.OrdinalIgnoreCase) => new("its answer has no reply to what it was asked", IsBroken: true),
        _ when IsTransport(e) => new("the connection to it broke off", IsBroken: true),
        McpException => new("it answers what is no message of MCP", IsBroken: true),
        _ => null,
    };

    static EgressException? Egress(Exception? e) => e is null or EgressException ? (EgressException?)e : Egress(e.InnerException);

    static bool IsTransport(Exception e) => e is IOException or HttpRequestException or ObjectDisposedException or McpException and not McpProtocolException;

    /// <summary>What was seen of a session below its messages.</summary>
    sealed class FaultOf
    {
        /// <summary>What ended the reading.</summary>
        public string? Message { get; private set; }

        /// <summary>What came in place of a message, and explains a failure.</summary>
        public string? Strange { get; private set; }

        public void Note(string strange) => Strange = strange;

        public void Set(MessageTooLongException tooLong) => Message = tooLong.Message;
    }
}

/// <summary>An MCP server did not do what it was asked.</summary>
/// <param name="IsBroken">The session is over: another one may do better.</param>
sealed class McpFailureException(string reason, bool IsBroken) : Exception(reason)
{
    public bool IsBroken { get; } = IsBroken;
}
