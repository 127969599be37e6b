using System.Diagnostics;
using System.Net.WebSockets;
using System.Text;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Groups;

/// <summary>What the connections to groups share.</summary>
sealed class GroupSocketServices(
    GroupMessages messages, GroupFeed feed, RequestRates rates, MemberRates memberRates, RequestMemory memory, TimeProvider clock, ILogger<GroupSocket> logger)
{
    public GroupMessages Messages => messages;

    public GroupFeed Feed => feed;

    public RequestRates Rates => rates;

    public MemberRates MemberRates => memberRates;

    public RequestMemory Memory => memory;

    public TimeProvider Clock => clock;

    public ILogger Logger => logger;
}

/// <summary>A member's connection to a group: what the group shows goes out, and what the member says is stored, until one of the two ends it.</summary>
sealed partial class GroupSocket(WebSocket socket, FrameGuard guard, GroupSeat seat, RoutingGrant grant, GroupSocketServices services)
    : IDisposable
{
    /// <summary>What of a message is read at once, and what of it no memory is counted for.</summary>
    const int ReadAtOnce = 4 * 1024;
    const int UncountedMax = 16 * 1024;

    /// <summary>For the close frame, and for the client's after it.</summary>
    static readonly TimeSpan CloseTime = TimeSpan.FromSeconds(2);

    readonly SemaphoreSlim sending = new(1);
    readonly string org = grant.Org;
    readonly GroupKey group = grant.Group;

    /// <summary>Serves the connection to its end.</summary>
    /// <param name="since">Seq of the last message that the client has.</param>
    /// <param name="revoked">Done when what the token was issued for is no longer valid.</param>
    /// <param name="abort">Breaks the connection off.</param>
    /// <param name="stopping">The host stops.</param>
    /// <param name="aborted">The connection is gone.</param>
    public async Task Serve(long since, Task revoked, Action abort, CancellationToken stopping, CancellationToken aborted)
    {
        // What is done for a message is no part of the request that never ends.
        Activity.Current = null;
        using var showing = CancellationTokenSource.CreateLinkedTokenSource(aborted);
        using var reading = CancellationTokenSource.CreateLinkedTokenSource(aborted);
        var stop = new TaskCompletionSource<SocketEnd?>(TaskCreationOptions.RunContinuationsAsynchronously);
        using var stops = stopping.Register(() => stop.TrySetResult(GroupEnds.Stopping));
        var (shows, reads) = (Show(since, showing.Token), Read(reading.Token));
        var first = await Task.WhenAny(shows, reads, stop.Task, seat.Ended, guard.Violated, revoked);
        var end = first == revoked ? GroupEnds.AccessEnded
            : first == seat.Ended ? await seat.Ended
            : first == guard.Violated ? await guard.Violated
            : await (Task<SocketEnd?>)first;
        await showing.CancelAsync();
        if (end is not { IsStuck: true } && !aborted.IsCancellationRequested)
        {
            await Close(end, shows, reads);
        }
        await reading.CancelAsync();
        if (!shows.IsCompleted || !reads.IsCompleted)
        {
            // One of them waits for a client that takes nothing.
            abort();
        }
        socket.Abort();
        await Task.WhenAll(shows, reads);
    }

    public void Dispose() => sending.Dispose();

    /// <summary>Says why the connection ends, and gives the client time to say the same.</summary>
    /// <param name="end">Null: the client ends it.</param>
    async Task Close(SocketEnd? end, Task shows, Task reads)
    {
        using var deadline = new CancellationTokenSource(CloseTime, services.Clock);
        try
        {
            await shows.WaitAsync(deadline.Token);
            await sending.WaitAsync(deadline.Token);
            try
            {
                // One that was sent what is no text has said so by itself.
                if (socket.State != WebSocketState.Aborted)
                {
                    await socket.CloseOutputAsync((WebSocketCloseStatus)(end?.Code ?? (int)WebSocketCloseStatus.NormalClosure), end?.Reason, deadline.Token);
                }
            }
            finally
            {
                sending.Release();
            }
            if (guard.Violated.IsCompleted || socket.State == WebSocketState.Aborted)
            {
                // A connection that is broken off while something comes on it takes the close frame with it.
                await guard.Drain(deadline.Token);
            }
            else
            {
                await reads.WaitAsync(deadline.Token);
            }
        }
        catch (Exception e) when (e is WebSocketException or IOException or OperationCanceledException or ObjectDisposedException or InvalidOperationException)
        {
            // The client has gone, or takes nothing.
        }
    }

    /// <summary>Sends what the group shows. Answers why that is over; null: the client has gone.</summary>
    async Task<SocketEnd?> Show(long since, CancellationToken ct)
    {
        try
        {
            await foreach (var message in seat.Follow(since, ct))
            {
                if (seat.Ended.IsCompleted)
                {
                    break;
                }
                await Send(message.Json);
            }
            return await seat.Ended;
        }
        catch (Exception e) when (IsGone(e))
        {
            return null;
        }
#pragma warning disable CA1031 // Whatever it is, the client must not wait for messages that never come.
        catch (Exception e)
#pragma warning restore CA1031
        {
            LogFailed(services.Logger, e, group);
            return GroupEnds.Failed;
        }
    }

    /// <summary>Takes what the client sends. Answers why that is over; null: the client has gone, or closes the connection.</summary>
    async Task<SocketEnd?> Read(CancellationToken ct)
    {
        try
        {
            while (true)
            {
                // A connection on which nothing comes holds no buffer.
                var received = await socket.ReceiveAsync(Memory<byte>.Empty, ct);
                using var message = new PooledBuffer(ReadAtOnce);
                using var share = new RequestShare(services.Memory, org);
                while (received.MessageType != WebSocketMessageType.Close && !received.EndOfMessage)
                {
                    received = await socket.ReceiveAsync(message.GetMemory(ReadAtOnce), ct);
                    message.Advance(received.Count);
                    if (message.Length > UncountedMax && !share.Covers(message.Length))
                    {
                        return GroupEnds.NoMemory;
                    }
                }
                if (received.MessageType == WebSocketMessageType.Close)
                {
                    return null;
                }
                await Take(message, ct);
            }
        }
        catch (Exception e) when (IsGone(e))
        {
            return null;
        }
#pragma warning disable CA1031 // Whatever it is, the client must not wait for an answer that never comes.
        catch (Exception e)
#pragma warning restore CA1031
        {
            LogFailed(services.Logger, e, group);
            return GroupEnds.Failed;
        }
    }

    static bool IsGone(Exception e) => e is WebSocketException or OperationCanceledException or IOException or ObjectDisposedException;

    async Task Take(PooledBuffer bytes, CancellationToken ct)
    {
        var (message, wrong) = ClientMessage.Read(bytes.Written);
        wrong ??= services.MemberRates.Take(org, seat.User) ?? (services.Rates.Take(org) is { } tooMany ? new(tooMany.Code, tooMany.Detail) : null);
        if (wrong is not null)
        {
            await Send(Error(wrong, message?.MessageId));
            return;
        }
        try
        {
            if (await Post(message!, ct) is { } refused)
            {
                await Send(Error(new(refused.Code, refused.Detail), message!.MessageId));
            }
        }
        catch (StorageUnavailableException)
        {
            await Send(Error(new("storage_unavailable", "The database does not answer at the moment. Send the message again, with the same message_id."), message!.MessageId));
        }
        catch (BlobStoreFullException)
        {
            await Send(Error(new("storage_full", "There is no room for the text on this host's disk. Nothing of the message was kept."), message!.MessageId));
        }
    }

    async Task<Refusal?> Post(ClientMessage message, CancellationToken ct)
    {
        using var span = Spans.Source.StartActivity("group message", ActivityKind.Server);
        span?.SetTag("cowork.org", org).SetTag("cowork.group.id", group.Id);
        var trace = span is { IdFormat: ActivityIdFormat.W3C } ? span.TraceId : ActivityTraceId.CreateRandom();
        var (posted, refused) = await services.Messages.Post(
            org, new($"user:{seat.User}", trace.ToHexString(), Issuers: grant.Issuers), group, seat.User, message.Text, message.MessageId, message.AgentIds, ct);
        if (posted is { Repeated: true })
        {
            await Repeat(posted.FeedId, ct);
        }
        return refused;
    }

    /// <summary>Shows the sender, and nobody else, a message that was stored before.</summary>
    async Task Repeat(long feedId, CancellationToken ct)
    {
        var seq = await services.Feed.SeqOf(org, group, feedId, ct);
        if (await services.Feed.Page(org, group, seq - 1, 1, long.MaxValue, null, ct) is not { Messages: [var stored] })
        {
            return;
        }
        using var document = JsonDocument.Parse(stored.Json);
        await Send(Json(json =>
        {
            foreach (var member in document.RootElement.EnumerateObject())
            {
                member.WriteTo(json);
            }
            json.WriteBoolean("repeated", true);
        }));
    }

    async Task Send(ReadOnlyMemory<byte> message)
    {
        await sending.WaitAsync();
        try
        {
            // The guard sees to it that it ends.
            await socket.SendAsync(message, WebSocketMessageType.Text, endOfMessage: true, CancellationToken.None);
        }
        finally
        {
            sending.Release();
        }
    }

    static byte[] Error(ClientFault fault, string? messageId) => Json(json =>
    {
        json.WriteString("type", "error");
        json.WriteString("code", fault.Code);
        json.WriteString("message", fault.Detail);
        json.WriteString("message_id", messageId);
    });

    static byte[] Json(Action<Utf8JsonWriter> write)
    {
        var output = new System.Buffers.ArrayBufferWriter<byte>(256);
        using (var json = new Utf8JsonWriter(output, RelaxedJson.Writing))
        {
            json.WriteStartObject();
            write(json);
            json.WriteEndObject();
        }
        return output.WrittenSpan.ToArray();
    }

    [LoggerMessage(1, LogLevel.Error, "A connection to {Group} failed and is closed")]
    static partial void LogFailed(ILogger logger, Exception e, GroupKey group);
}

