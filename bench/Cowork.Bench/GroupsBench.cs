using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Net.WebSockets;
using System.Text;
using System.Text.Json;

using Cowork.Application;
using Cowork.Domain;
using Cowork.Marten;
using Cowork.Projections;
using Cowork.Web;

namespace Cowork.Bench;

/// <summary>Messages of groups on the way to those who are connected, beside the same events as server-sent events.</summary>
sealed class GroupsBench(HostProcess host, TimeSpan time)
{
    const int Groups = 10;
    const int Connected = 50;

    static readonly TimeSpan Settling = TimeSpan.FromSeconds(1);

    /// <summary>So often each group's one writer says something. Its agent answers each time.</summary>
    static readonly TimeSpan Pace = TimeSpan.FromMilliseconds(500);

    /// <summary>Messages of one commit when a group is filled.</summary>
    const int AtOnce = 100;

    int made;
    string filled = "";

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

    /// <summary>Makes a group with so many messages.</summary>
    public async Task Fill(string database, int count)
    {
        filled = (await NewGroup()).Group;
        var group = GroupKey.FromId(filled);
        await using var engine = StorageEngine.New(new(Roles.Host(database), "fill", ReadModels.Tables) { OwnerConnectionString = database, Parallel = 1 });
        await engine.StartAsync(CancellationToken.None);
        var folder = Directory.CreateTempSubdirectory("cowork-bench-");
        var commands = new CommandHandler(engine.Log, engine.Snapshots, new FileBlobs(folder.FullName), ReadModels.All, TimeProvider.System, CronTimes.Next);
        for (var stored = 0; stored < count;)
        {
            var until = Math.Min(count, stored + AtOnce);
            var refused = await commands.Commit(
                "default", new("user:local"),
                async work =>
                {
                    Refusal? refused = null;
                    for (var nr = stored; nr < until && refused is null; nr++)
                    {
                        refused = await work.Do(Group.Aggregate, group, new GroupCommand.StoreMessage(Content.Of("hello"), "local", $"m{nr}", [], work.Now), group.Session);
                    }
                    return refused;
                },
                CancellationToken.None);
            if (refused is not null)
            {
                throw new InvalidOperationException(refused.Code);
            }
            stored = until;
        }
        folder.Delete(recursive: true);
        // The first reader counts, and leaves the marks.
        (await host.Http.GetAsync($"/groups/{filled}/messages")).EnsureSuccessStatusCode();
    }

    /// <summary>Pages of that group's messages, one after the other.</summary>
    public Task<Measured> Pages(int postmaster, Func<int, string> query) => Load.Run(1, Settling, time, new(postmaster, host.Id), async (_, n) =>
        (await host.Http.GetAsync($"/groups/{filled}/messages{query(n)}")).EnsureSuccessStatusCode());

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
