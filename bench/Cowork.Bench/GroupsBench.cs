using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Net.WebSockets;
using System.Text;
using System.Text.Json;

namespace Cowork.Bench;

/// <summary>Messages of groups on the way to those who are connected, beside the same events as server-sent events.</summary>
sealed class GroupsBench(HostProcess host, TimeSpan time)
{
    const int Groups = 10;
    const int Connected = 50;

    static readonly TimeSpan Settling = TimeSpan.FromSeconds(1);

    /// <summary>So often each group's one writer says something. Its agent answers each time.</summary>
    static readonly TimeSpan Pace = TimeSpan.FromMilliseconds(500);

    int made;

    /// <summary>Milliseconds from a message's sending until each of those who are connected has it, sorted, and how many messages there were.</summary>
    /// <param name="isFeed">They follow the feed of the group's session, and one is connected, who writes.</param>
    public async Task<(double[] Delays, int Messages)> Deliver(bool isFeed)
    {
        var sent = new ConcurrentDictionary<string, long>();
        var delays = new ConcurrentBag<double>();
        using var over = new CancellationTokenSource();
        var (readers, writers) = (new List<Task>(), new List<ClientWebSocket>());
        void Arrived(string id)
        {
            if (sent.TryGetValue(id, out var at))
            {
                delays.Add(Stopwatch.GetElapsedTime(at).TotalMilliseconds);
            }
        }
        for (var nr = 0; nr < Groups; nr++)
        {
            var (group, session) = await NewGroup();
            for (var i = 0; i < Connected; i++)
            {
                if (isFeed)
                {
                    readers.Add(Follow(session, Arrived, over.Token));
                }
                if (!isFeed || i == 0)
                {
                    var socket = await Connect(group);
                    readers.Add(Read(socket, isFeed ? _ => { } : Arrived, over.Token));
                    if (i == 0)
                    {
                        writers.Add(socket);
                    }
                }
            }
        }
        await Task.Delay(Settling);
        var until = Stopwatch.GetTimestamp() + (long)(time.TotalSeconds * Stopwatch.Frequency);
        await Task.WhenAll(writers.Select(async (writer, nr) =>
        {
            // Not all at once.
            await Task.Delay(Pace / Groups * nr);
            for (var i = 0; Stopwatch.GetTimestamp() < until; i++)
            {
                var id = $"{nr}-{i}";
                sent[id] = Stopwatch.GetTimestamp();
                await writer.SendAsync(
                    JsonSerializer.SerializeToUtf8Bytes(new { type = "message", text = "/say hello", message_id = id }), WebSocketMessageType.Text, true, CancellationToken.None);
                await Task.Delay(Pace);
            }
        }));
        var wanted = sent.Count * Connected;
        for (var waited = 0; delays.Count < wanted; waited++)
        {
            if (waited > 1_000)
            {
                throw new InvalidOperationException($"{delays.Count} of {wanted} messages arrived.");
            }
            await Task.Delay(10);
        }
        await over.CancelAsync();
        await Task.WhenAll(readers);
        writers.ForEach(writer => writer.Dispose());
        return ([.. delays.Order()], sent.Count);
    }

    /// <summary>Bytes by which the host's memory grows for each of so many connections on which nothing is said.</summary>
    public async Task<double> MemoryOfOne(int connections)
    {
        var groups = new List<string>();
        for (var i = 0; i < Groups; i++)
        {
            groups.Add((await NewGroup()).Group);
        }
        var sockets = new List<ClientWebSocket>();
        var before = await Memory();
        for (var i = 0; i < connections; i++)
        {
            sockets.Add(await Connect(groups[i % Groups]));
        }
        var after = await Memory();
        sockets.ForEach(socket => socket.Dispose());
        return (double)(after - before) / connections;
    }

    async Task<(string Group, string Session)> NewGroup()
    {
        using var answer = await host.Http.PostAsJsonAsync("/groups", new { title = "bench", org_id = $"bench-{made++ / Groups}" });
        var group = await answer.EnsureSuccessStatusCode().Content.ReadFromJsonAsync<JsonElement>();
        return (group.GetProperty("group_id").GetString()!, group.GetProperty("session_id").GetString()!);
    }

    async Task<ClientWebSocket> Connect(string group)
    {
        using var answer = await host.Http.PostAsJsonAsync($"/groups/{group}/token", new { });
        var token = (await answer.EnsureSuccessStatusCode().Content.ReadFromJsonAsync<JsonElement>()).GetProperty("routing_token").GetString();
        var socket = new ClientWebSocket();
        var address = host.Http.BaseAddress!;
        await socket.ConnectAsync(new($"ws://{address.Authority}/groups/{group}/ws?token={token}"), CancellationToken.None);
        return socket;
    }

    static async Task Read(ClientWebSocket socket, Action<string> arrived, CancellationToken ct)
    {
        var buffer = new byte[16 * 1024];
        try
        {
            while (true)
            {
                var received = await socket.ReceiveAsync(buffer.AsMemory(), ct);
                Note(Encoding.UTF8.GetString(buffer, 0, received.Count), "\"type\":\"user_message_stored\"", arrived);
            }
        }
        catch (OperationCanceledException)
        {
            socket.Dispose();
        }
    }

    async Task Follow(string session, Action<string> arrived, CancellationToken ct)
    {
        try
        {
            using var response = await host.Http.GetAsync($"/sessions/{session}/events/stream", HttpCompletionOption.ResponseHeadersRead, ct);
            using var lines = new StreamReader(await response.EnsureSuccessStatusCode().Content.ReadAsStreamAsync(ct));
            while (await lines.ReadLineAsync(ct) is { } line)
            {
                Note(line, "\"type\":\"group_message_stored\"", arrived);
            }
        }
        catch (OperationCanceledException)
        {
            // Measured.
        }
    }

    static void Note(string text, string type, Action<string> arrived)
    {
        const string Id = "\"message_id\":\"";
        if (text.Contains(type, StringComparison.Ordinal) && text.IndexOf(Id, StringComparison.Ordinal) is >= 0 and var at)
        {
            at += Id.Length;
            arrived(text[at..text.IndexOf('"', at)]);
        }
    }

    async Task<long> Memory()
    {
        // What is garbage goes when there is time for it.
        await Task.Delay(TimeSpan.FromSeconds(3));
        var line = (await File.ReadAllLinesAsync($"/proc/{host.Id}/status")).First(line => line.StartsWith("VmRSS:", StringComparison.Ordinal));
        return long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) << 10;
    }
}
