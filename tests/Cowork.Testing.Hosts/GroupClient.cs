using System.Net.WebSockets;
using System.Text;
using System.Text.Json;

namespace Cowork.Testing.Hosts;

/// <summary>A member's connection to a group, with .NET's own WebSocket.</summary>
public sealed class GroupClient : IAsyncDisposable
{
    /// <summary>Several times the lease of a host that was killed: on a machine with much else to do, all of it takes longer.</summary>
    static readonly TimeSpan Deadline = Patience.Limit;

    readonly byte[] buffer = new byte[64 * 1024];

    GroupClient(ClientWebSocket socket) => Socket = socket;

    public ClientWebSocket Socket { get; }

    /// <summary>Seq of the last message that came.</summary>
    public long Last { get; private set; }

    /// <summary>Why the host ended the connection; null: it did not.</summary>
    public int? Closed => (int?)Socket.CloseStatus;

    /// <param name="token">Null: none is sent.</param>
    public static Uri Address(string host, string group, string? token, long? since = null)
    {
        var query = string.Join('&', new[] { token is null ? null : $"token={Uri.EscapeDataString(token)}", since is null ? null : $"since={since}" }.OfType<string>());
        return new($"{host.Replace("http", "ws", StringComparison.Ordinal)}/groups/{group}/ws?{query}");
    }

    /// <param name="over">Whose connections are used; null: one of its own.</param>
    public static async Task<GroupClient> Open(
        string host, string group, string token, long? since = null, Action<ClientWebSocketOptions>? options = null, HttpMessageInvoker? over = null)
    {
        var socket = new ClientWebSocket();
        options?.Invoke(socket.Options);
        try
        {
            using var deadline = new CancellationTokenSource(Deadline);
            await socket.ConnectAsync(Address(host, group, token, since), over, deadline.Token);
            return new(socket) { Last = since ?? 0 };
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    public Task Say(string text, string messageId, params string[] agents) => Send(JsonSerializer.Serialize(
        agents.Length == 0 ? (object)new { type = "message", text, message_id = messageId } : new { type = "message", text, message_id = messageId, agent_ids = agents }));

    public Task Send(string text) => Send(Encoding.UTF8.GetBytes(text), WebSocketMessageType.Text);

    public async Task Send(byte[] bytes, WebSocketMessageType type, bool endOfMessage = true)
    {
        using var deadline = new CancellationTokenSource(Deadline);
        await Socket.SendAsync(bytes, type, endOfMessage, deadline.Token);
    }

    /// <summary>What comes until so many runs have ended.</summary>
    public async Task<List<JsonElement>> Answered(int runs)
    {
        var seen = new List<JsonElement>();
        for (var done = 0; done < runs; done += seen[^1].GetProperty("type").GetString() == "done" ? 1 : 0)
        {
            seen.Add(await Next() ?? throw new InvalidOperationException($"The host ended the connection: {Closed}."));
        }
        return seen;
    }

    /// <summary>The next message; null: the host has ended the connection.</summary>
    /// <exception cref="TimeoutException">None came in time.</exception>
    public async Task<JsonElement?> Next()
    {
        using var deadline = new CancellationTokenSource(Deadline);
        try
        {
            return await Next(deadline.Token);
        }
        catch (Exception) when (deadline.IsCancellationRequested)
        {
            throw new TimeoutException($"Nothing came for {Deadline.TotalSeconds} s after message {Last}.");
        }
    }

    async Task<JsonElement?> Next(CancellationToken ct)
    {
        using var message = new MemoryStream();
        while (true)
        {
            var received = await Socket.ReceiveAsync(buffer.AsMemory(), ct);
            if (received.MessageType == WebSocketMessageType.Close)
            {
                return null;
            }
            message.Write(buffer, 0, received.Count);
            if (received.EndOfMessage)
            {
                var json = JsonElement.Parse(message.ToArray());
                Last = json.TryGetProperty("seq", out var seq) && !json.TryGetProperty("repeated", out _) ? seq.GetInt64() : Last;
                return json;
            }
        }
    }

    /// <summary>Messages up to one that fits, that one included.</summary>
    public async Task<List<JsonElement>> Until(Func<JsonElement, bool> fits)
    {
        var seen = new List<JsonElement>();
        while (await Next() is { } message)
        {
            seen.Add(message);
            if (fits(message))
            {
                return seen;
            }
        }
        throw new InvalidOperationException($"The connection ended with {Closed} after {seen.Count} messages.");
    }

    public Task<List<JsonElement>> Until(string type) => Until(message => message.GetProperty("type").GetString() == type);

    /// <summary>Messages up to a seq.</summary>
    public async Task<List<JsonElement>> Through(long seq) =>
        Last >= seq ? [] : await Until(message => message.TryGetProperty("seq", out var at) && at.GetInt64() >= seq);

    /// <summary>Waits for the host to end the connection, and answers its code.</summary>
    public async Task<int?> UntilClosed()
    {
        while (await Next() is not null)
        {
        }
        return Closed;
    }

    public ValueTask DisposeAsync()
    {
        Socket.Dispose();
        return default;
    }
}
