using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Text.Json;

using Cowork.Application;
using Cowork.Marten;
using Cowork.Testing;

using Npgsql;

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
                await http.Until("/audit/heads/latest", got => (int)got.Status == 200 && got.Json.GetProperty("number").GetInt64() > last);
                await Task.Delay(random.Next(0, 1_000), CancellationToken.None);
                var server = File.ReadLines(Path.Combine(Data, "postgres", "postmaster.pid")).First();
                using var kill = System.Diagnostics.Process.Start("/bin/sh", ["-c", $"kill -KILL {server}"]);
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

    /// <summary>
    /// Two hosts have signed a head over the same events and wait for the log to record it, when one of them is killed. Its server process may still record its head, because
    /// it does not notice before it answers: then the other host's head is none.
    /// </summary>
    [Fact]
    public async Task A_host_that_is_killed_between_signature_and_record_of_a_head_leaves_one_head_for_each_tree()
    {
        const int Kills = 2;
        var database = await TestPostgres.NewDatabase();
        // Without a common master key the second host could not sign at all.
        var master = Convert.ToBase64String("0123456789abcdef0123456789abcdef"u8);
        Task<HostProcess> Start(string name) => HostProcess.Start(
            Path.Combine(Data, name), database, environment:
            [("COWORK_MASTER_KEY", master), ("Cowork__Audit__HeadEvery", "00:00:01"), ("Cowork__Audit__File", Path.Combine(Data, $"{name}.ndjson"))]);
        await using var living = await Start("b");
        for (var kill = 0; kill < Kills; kill++)
        {
            await using var killed = await Start("a");
            await living.Http.Until("/audit/heads/latest", got => (int)got.Status == 200);
            await using var connection = new NpgsqlConnection(database);
            await connection.OpenAsync();
            await using (var nobodyRecords = await BothWait(connection, () => killed.Http.NewSession()))
            {
                var end = (long)(await Ask(connection, "SELECT gid FROM cowork.head"))!;
                await killed.Kill();
                await nobodyRecords.RollbackAsync();
                await living.Http.Until(
                    "/audit/heads/latest", got => (int)got.Status == 200 && got.Json.GetProperty("tree_size").GetInt64() >= end);
            }
            // It goes on with what comes next.
            await living.Http.NewSession($"after-{kill}");
            var last = (long)(await Ask(connection, "SELECT gid FROM cowork.head"))!;
            await living.Http.Until("/audit/heads/latest", got => got.Json.GetProperty("tree_size").GetInt64() >= last - 1);
            Assert.Equal(0L, await Ask(
                connection,
                "SELECT count(*) FROM (SELECT 1 FROM cowork.mt_events WHERE type = 'head_signed.v1' GROUP BY data->>'tree_size' HAVING count(*) > 1) twice"));
        }
        Assert.Equal(0, await living.Stop());
        await Ledger.CheckLog(database);
        // What either of them has sent elsewhere is what the log has.
        var files = ((string[])["a", "b"]).Select(host => Path.Combine(Data, $"{host}.ndjson")).Where(File.Exists).ToList();
        Assert.NotEmpty(files);
        foreach (var kept in files)
        {
            var (code, output) = await CoworkCli.Run(null, "verify", "--database", database, "--heads", kept);
            Assert.True(code == 0, output);
        }
    }

    /// <summary>
    /// Makes an event that nothing follows but a head, and takes the lock that heads are recorded under, until two server processes wait for it: both hosts have signed. The
    /// transaction has the lock. Where a head was recorded before the lock was taken nobody waits, and it is tried again.
    /// </summary>
    static async Task<NpgsqlTransaction> BothWait(NpgsqlConnection connection, Func<Task> write)
    {
        const string Waiting =
            "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())";
        for (var patience = Stopwatch.StartNew(); patience.Elapsed < Patience.Limit;)
        {
            await write();
            var locked = await connection.BeginTransactionAsync();
            await Ask(connection, "SELECT gid FROM cowork.head FOR UPDATE");
            for (var look = Stopwatch.StartNew(); look.Elapsed < Patience.Stretched(TimeSpan.FromSeconds(10)); await Task.Delay(20, CancellationToken.None))
            {
                if ((long)(await Ask(connection, Waiting))! >= 2)
                {
                    return locked;
                }
            }
            await locked.DisposeAsync();
        }
        throw new InvalidOperationException("Both hosts never waited for their heads to be recorded.");
    }

    static async Task<object?> Ask(NpgsqlConnection connection, string sql)
    {
        await using var ask = new NpgsqlCommand(sql, connection);
        return await ask.ExecuteScalarAsync();
    }

    /// <summary>The handler is what gives up in the end.</summary>
    static HttpClient Client(Func<IReadOnlyList<string>> hosts, string address) =>
        new(new RoamingHandler(hosts)) { BaseAddress = new(address), Timeout = Timeout.InfiniteTimeSpan };

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
            "/metrics", got => (int)got.Status == 200 && got.Json.GetProperty("host").GetProperty("audit").GetProperty("tree_lag_events").GetInt64() == 0);
        var last = await Last(http);
        await http.Until("/audit/heads/latest", _ => HeadLine.Read(file).Any(line => line.Number >= last) && witness.Numbers.Contains(last));
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
