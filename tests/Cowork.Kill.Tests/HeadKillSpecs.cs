using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Text.Json;

using Cowork.Application;
using Cowork.Marten;
using Cowork.Testing;

namespace Cowork.Kill.Tests;

/// <summary>
/// PostgreSQL is killed while the tree over the log grows, heads are signed and sent elsewhere, and sessions are forked: the tree is the log's, heads are one sequence, each
/// place has all of them in their order, and a fork exists once.
/// </summary>
public sealed class HeadKillSpecs : DirectorySpecs
{
    /// <summary>Of a client: a page of sessions has those of all.</summary>
    const int ForksMax = 300;

    readonly int seed = Seeds.One(20261130);

    [Fact]
    public async Task When_PostgreSQL_is_killed_while_heads_are_signed_they_go_on_where_they_were()
    {
        var random = new Random(seed);
        await using var witness = new Witness();
        await using var host = await HostProcess.Start(Data, database: null, environment: Heads(witness));
        using var http = Client(() => [host.Url], host.Url);
        using var over = new CancellationTokenSource();
        var forks = new ConcurrentBag<string>();
        var writing = Write(http, forks, over.Token);
        try
        {
            for (var kills = 0; kills < 2; kills++)
            {
                var last = await Last(http);
                await http.Until("/audit/heads/latest", got => (int)got.Status == 200 && got.Json.GetProperty("number").GetInt64() > last, seconds: 60);
                await Task.Delay(random.Next(0, 1_000), CancellationToken.None);
                using var kill = System.Diagnostics.Process.Start("kill", ["-KILL", File.ReadLines(Path.Combine(Data, "postgres", "postmaster.pid")).First()]);
                await kill.WaitForExitAsync();
            }
            await over.CancelAsync();
            await writing;
            var connection = (await PrivatePostgres.FindRunningForOwner(Path.Combine(Data, "postgres"), CancellationToken.None))!;
            await Settled(http, connection, witness, forks);
            await Ledger.CheckLog(connection);
            Assert.Equal(0, await host.Stop());
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"{Seeds.Name(seed)}: {e.Message}\nThe host said:\n{host.Output}", e);
        }
    }

    static HttpClient Client(Func<IReadOnlyList<string>> hosts, string address) => new(new RoamingHandler(hosts)) { BaseAddress = new(address), Timeout = TimeSpan.FromMinutes(2) };

    (string, string)[] Heads(Witness witness) =>
    [
        ("Cowork__Audit__HeadEvery", "00:00:01"), ("Cowork__Audit__File", Path.Combine(Data, "heads.ndjson")), ("Cowork__Audit__Webhook", $"http://127.0.0.1:{witness.Port}/heads"),
        ("Cowork__Egress__Allow__0", $"127.0.0.1:{witness.Port}"),
    ];

    /// <summary>Turns and forks until the token is cancelled. A fork whose answer was lost is asked for again under its key.</summary>
    static Task Write(HttpClient http, ConcurrentBag<string> forks, CancellationToken until) => Task.WhenAll(Enumerable.Range(0, 3).Select(client => Task.Run(
        async () =>
        {
            var session = await http.NewSession($"heads-{client}");
            for (var i = 0; i < ForksMax && !until.IsCancellationRequested; i++)
            {
                (await http.Turn(session, $"/say {i}")).IsOneOf(200, 202);
                forks.Add((await http.Post($"/sessions/{session}/fork", """{"message":"/say another way"}""")).Is(201)["session_id"]);
            }
        },
        CancellationToken.None)));

    static async Task<long> Last(HttpClient http) => await http.Get("/audit/heads/latest") is { Status: HttpStatusCode.OK } got ? got.Json.GetProperty("number").GetInt64() : 0;

    async Task Settled(HttpClient http, string database, Witness witness, ConcurrentBag<string> forks)
    {
        var file = Path.Combine(Data, "heads.ndjson");
        // Nothing is written any more: the last head has all but its own event.
        await http.Until(
            "/metrics", got => (int)got.Status == 200 && got.Json.GetProperty("host").GetProperty("audit").GetProperty("tree_lag_events").GetInt64() == 0, seconds: 60);
        var last = await Last(http);
        await http.Until("/audit/heads/latest", _ => HeadLine.Read(file).Any(line => line.Number >= last) && witness.Numbers.Contains(last), seconds: 60);
        var heads = new List<HeadLine>();
        while (heads.Count < last)
        {
            var page = (await http.Get(string.Create(CultureInfo.InvariantCulture, $"/audit/heads?since={heads.Count}&limit=1000"))).Is(200).Json.GetProperty("heads");
            heads.AddRange(page.EnumerateArray().Select(head => HeadLine.Parse(head.GetRawText())!));
        }
        Assert.Equal(Enumerable.Range(1, heads.Count).Select(number => (long)number), heads.Select(head => head.Number));
        Assert.All(heads.Zip(heads.Skip(1)), pair => Assert.True(pair.First.TreeSize < pair.Second.TreeSize && pair.First.Timestamp <= pair.Second.Timestamp));
        foreach (var sent in (IReadOnlyList<HeadLine>[])[[.. HeadLine.Read(file)], [.. witness.Taken]])
        {
            // What was signed and sent is what the log has, whichever host did it, and came the first time in its order.
            Assert.All(sent, line => Assert.Equal(heads[(int)line.Number - 1], line with { Consistency = null }));
            Assert.Equal(Enumerable.Range(1, heads.Count).Select(number => (long)number), sent.Select(line => line.Number).Distinct().Take(heads.Count));
        }
        var there = (await http.Get("/sessions?limit=1000")).Is(200).Json.GetProperty("sessions").EnumerateArray()
            .Where(session => session.TryGetProperty("forked_from", out var from) && from.ValueKind == JsonValueKind.Object)
            .Select(session => session.GetProperty("session_id").GetString()!).ToList();
        Assert.Equal(forks.Distinct().Order(), there.Order());
        Assert.Equal(forks.Count, there.Count);
        var (code, output) = await CoworkCli.Run(database, "rebuild", "--check");
        Assert.True(code == 0, output);
        (code, output) = await CoworkCli.Run(null, "verify", "--database", database, "--heads", file);
        Assert.True(code == 0, output);
    }

    /// <summary>Takes heads, and refuses every fifth.</summary>
    sealed class Witness : IAsyncDisposable
    {
        readonly HttpListener listener;
        readonly Task taking;

        public Witness()
        {
            (listener, Port) = HttpListeners.Start();
            taking = Task.Run(Take);
        }

        public int Port { get; }

        public ConcurrentQueue<HeadLine> Taken { get; } = [];

        public IEnumerable<long> Numbers => Taken.Select(head => head.Number);

        async Task Take()
        {
            for (var requests = 1; ; requests++)
            {
                HttpListenerContext context;
                try
                {
                    context = await listener.GetContextAsync();
                }
                catch (Exception e) when (e is HttpListenerException or ObjectDisposedException)
                {
                    return;
                }
                using var reader = new StreamReader(context.Request.InputStream);
                try
                {
                    var head = HeadLine.Parse(await reader.ReadToEndAsync());
                    if (requests % 5 > 0 && head is not null)
                    {
                        Taken.Enqueue(head);
                    }
                    context.Response.StatusCode = requests % 5 > 0 ? 204 : 503;
                    context.Response.Close();
                }
                catch (Exception e) when (e is HttpListenerException or IOException)
                {
                    // The host was killed in between, and the head comes again.
                }
            }
        }

        public async ValueTask DisposeAsync()
        {
            listener.Close();
            await taking;
        }
    }
}