/// <summary>Why something that a client sent does nothing.</summary>
/// <param name="Code">Of docs/errors.md.</param>
sealed record ClientFault(string Code, string Detail);

/// <summary>What a member says: <c>{type:"message", text, message_id, agent_ids?}</c>.</summary>
/// <param name="AgentIds">Null: the text says who is addressed, or nobody is.</param>
sealed record ClientMessage(string Text, string MessageId, IReadOnlyList<string>? AgentIds)
{
    /// <summary>Nesting of a message.</summary>
    const int DepthMax = 8;

    /// <summary>Agents that a message addresses.</summary>
    const int AgentsMax = 16;

    /// <summary>The message, as far as it can be read, and what is wrong with it; null: nothing is.</summary>
    public static (ClientMessage? Message, ClientFault? Wrong) Read(ReadOnlySpan<byte> bytes)
    {
        JsonElement root;
        try
        {
            var reader = new Utf8JsonReader(bytes, new JsonReaderOptions { MaxDepth = DepthMax });
            root = JsonElement.ParseValue(ref reader);
            if (reader.Read())
            {
                return (null, NotJson);
            }
        }
        catch (JsonException)
        {
            return (null, NotJson);
        }
        if (root.ValueKind != JsonValueKind.Object)
        {
            return (null, Invalid("A message is a JSON object: {\"type\":\"message\",\"text\":…,\"message_id\":…}."));
        }
        var id = TextOf(root, "message_id") is { Length: > 0 and <= Limits.IdCharsMax } sent && !sent.Any(char.IsControl) ? sent : null;
        var message = new ClientMessage(TextOf(root, "text") ?? "", id ?? "", AgentsOf(root));
        var wrong = TextOf(root, "type") is not { } type ? Invalid("type is missing.")
            : type != "message" ? new ClientFault("unknown_type", "The type must be message.")
            : id is null ? Invalid($"message_id must be a text of 1 to {Limits.IdCharsMax} characters, without control characters.")
            : string.IsNullOrWhiteSpace(message.Text) ? (IsText(root, "text") && TextOf(root, "text") is null ? NotStorable : Invalid("text must not be empty."))
            : Encoding.UTF8.GetByteCount(message.Text) > Limits.MessageBytesMax ? Invalid($"text may have at most {Limits.MessageBytesMax} bytes.")
            : !StorableText.IsStorable(message.Text) ? NotStorable
            : root.TryGetProperty("agent_ids", out var agents) && agents.ValueKind != JsonValueKind.Null && message.AgentIds is null
                ? Invalid($"agent_ids must be a list of at most {AgentsMax} ids.")
            : null;
        return (id is null ? null : message, wrong);
    }

    static ClientFault NotJson { get; } = new("malformed_json", "The message is not JSON.");

    static ClientFault NotStorable { get; } = Invalid("text must not have a NUL or a lone surrogate.");

    static ClientFault Invalid(string detail) => new("invalid_request", detail);

    /// <summary>Null: there is none, or it is none that can be stored.</summary>
    static string? TextOf(JsonElement root, string name)
    {
        return root.TryGetProperty(name, out var member) ? TextOf(member) : null;
    }

    static bool IsText(JsonElement root, string name) => root.TryGetProperty(name, out var member) && member.ValueKind == JsonValueKind.String;

    /// <inheritdoc cref="TextOf(JsonElement, string)"/>
    static string? TextOf(JsonElement member)
    {
        try
        {
            return member.ValueKind == JsonValueKind.String ? member.GetString() : null;
        }
        catch (InvalidOperationException)
        {
            // A lone surrogate.
            return null;
        }
    }

    static List<string>? AgentsOf(JsonElement root)
    {
        if (!root.TryGetProperty("agent_ids", out var member) || member.ValueKind != JsonValueKind.Array || member.GetArrayLength() > AgentsMax)
        {
            return null;
        }
        var ids = new List<string>();
        foreach (var one in member.EnumerateArray())
        {
            if (TextOf(one) is not { Length: > 0 and <= Limits.IdCharsMax } id)
            {
                return null;
            }
            ids.Add(id);
        }
        return ids;
    }
}
